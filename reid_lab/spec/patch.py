"""Dotted paths in plain data, and the difference between two specs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reid_lab.spec.section import Section


def put(data: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `data` with `value` at the dotted path; missing mappings are made, list items go by number.

    Raises:
        KeyError: the path runs through a single value, or names a list item that does not exist.
    """
    head, _, rest = path.partition(".")
    if not rest:
        return {**data, head: value}
    return {**data, head: _put(data.get(head), rest, value, path)}


def _put(inner: Any, rest: str, value: Any, path: str) -> Any:
    if inner is None:
        inner = {}
    if isinstance(inner, Mapping):
        return put(inner, rest, value)
    if isinstance(inner, Sequence) and not isinstance(inner, str):
        index, _, deeper = rest.partition(".")
        if index.isdecimal() and int(index) < len(inner):
            items = list(inner)
            items[int(index)] = _put(items[int(index)], deeper, value, path) if deeper else value
            return items
    raise KeyError(path)


ABSENT = "absent"
"""What a change shows for a path that one of the two does not have."""


@dataclass(frozen=True)
class Change:
    """A path whose value differs."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}: {_show(self.before)} -> {_show(self.after)}"


def diff(before: Section | Mapping[str, Any], after: Section | Mapping[str, Any]) -> list[Change]:
    """The deepest paths at which two specs (or their plain data) differ, in the order of `before`."""
    return list(_diff(_plain(before), _plain(after), ""))


def _plain(spec: Section | Mapping[str, Any]) -> Mapping[str, Any]:
    return spec.model_dump(mode="json") if isinstance(spec, Section) else spec


def _diff(before: Any, after: Any, path: str) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            inner = f"{path}.{key}" if path else str(key)
            yield from _diff(before.get(key, ABSENT), after.get(key, ABSENT), inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (low, high) in enumerate(zip(before, after, strict=True)):
            yield from _diff(low, high, f"{path}.{index}")
    elif before != after:
        yield Change(path, before, after)


def _show(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
