"""What makes two runs the same run: a hash of everything that decides their result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from reid_lab.spec.section import Section, is_local, is_unused


def identifying(section: Section) -> dict[str, Any]:
    """The fields of a spec that take part in its identity, as plain data (`LOCAL` and unused `LATER` ones left out)."""
    given = [(n, getattr(section, n), field) for n, field in type(section).model_fields.items()]
    return {name: _plain(v) for name, v, field in given if not is_local(field) and not is_unused(field, v)}


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return identifying(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value


def canonical(value: Any) -> str:
    """One text for equal plain data: sorted keys, no spaces, floats by `repr`.

    Raises:
        ValueError: a float is NaN or infinite.
        TypeError: a value is no plain data.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def identity(spec: Section, parts: Mapping[str, Any]) -> str:
    """sha256 (64 hexadecimal digits) of the resolved spec and of further parts.

    Args:
        spec: the resolved spec; its `LOCAL` fields do not count.
        parts: what else decides the result, such as the data digest and the result versions.
    """
    text = canonical({"spec": identifying(spec), "parts": dict(parts)})
    return hashlib.sha256(text.encode()).hexdigest()


def run_id(identity: str, attempt: int) -> str:
    """The name of one attempt: the identity's first 12 digits and the attempt's number."""
    return f"{identity[:12]}-{attempt}"
