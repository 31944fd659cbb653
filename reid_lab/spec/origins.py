"""Where each value of a resolved spec was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

from reid_lab.spec.section import Section
from reid_lab.spec.tree import Array, Node, Table

Found = dict[str, str]
"""Dotted path -> `file:line:column`, `--set …` or `default`."""


@final
class Origins:
    """The origins of one spec, and of others that share sections with it.

    A section that another spec shares, built of the same mapping at the same path, is not gone through again.

    Args:
        spec: the resolved spec.
        tree: what it was built from.
    """

    def __init__(self, spec: Section, tree: Table) -> None:
        self._held: dict[tuple[str, int, int], tuple[Section, Node | None, Found]] = {}
        self._keeping = True
        self.first = self.of(spec, tree)
        self._keeping = False

    def of(self, spec: Section, tree: Table) -> Found:
        """Where each value of a spec comes from, list elements included."""
        found: Found = {}
        for key, value, node in _inside(spec, tree):
            self._visit(value, node, key, found)
        return found

    def _visit(self, value: Any, node: Node | None, path: str, found: Found) -> None:
        if not isinstance(value, Section):
            self._gather(value, node, path, found)
            return
        place = (path, id(value), id(node))
        held = self._held.get(place)
        if held is not None:
            found.update(held[2])
            return
        own: Found = {}
        self._gather(value, node, path, own)
        found.update(own)
        if self._keeping:
            self._held[place] = value, node, own  # both are kept, so that their places in memory stay their own

    def _gather(self, value: Any, node: Node | None, path: str, found: Found) -> None:
        found[path] = str(node.mark) if node else "default"
        if value is None or isinstance(value, _SINGLE):
            return
        for key, inner, below in _inside(value, node):
            self._visit(inner, below, f"{path}.{key}", found)


_SINGLE = (str, int, float)


def _inside(value: Any, node: Node | None) -> Iterator[tuple[str, Any, Node | None]]:
    """What a value holds, by key or by number, and the node of each."""
    if isinstance(value, (Section, Mapping)):
        entries = node.entries if isinstance(node, Table) else {}
        for key, inner in value if isinstance(value, Section) else value.items():
            entry = entries.get(str(key))
            yield str(key), inner, entry.node if entry else None
    elif isinstance(value, list | tuple):
        items = node.items if isinstance(node, Array) else ()
        for index, inner in enumerate(value):
            yield str(index), inner, items[index] if index < len(items) else None
