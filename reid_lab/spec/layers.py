"""The layers of a spec: the files it extends, the file itself, the overrides; and their merging.

Mappings are merged deeply, everything else is replaced; `null` replaces too, so it empties a slot.
A mapping that is another variant (a schedule of another `kind`, a model of another `name`) or another
form of one value (`{steps: 100}` over `{epochs: 5}`) replaces the one below.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reid_lab.errors import Fault, nearest
from reid_lab.spec.section import Section
from reid_lab.spec.shape import Alternative, discriminator, entries, items, of_field, sections
from reid_lab.spec.tree import Array, Entry, Mark, Node, Scalar, Table, Unreadable, parse, plain, read


@dataclass
class Layers:
    """The tables, lowest first, with what went wrong on the way; `whole` is False when one is missing."""

    tables: list[Table] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    whole: bool = True

    def lose(self, fault: Fault) -> None:
        """Record that a layer could not be read."""
        self.faults.append(fault)
        self.whole = False


def gather(path: Path, sets: Sequence[str]) -> Layers:
    """All layers of the spec at `path`."""
    layers = Layers()
    _file(path, str(path), None, (), layers)
    for text in sets:
        override(text, layers)
    return layers


def _file(path: Path, source: str, asked: Mark | None, above: tuple[Path, ...], layers: Layers) -> None:
    real = path.resolve()
    if real in above:
        chain = " -> ".join(p.name for p in (*above[above.index(real) :], real))
        layers.lose(Fault(f"extends: a file extends itself ({chain})", str(asked)))
        return
    try:
        tree, faults = parse(read(path, source), source)
    except Unreadable as error:
        layers.lose(_unread(error.fault, path, source, asked, above))
        return
    layers.faults += faults
    if not isinstance(tree, Table):
        empty = isinstance(tree, Scalar) and tree.value is None
        what = "the file is empty" if empty else "a mapping is expected at the top"
        layers.lose(Fault(what, str(tree.mark)))
        return
    table = dict(tree.entries)
    extends = table.pop("extends", None)
    for name in _names(extends, layers):
        base = Path(os.path.normpath(path.parent / str(name.value)))
        _file(base, str(base), name.mark, (*above, real), layers)
    layers.tables.append(Table(table, tree.mark))


def _unread(fault: Fault, path: Path, source: str, asked: Mark | None, above: tuple[Path, ...]) -> Fault:
    """The fault at the `extends` that asked for a file that is not there; a missing file's nearest neighbour named."""
    if fault.where != source:
        return fault
    others = (p.name for p in path.parent.glob("*.y*ml") if p.resolve() not in above)
    near = None if path.exists() else nearest(path.name, others)
    what = f"{fault.what}; did you mean '{path.with_name(near)}'?" if near else fault.what
    return Fault(f"extends: {source}: {what}", str(asked)) if asked else Fault(what, source)


def _names(entry: Entry | None, layers: Layers) -> list[Scalar]:
    if entry is None:
        return []
    nodes = entry.node.items if isinstance(entry.node, Array) else (entry.node,)
    names = [node for node in nodes if isinstance(node, Scalar) and isinstance(node.value, str) and node.value]
    if len(names) < len(nodes) or not nodes:
        layers.lose(Fault("extends: expected a file name or a list of file names", str(entry.node.mark)))
    return names


_KEY = re.compile(r"[^.\s=]+(\.[^.\s=]+)*")


def override(text: str, layers: Layers) -> None:
    """Add the layer of one `a.b=VALUE`."""
    source = f"--set {' '.join(text.splitlines())}"
    key, equals, value = text.partition("=")
    if not equals or not _KEY.fullmatch(key):
        layers.faults.append(Fault("expected KEY=VALUE, such as train.batch.size=64", source))
        return
    if key.split(".")[0] == "extends":
        layers.faults.append(Fault("extends stands in files only", source))
        return
    try:
        node, faults = parse(value, source, shift=len(key) + 1)
    except Unreadable as error:
        layers.lose(error.fault)
        return
    layers.faults += faults
    column = len(key) + 1
    for part in reversed(key.split(".")):
        column -= len(part) + 1
        mark = Mark(source, 0, column + 1)
        node = Table({part: Entry(mark, node)}, mark)
    assert isinstance(node, Table)
    layers.tables.append(node)


def merge(low: Node, high: Node, options: Sequence[Alternative], chosen: Mapping[str, type[Section]]) -> Node:
    """`high` laid over `low`.

    Args:
        low: the node below.
        high: the node on top.
        options: what the spec allows here.
        chosen: field name -> section, for fields whose section a registry gives (at the root only).
    """
    if isinstance(low, Array) and isinstance(high, Table) and not high.mark.line:
        return _merge_items(low, high, options)
    if not isinstance(low, Table) or not isinstance(high, Table):
        return high
    kinds = sections(options)
    if kinds and _replaces(low, high, kinds):
        return high
    merged = dict(low.entries)
    for key, entry in high.entries.items():
        below = merged.get(key)
        single = isinstance(entry.node, Scalar)
        if below is None or single or (key in chosen and _differ(below.node, entry.node, "name")):
            merged[key] = entry
        else:
            inner = _options(kinds, options, key, chosen)
            merged[key] = Entry(entry.key, merge(below.node, entry.node, inner, {}))
    return Table(merged, low.mark)


def _merge_items(low: Array, high: Table, options: Sequence[Alternative]) -> Node:
    """An override of list items by their number, such as `train.stages.0.name=warm`."""
    if not all(key.isdecimal() and int(key) < len(low.items) for key in high.entries):
        return high
    merged = list(low.items)
    for key, entry in high.entries.items():
        merged[int(key)] = merge(merged[int(key)], entry.node, items(options, int(key)), {})
    return Array(tuple(merged), low.mark)


def _options(
    kinds: Sequence[type[Section]], options: Sequence[Alternative], key: str, chosen: Mapping[str, type[Section]]
) -> tuple[Alternative, ...]:
    if key in chosen:
        return (Alternative(chosen[key]),)
    found = tuple(o for kind in kinds if key in kind.model_fields for o in of_field(kind.model_fields[key]))
    return found or entries(options)


def _replaces(low: Table, high: Table, kinds: Sequence[type[Section]]) -> bool:
    if any(kind.one_of for kind in kinds):
        return True
    if len(kinds) > 1:
        told = discriminator(kinds)
        return told is not None and _differ(low, high, told[0])
    return False


def _differ(low: Node, high: Node, key: str) -> bool:
    if not isinstance(low, Table) or not isinstance(high, Table):
        return False
    below, above = low.entries.get(key), high.entries.get(key)
    return below is not None and above is not None and plain(below.node) != plain(above.node)
