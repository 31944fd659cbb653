"""From a YAML file and overrides to a frozen `RunSpec`, or every fault at once with its place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from reid_lab.errors import Fault, SpecError, unknown
from reid_lab.spec.build import BROKEN, Broken, Builder, not_among
from reid_lab.spec.layers import Layers, gather, merge, override
from reid_lab.spec.origins import Origins
from reid_lab.spec.run import DataSpec, ModelSpec, RunSpec
from reid_lab.spec.section import Section
from reid_lab.spec.shape import Alternative
from reid_lab.spec.tree import Mark, Node, Scalar, Table, plain

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Registries:
    """What a spec may name.

    models, data: registered name -> a function that returns its section, called for the chosen one only.
    protocols: the names of the evaluation protocols.
    """

    models: Mapping[str, Callable[[], type[ModelSpec]]]
    data: Mapping[str, Callable[[], type[DataSpec]]]
    protocols: Collection[str]


@dataclass(frozen=True)
class Loaded:
    """A resolved spec.

    origin: dotted path -> `file:line:column`, `--set …` or `default`, for every field and list element.
    """

    spec: RunSpec
    origin: Mapping[str, str]
    path: Path


def load(path: str | Path, sets: Sequence[str] = (), *, registries: Registries) -> Loaded:
    """Read, merge and validate the spec at `path`.

    Args:
        path: a YAML file; its `extends` names files relative to itself.
        sets: overrides `a.b=value`, the value in YAML, later ones over earlier ones.
        registries: the architectures, data sets and protocols that a spec may name.

    Raises:
        SpecError: with every fault, in the order of the files and lines.
    """
    path = Path(path)
    layers = gather(path, sets)
    builder = Builder(layers.whole, besides=("extends",))
    spec, tree = assemble(layers, registries, builder, Mark(str(path), 1, 1))
    faults = in_order(builder, layers)
    if faults or spec is None:
        raise SpecError(*faults)
    return Loaded(spec, Origins(spec, tree).first, path)


def assemble(layers: Layers, registries: Registries, builder: Builder, top: Mark) -> tuple[RunSpec | None, Table]:
    """The spec of some layers, None when the builder has recorded a fault; and the tree that it was built from."""
    chosen = _choose(layers, registries, builder)
    tree = _stack(layers.tables, chosen)
    parts: dict[str, Section | Broken] = {
        name: BROKEN if kind is None else _part(builder, tree, name, kind) for name, kind in chosen.items()
    }
    spec = builder.section(RunSpec, tree, "", top, parts)
    _protocol(tree, registries, builder)
    return (None if builder.faults or not isinstance(spec, RunSpec) else spec), tree


def _choose(layers: Layers, registries: Registries, builder: Builder) -> dict[str, type[Section] | None]:
    """The sections of `model` and `data` by their names; None where a fault was recorded."""
    chosen: dict[str, type[Section] | None] = {}
    for part, registry in (("model", registries.models), ("data", registries.data)):
        entries = [t.entries[part] for t in layers.tables if part in t.entries]
        tables = [e.node for e in entries if isinstance(e.node, Table)]
        if not entries or not isinstance(entries[-1].node, Table):
            continue
        names = [t.entries["name"].node for t in tables if "name" in t.entries]
        if not names:
            if layers.whole:
                builder.fault(entries[-1].key, f"{part}.name", f"missing (allowed: {', '.join(registry)})")
            chosen[part] = None
            continue
        name = names[-1].value if isinstance(names[-1], Scalar) else None
        if isinstance(name, str) and name in registry:
            chosen[part] = registry[name]()
        else:
            builder.fault(names[-1].mark, f"{part}.name", not_among(plain(names[-1]), registry))
            chosen[part] = None
    return chosen


def _stack(tables: Sequence[Table], chosen: Mapping[str, type[Section] | None]) -> Table:
    """All layers merged into one table."""
    known = {name: kind or Section for name, kind in chosen.items()}
    tree: Node = Table({}, Mark("", 1, 1))
    for table in tables:
        tree = merge(tree, table, (Alternative(RunSpec),), known)
    assert isinstance(tree, Table)
    return tree


def _part(builder: Builder, tree: Table, name: str, kind: type[Section]) -> Section | Broken:
    entry = tree.entries[name]
    assert isinstance(entry.node, Table)
    return builder.section(kind, entry.node, name, entry.key)


def _protocol(tree: Table, registries: Registries, builder: Builder) -> None:
    entry = tree.entries.get("eval")
    table = entry.node if entry else None
    named = table.entries.get("protocol") if isinstance(table, Table) else None
    if named and isinstance(named.node, Scalar) and isinstance(named.node.value, str):
        name = named.node.value
        if name not in registries.protocols:
            builder.fault(named.node.mark, "eval.protocol", not_among(name, registries.protocols))


def in_order(builder: Builder, layers: Layers) -> list[Fault]:
    """The layers' faults, then the builder's at other places, by layer, line and column."""
    rank = {table.mark.source: index for index, table in reversed(list(enumerate(layers.tables)))}

    def place(found: tuple[Mark, Fault]) -> tuple[int, int, int]:
        mark = found[0]
        return rank.get(mark.source, len(rank)), mark.line, mark.column

    told = {fault.where for fault in layers.faults}
    found = (fault for _, fault in sorted(builder.faults, key=place))
    return list(dict.fromkeys((*layers.faults, *(fault for fault in found if fault.where not in told))))


def load_data(name: str, sets: Sequence[str] = (), *, registries: Registries) -> DataSpec:
    """A `data` section by its name and overrides alone, such as `preset=smoke`, without a file.

    Raises:
        SpecError: with every fault.
    """
    if name not in registries.data:
        raise SpecError(unknown("data set", name, registries.data))
    return load_section(registries.data[name](), sets)


def load_section(kind: type[S], sets: Sequence[str] = ()) -> S:
    """A section by overrides alone, later ones over earlier ones.

    Raises:
        SpecError: with every fault.
    """
    layers = Layers()
    for text in sets:
        override(text, layers)
    builder = Builder(layers.whole)
    tree: Node = Table({}, Mark("--set", 0, 1))
    for table in layers.tables:
        tree = merge(tree, table, (Alternative(kind),), {})
    assert isinstance(tree, Table)
    built = builder.section(kind, tree, "", tree.mark)
    faults = in_order(builder, layers)
    if faults or not isinstance(built, kind):
        raise SpecError(*faults)
    return built


@dataclass(frozen=True)
class Outline:
    """What a spec file says of itself, read without validating it; `fault` when it cannot be read."""

    path: Path
    name: str = ""
    description: str = ""
    architecture: str = ""
    dataset: str = ""
    fault: str = ""


def outline(path: Path) -> Outline:
    """The outline of one file, its `extends` followed."""
    layers = gather(path, ())
    if layers.faults:
        return Outline(path, fault=str(layers.faults[0]))
    data = plain(_stack(layers.tables, {}))

    def text(*keys: str) -> str:
        value: object = data
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return "" if value is None else str(value)

    return Outline(path, text("name"), text("description"), text("model", "name"), text("data", "name"))
