"""A tree with marks to a validated section, every fault with its place.

The tree is walked along the section's types: unknown keys, missing keys and variants are judged here,
single values and validators by pydantic, section by section from the leaves up, and pydantic's findings
are told in the words of `shape`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from reid_lab.errors import Fault, nearest
from reid_lab.spec.section import Misfit, Section
from reid_lab.spec.shape import (
    Alternative,
    discriminator,
    entries,
    expected,
    items,
    mismatch,
    of_field,
    sections,
    show,
)
from reid_lab.spec.tree import Array, Entry, Mark, Node, Scalar, Table, plain


class Broken:
    """Stands for a value whose faults are recorded already."""


BROKEN: Final = Broken()


Key = tuple[int, type[Section], str]
"""A mapping's place in memory, the section that it is to be, and its path."""
Built = tuple[Table, Section]
"""The mapping, kept so that its place in memory stays its own, and its section."""


class Builder:
    """Builds sections and collects faults.

    Args:
        whole: False when a layer could not be read, so that a missing key means nothing.
        besides: keys that a file may have at the top besides the section's fields.
        known: what another builder has `built`; a mapping of its own tree is not built again.
    """

    def __init__(
        self, whole: bool = True, besides: Sequence[str] = (), known: Mapping[Key, Built] | None = None
    ) -> None:
        self.whole = whole
        self.besides = besides
        self.known = known or {}
        self.built: dict[Key, Built] = {}
        self.faults: list[tuple[Mark, Fault]] = []

    def fault(self, mark: Mark, path: str, what: str) -> None:
        """Record a fault at a place; once per place and text."""
        new = (mark, Fault(f"{path}: {what}" if path else what, str(mark)))
        if new not in self.faults:
            self.faults.append(new)

    def section(
        self,
        kind: type[Section],
        table: Table,
        path: str,
        at: Mark,
        given: Mapping[str, Any] | None = None,
    ) -> Section | Broken:
        """The section of a mapping.

        Args:
            kind: the section's class.
            table: the mapping.
            path: dotted path of the mapping, empty at the root.
            at: where to report what is missing.
            given: fields that are built already.
        """
        key = (id(table), kind, path)
        if key in self.known:
            return self.known[key][1]
        fields = kind.model_fields
        values: dict[str, Any] = dict(given or {})
        sound = all(value is not BROKEN for value in values.values())
        for name, entry in table.entries.items():
            if name in values:
                continue
            if name not in fields:
                self.unknown_key(entry, name, _join(path, name), fields)
                sound = False
                continue
            values[name] = self.value(of_field(fields[name]), entry.node, _join(path, name), entry.key)
            sound = sound and values[name] is not BROKEN
        broken = {name for name, value in values.items() if value is BROKEN}
        try:
            built = kind.model_validate({k: v for k, v in values.items() if v is not BROKEN})
        except ValidationError as error:
            for found in error.errors(include_url=False, include_input=False):
                self._tell(found, kind, table, path, at, broken, sound)
            return BROKEN
        if sound and given is None:
            self.built[key] = table, built
        return built if sound else BROKEN

    def unknown_key(self, entry: Entry, key: str, path: str, allowed: Mapping[str, FieldInfo]) -> None:
        """Record a key that the section does not have."""
        names = [*allowed] if "." in path else [*allowed, *self.besides]
        near = nearest(key, names)
        hint = f"; did you mean '{near}'?" if near else ""
        merge = "; YAML 1.2 has no merge keys, use extends" if key == "<<" else ""
        self.fault(entry.key, path, f"no such key{hint}{merge} (allowed: {', '.join(names)})")

    def value(self, options: Sequence[Alternative], node: Node, path: str, at: Mark) -> Any:
        """The value of a node: sections and lists are built, scalars passed on as they are."""
        if isinstance(node, Scalar):
            return node.value
        if isinstance(node, Table):
            kinds = sections(options)
            if kinds:
                kind = self._variant(kinds, node, path, at)
                return kind if isinstance(kind, Broken) else self.section(kind, node, path, at)
            inner = entries(options)
            if inner:
                table = {k: self.value(inner, e.node, _join(path, k), e.key) for k, e in node.entries.items()}
                return BROKEN if BROKEN in table.values() else table
        if isinstance(node, Array):
            built = [
                self.value(items(options, index), item, _join(path, str(index)), item.mark)
                for index, item in enumerate(node.items)
            ]
            return BROKEN if any(b is BROKEN for b in built) else tuple(built)
        return plain(node)

    def _variant(self, kinds: Sequence[type[Section]], table: Table, path: str, at: Mark) -> type[Section] | Broken:
        told = discriminator(kinds) if len(kinds) > 1 else None
        if told is None:
            return max(kinds, key=lambda kind: sum(key in kind.model_fields for key in table.entries))
        name, by_tag = told
        entry = table.entries.get(name)
        if entry is None:
            if self.whole:
                self.fault(at, _join(path, name), f"missing (allowed: {', '.join(map(str, by_tag))})")
            return BROKEN
        tag = plain(entry.node)
        if not isinstance(tag, str) or tag not in by_tag:
            self.fault(entry.node.mark, _join(path, name), not_among(tag, by_tag))
            return BROKEN
        return by_tag[tag]

    def _tell(
        self, found: Any, kind: type[Section], table: Table, path: str, at: Mark, broken: set[str], sound: bool
    ) -> None:
        """Record one finding of pydantic, in plain words and at its place."""
        location = found["loc"]
        raised = found.get("ctx", {}).get("error")
        if not location:
            if sound and self.whole:
                self._misfit(found, raised, table, path, at)
            return
        name = str(location[0])
        if name in broken:
            return
        options = of_field(kind.model_fields[name])
        entry = table.entries.get(name)
        if entry is None:
            if found["type"] == "missing" and self.whole:
                self.fault(at, _join(path, name), f"missing; expected {expected(options)}")
            elif found["type"] != "missing":
                self.fault(at, _join(path, name), _sentence(found, raised))
            return
        node, mark, steps = _descend(entry.node, location[1:], entry.node.mark)
        whole_path = ".".join((_join(path, name), *steps))
        if raised is not None:
            self.fault(mark, whole_path, _sentence(found, raised))
            return
        for step in steps:
            options = items(options, int(step)) if step.isdecimal() and items(options, int(step)) else entries(options)
        value = plain(node)
        finite = found["type"] == "finite_number"
        what = f"expected a finite number, got {show(value)}" if finite else mismatch(options, value)
        self.fault(mark, whole_path, what)

    def _misfit(self, found: Any, raised: Any, table: Table, path: str, at: Mark) -> None:
        """Record that fields of a section do not fit each other."""
        if not isinstance(raised, Misfit):
            self.fault(at, path, _sentence(found, raised))
            return
        inside = raised.path.split(".")
        _, mark, steps = _descend(table, inside, at)
        if len(steps) < len(inside):
            _, mark, _ = _descend(table, raised.because.split("."), at)
        self.fault(mark, _join(path, raised.path), _sentence(found, raised))


def not_among(value: Any, allowed: Collection[str]) -> str:
    """The sentence for a name that is none of the allowed ones."""
    names = ", ".join(allowed)
    if not isinstance(value, str):
        return f"expected a name, got {show(value)} (allowed: {names})"
    near = nearest(value, allowed)
    hint = f"; did you mean '{near}'?" if near else ""
    return f"{value!r} is not allowed{hint} (allowed: {names})"


def _sentence(found: Any, raised: Any) -> str:
    return " ".join(str(raised if raised is not None else found["msg"]).split())


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _descend(node: Node, location: Sequence[Any], mark: Mark) -> tuple[Node, Mark, list[str]]:
    """Follow a location as far as the tree goes; union tags and the like are passed over."""
    steps: list[str] = []
    for part in location:
        if isinstance(node, Table) and str(part) in node.entries:
            node = node.entries[str(part)].node
        elif isinstance(node, Array) and str(part).isdecimal() and int(part) < len(node.items):
            node = node.items[int(part)]
        else:
            continue
        steps.append(str(part))
        mark = node.mark
    return node, mark, steps
