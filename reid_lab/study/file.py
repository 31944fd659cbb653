"""The tree of a study file: its components, its patches, and where things stand in it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from reid_lab.errors import SpecError, nearest
from reid_lab.spec.build import BROKEN, Broken, Builder
from reid_lab.spec.layers import Layers, gather
from reid_lab.spec.loader import in_order
from reid_lab.spec.shape import show
from reid_lab.spec.study import NAME, ComponentSpec
from reid_lab.spec.tree import Array, Mark, Node, Scalar, Table, plain
from reid_lab.spec.variants import Setting

_PATH = re.compile(r"[^.\s=]+(\.[^.\s=]+)*")


def stop(builder: Builder, layers: Layers) -> None:
    """Raises `SpecError` with every mistake so far, if there is one."""
    faults = in_order(builder, layers)
    if faults:
        raise SpecError(*faults)


def components(tree: Table, builder: Builder) -> dict[str, Any] | None:
    """The components: their levels stand beside `requires` and `excludes`."""
    entry = tree.entries.get("components")
    if entry is None or not isinstance(entry.node, Table):
        return None
    built: dict[str, Any] = {}
    for name, component in entry.node.entries.items():
        path = f"components.{name}"
        if not isinstance(component.node, Table):
            what = f"expected a mapping (off, or other levels; requires, excludes), got {show(plain(component.node))}"
            builder.fault(component.node.mark, path, what)
            built[name] = BROKEN
            continue
        inside = component.node.entries
        rules = Table({k: e for k, e in inside.items() if k in ("requires", "excludes")}, component.node.mark)
        levels: dict[str, Any] | Broken = {k: plain(e.node) for k, e in inside.items() if k not in rules.entries}
        for level, entry in inside.items():
            if level not in rules.entries and not isinstance(entry.node, Table):
                what = f"expected a patch, such as {{model.mer: null}}, got {show(plain(entry.node))}"
                builder.fault(entry.node.mark, f"{path}.{level}", what)
                levels = BROKEN
        built[name] = builder.section(ComponentSpec, rules, path, component.key, {"levels": levels})
    return {"components": BROKEN if any(value is BROKEN for value in built.values()) else built}


@final
class StudyFile:
    """The study file's tree: where things stand in it."""

    def __init__(self, tree: Table, builder: Builder, path: Path) -> None:
        self.tree, self.builder, self.path = tree, builder, path

    def fault(self, keys: Sequence[str], what: str) -> None:
        """Record a mistake at the deepest of these keys that the file has."""
        self.builder.fault(self.mark(keys), ".".join(keys), what)

    def mark(self, keys: Sequence[str]) -> Mark:
        """Where a value stands; of a mapping, its key."""
        found: Node = self.tree
        mark = Mark(str(self.path), 1, 1)
        for key in keys:
            if isinstance(found, Table) and key in found.entries:
                entry = found.entries[key]
                found = entry.node
                mark = entry.key if isinstance(found, Table) else found.mark
            elif isinstance(found, Array) and key.isdecimal() and int(key) < len(found.items):
                found = found.items[int(key)]
                mark = found.mark
        return mark

    def table(self, *keys: str) -> Table:
        """The mapping at these keys; an empty one when there is none."""
        found: Node = self.tree
        for key in keys:
            entry = found.entries.get(key) if isinstance(found, Table) else None
            found = entry.node if entry else Scalar(None, self.tree.mark)
        return found if isinstance(found, Table) else Table({}, self.tree.mark)

    def settings(self, *keys: str) -> tuple[Setting, ...]:
        """The settings of the patch at these keys."""
        return tuple(Setting(path, entry.key, entry.node) for path, entry in self.table(*keys).entries.items())

    def patches(self) -> None:
        """Judge the paths of all patches, as far as that needs no base."""
        levels = [
            ("components", name, level)
            for name, entry in self.table("components").entries.items()
            if isinstance(entry.node, Table)
            for level in entry.node.entries
            if level not in ("requires", "excludes")
        ]
        arms = [("arms", name) for name in self.table("arms").entries]
        for keys in (*levels, *arms, ("patch",), ("tune", "fidelity")):
            for path, entry in self.table(*keys).entries.items():
                where = ".".join(keys)
                if not _PATH.fullmatch(path):
                    self.builder.fault(entry.key, where, f"'{path}' is no dotted path, such as model.mer.rank")
                elif path == "seed":
                    self.builder.fault(entry.key, where, "the seeds of a study stand in seeds")
                elif path == "extends":
                    self.builder.fault(entry.key, where, "extends stands in files only")

    def name(self) -> str:
        """The study's name: as written, or the file's. No other file beside it may have it."""
        entry = self.tree.entries.get("name")
        written = entry.node.value if entry and isinstance(entry.node, Scalar) else None
        name = written if isinstance(written, str) else self.path.stem
        if written is None and not NAME.fullmatch(name):
            self.fault(("name",), f"the file's name, '{name}', is none for a study's folder; give a name")
        for other in sorted(self.path.parent.glob("*.yaml")):
            if other.resolve() != self.path.resolve() and _named(other) == name:
                self.fault(("name",), f"{other} is called '{name}', too; runs are kept under a study's name")
        return name

    def base(self, written: str, layers: Layers) -> Path:
        """The base's path, which is relative to the file that names it.

        Raises:
            SpecError: there is no such file.
        """
        mark = self.mark(("base",))
        folder = Path(mark.source).parent if mark.line else self.path.parent
        path = Path(os.path.normpath(folder / written))
        if not path.is_file():
            near = nearest(path.name, (other.name for other in path.parent.glob("*.y*ml")))
            hint = f"; did you mean '{path.with_name(near)}'?" if near else ""
            self.fault(("base",), f"{path}: no such file{hint}")
            stop(self.builder, layers)
        return path


def _named(path: Path) -> str:
    """What another study file is called, without a word about its mistakes."""
    tables = gather(path, ()).tables
    entry = tables[-1].entries.get("name") if tables else None
    return str(entry.node.value) if entry and isinstance(entry.node, Scalar) else path.stem
