"""Many specs that differ from one base in a few paths: the base's files are read, merged and built once.

A variant is merged and validated like any other spec, cross-field validators included; only a mapping that no setting
touches keeps the section which the base has for it (the same frozen object).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from reid_lab.errors import Fault, SpecError
from reid_lab.spec.build import Builder, Built, Key
from reid_lab.spec.layers import Layers, gather
from reid_lab.spec.loader import Loaded, Registries, assemble, in_order
from reid_lab.spec.origins import Origins
from reid_lab.spec.run import RunSpec
from reid_lab.spec.tree import Array, Entry, Mark, Node, Scalar, Table


@dataclass(frozen=True)
class Setting:
    """A dotted path that is set to a value, and where that is written."""

    path: str
    at: Mark
    node: Node

    def layer(self) -> Table:
        """The setting as a layer. Like an override it reaches list items by their number."""
        # Mappings of an override have no line; what is printed of the mark stays the same.
        mark = Mark(f"{self.at.source}:{self.at.line}", 0, self.at.column) if self.at.line else self.at
        node = self.node
        for part in reversed(self.path.split(".")):
            node = Table({part: Entry(mark, node)}, mark)
        assert isinstance(node, Table)
        return node


def node(value: Any, mark: Mark) -> Node:
    """Plain data as a tree that stands at one place."""
    if isinstance(value, Mapping):
        return Table({str(key): Entry(mark, node(inner, mark)) for key, inner in value.items()}, mark)
    if isinstance(value, list | tuple):
        return Array(tuple(node(inner, mark) for inner in value), mark)
    return Scalar(value, mark)


@dataclass(frozen=True)
class Tried:
    """A variant as it was built: its spec, or the faults and their places; `built`: its own sections."""

    spec: RunSpec | None
    tree: Table
    built: Mapping[Key, Built]
    faults: tuple[tuple[Mark, Fault], ...]


@final
class Variants:
    """The specs around one base.

    Args:
        path: the base's file.
        registries: as in `loader.load`.
        settings: laid over the file; with them it is the base.

    Raises:
        SpecError: with every fault of the base.
    """

    def __init__(self, path: Path, registries: Registries, settings: Sequence[Setting] = ()) -> None:
        layers = gather(path, ())
        layers.tables += [setting.layer() for setting in settings]
        self._registries, self._path, self._top = registries, path, Mark(str(path), 1, 1)
        builder = Builder(layers.whole, besides=("extends",))
        spec, tree = assemble(layers, registries, builder, self._top)
        faults = in_order(builder, layers)
        if faults or spec is None:
            raise SpecError(*faults)
        self._stand(spec, tree, builder.built)

    def _stand(self, spec: RunSpec, tree: Table, built: Mapping[Key, Built]) -> None:
        self._tree, self._built, self._origins = tree, built, Origins(spec, tree)
        self.base = Loaded(spec, self._origins.first, self._path)

    def over(self, settings: Sequence[Setting]) -> Variants:
        """The specs around one of these: many that have all of `settings` are found sooner there.

        Raises:
            SpecError: with every fault of the settings.
        """
        tried = self.attempt(settings)
        nearer = copy(self)
        nearer._stand(self._sound(tried), tried.tree, {**self._built, **tried.built})
        return nearer

    def attempt(self, settings: Sequence[Setting]) -> Tried:
        """The base with some settings, later ones over earlier ones."""
        layers = Layers([self._tree, *(setting.layer() for setting in settings)])
        builder = Builder(known=self._built)
        spec, tree = assemble(layers, self._registries, builder, self._top)
        return Tried(spec, tree, builder.built, tuple(builder.faults))

    def load(self, settings: Sequence[Setting]) -> Loaded:
        """The base with some settings, as if they had been overrides.

        Raises:
            SpecError: with every fault.
        """
        tried = self.attempt(settings)
        spec = self._sound(tried)
        return Loaded(spec, self._origins.of(spec, tried.tree), self._path)

    @staticmethod
    def _sound(tried: Tried) -> RunSpec:
        if tried.spec is None:
            raise SpecError(*(fault for _, fault in tried.faults))
        return tried.spec
