"""The resolved spec as YAML, with the origin of each value beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from reid_lab.spec.loader import Loaded
from reid_lab.spec.words import resolve

_WORD = re.compile(r"[A-Za-z_./][\w./+-]*( [\w./+-]+)*")


def scalar(value: Any) -> str:
    """A single value as the loader reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        bare = _WORD.fullmatch(value) and isinstance(resolve(value), str)
        return value if bare else _quoted(value)
    return repr(value)


def _quoted(text: str) -> str:
    """In double quotes; what JSON leaves bare but YAML may not hold is written as a code point."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def resolved_yaml(loaded: Loaded) -> str:
    """All fields of the resolved spec; each line ends with `# file:line:column`, `# --set …` or `# default`."""
    lines = list(_lines(loaded.spec.plain(), "", "", loaded.origin))
    width = min(60, max(len(text) for text, _ in lines))
    return "\n".join(f"{text:<{width}}  # {origin}" if origin else text for text, origin in lines) + "\n"


def _lines(data: Mapping[str, Any], path: str, indent: str, origin: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        inner = f"{path}.{key}" if path else key
        yield from _entry(f"{indent}{scalar(key)}:", value, inner, indent, origin)


def _entry(head: str, value: Any, path: str, indent: str, origin: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        yield head, ""
        yield from _lines(value, path, indent + "  ", origin)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        yield head, ""
        for index, item in enumerate(value):
            yield from _item(item, f"{path}.{index}", indent, origin)
    else:
        yield f"{head} {_flow(value)}", origin.get(path, "default")


def _item(item: Any, path: str, indent: str, origin: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if isinstance(item, dict) and item:
        inside = _lines(item, path, indent + "  ", origin)
        for index, (text, where) in enumerate(inside):
            yield (f"{indent}- {text.lstrip()}" if index == 0 else text), where
    else:
        yield f"{indent}- {_flow(item)}", origin.get(path, "default")


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value)
