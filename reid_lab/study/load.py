"""From a study file to a plan whose every arm is validated, or every mistake at once with its place in the file.

Each arm is merged and built once while the file is loaded, so nothing runs that does not validate. With `tune`, each
arm is also built with the fidelity patch, and at the corners of its space (`Space.corners`); arms that have the same
space as an earlier one are built at its first and last corner only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from reid_lab import catalogue
from reid_lab.errors import Fault
from reid_lab.spec.build import Builder
from reid_lab.spec.layers import gather, merge
from reid_lab.spec.loader import Loaded, Registries
from reid_lab.spec.run import RunSpec
from reid_lab.spec.section import walk
from reid_lab.spec.shape import Alternative
from reid_lab.spec.study import StudySpec, TuneSpec, mistakes
from reid_lab.spec.tree import Array, Mark, Node, Table, plain
from reid_lab.spec.variants import Setting, Variants, node
from reid_lab.study.file import StudyFile, components, stop
from reid_lab.study.plan import Arm, Plan, clash, plan
from reid_lab.study.space import Space, dimensions, space

LONGEST = 120
"""Characters of an arm's name, which is a folder's name and more."""


@final
@dataclass(frozen=True)
class LoadedStudy:
    """A study whose arms validate.

    base: the base with the study's `patch`. specs: of each arm. settings: of each arm, what its patch sets and where
    that stands. places: where the other paths that the file sets stand (fidelity, search).
    """

    spec: StudySpec
    path: Path
    name: str
    plan: Plan
    base: Loaded
    variants: Variants
    specs: Mapping[str, RunSpec]
    settings: Mapping[str, tuple[Setting, ...]]
    places: Mapping[str, Mark]

    def arm(self, arm: Arm, extra: Mapping[str, Any] = {}, seed: int | None = None) -> Loaded:
        """The spec of an arm: the base, the arm's patch, `extra` (dotted path -> plain value) and the seed.

        Raises:
            SpecError: `extra` does not fit, or does not fit the arm.
        """
        return self.variants.load([*self.settings[arm.name], *self.given(extra, seed)])

    def short(self, arm: Arm) -> Variants:
        """The specs of an arm's trials: those around the arm with `fidelity`."""
        fidelity = {} if self.spec.tune is None else self.spec.tune.fidelity
        return self.variants.over([*self.settings[arm.name], *self.given(fidelity)])

    def given(self, patch: Mapping[str, Any], seed: int | None = None) -> list[Setting]:
        """Plain values, and a seed, as settings that know where in the file their paths stand."""
        given = patch if seed is None else {**patch, "seed": seed}
        return [self._setting(path, value) for path, value in given.items()]

    def space(self, arm: Arm) -> tuple[Space, tuple[str, ...]]:
        """What the arm's trials search, and the searched paths that it lacks; nothing without `tune`."""
        tune = self.spec.tune
        return (Space(), ()) if tune is None else space(self.specs[arm.name], tune.search)

    def _setting(self, path: str, value: Any) -> Setting:
        mark = self.places.get(path) or Mark(f"{path}={value}", 0, 1)
        return Setting(path, mark, node(value, mark))


def load_study(path: str | Path, sets: Sequence[str] = (), *, registries: Registries | None = None) -> LoadedStudy:
    """Read a study file, plan it, and validate every arm.

    Args:
        path: a YAML file; `base` and `extends` name files relative to it.
        sets: overrides of the study file, such as `tune.trials=6`.
        registries: as for experiments; by default those of all rooms.

    Raises:
        SpecError: with every mistake, in the order of the lines.
    """
    path = Path(path)
    layers = gather(path, sets)
    tree: Node = Table({}, Mark(str(path), 1, 1))
    for table in layers.tables:
        tree = merge(tree, table, (Alternative(StudySpec),), {})
    assert isinstance(tree, Table)
    builder = Builder(layers.whole, besides=("extends",))
    spec = builder.section(StudySpec, tree, "", Mark(str(path), 1, 1), components(tree, builder))
    file = StudyFile(tree, builder, path)
    if isinstance(spec, StudySpec):
        for keys, what in mistakes(spec):
            file.fault(keys, what)
    file.patches()
    name = file.name()
    stop(builder, layers)
    assert isinstance(spec, StudySpec)
    variants = Variants(file.base(spec.base, layers), registries or catalogue.registries(), file.settings("patch"))
    found = _Study(file, spec, name, variants)
    found.check()
    stop(builder, layers)
    return found.loaded()


class _Study:
    """A study with its base: what the arms are, and whether they validate."""

    def __init__(self, file: StudyFile, spec: StudySpec, name: str, variants: Variants) -> None:
        self.file, self.spec, self.name, self.variants = file, spec, name, variants
        self.plan = plan(spec, variants.base.spec.plain())
        self.settings = {arm.name: self._settings(arm) for arm in self.plan.arms}
        self.specs: dict[str, RunSpec] = {}
        self.told: set[Mark] = set()
        self.fidelity = file.settings("tune", "fidelity")
        self.local = _nested(leaf.path for leaf in walk(variants.base.spec) if leaf.local)

    def loaded(self) -> LoadedStudy:
        """The study, when nothing was wrong."""
        places = {setting.path: setting.at for setting in self.fidelity}
        for index, entry in enumerate(self.spec.tune.search if self.spec.tune else ()):
            places[entry if isinstance(entry, str) else entry.path] = self.file.mark(("tune", "search", str(index)))
        return LoadedStudy(
            self.spec,
            self.file.path,
            self.name,
            self.plan,
            self.variants.base,
            self.variants,
            self.specs,
            self.settings,
            places,
        )

    def check(self) -> None:
        """Record every mistake of the arms, then of the spaces."""
        for name in self.plan.repeated():
            keys = ("arms", name) if name in self.spec.arms else ("design",)
            self.file.fault(keys, f"two arms are called '{name}'")
        for arm in self.plan.arms:
            if len(arm.name) > LONGEST:
                what = f"the arm '{arm.name}' has a name of {len(arm.name)} characters; {LONGEST} are allowed"
                self.file.fault(("components",), what)
        if not self.plan.arms:
            reason = f"{self.plan.rejected[0].name}: {self.plan.rejected[0].reason}"
            self.file.fault(("design",), f"no cell is left: requires and excludes reject all of them ({reason})")
        if self.file.builder.faults:
            return
        seen: dict[str, str] = {}
        for arm in self.plan.arms:
            self._arm(arm, seen)
        if self.spec.tune is not None and not self.file.builder.faults:
            self._spaces(self.spec.tune)

    def _settings(self, arm: Arm) -> tuple[Setting, ...]:
        if arm.name in self.spec.arms:
            return self.file.settings("arms", arm.name)
        sweep = self.spec.sweep
        if sweep is not None:
            values = self.file.table("sweep").entries["values"].node if arm.patch else None
            items = values.items if isinstance(values, Array) else ()
            return tuple(
                Setting(sweep.path, self.file.mark(("sweep", "path")), item)
                for item in items
                if _same(plain(item), arm.patch[sweep.path])
            )[:1]
        found = [s for c, level in arm.levels.items() for s in self.file.settings("components", c, level)]
        return tuple(found)

    def _arm(self, arm: Arm, seen: dict[str, str]) -> None:
        settings = self.settings[arm.name]
        found = clash(arm, self.spec)
        if found:
            self._once(self.file.mark(("components", found[0])), f"components.{found[0]}", found[1])
            return
        tried = self.variants.attempt(settings)
        if tried.spec is None:
            self._tell(tried.faults, settings, f"arm '{arm.name}'")
            return
        self.specs[arm.name] = tried.spec
        text = tried.spec.model_dump_json(exclude=self.local)
        twin = seen.setdefault(text, arm.name)
        if twin != arm.name:
            own = [setting for setting in settings if setting not in self.settings[twin]]
            what = f"the arm '{arm.name}' is the same experiment as '{twin}': the patch changes nothing"
            self._once(self._where(own or settings), "", what)

    def _once(self, mark: Mark, path: str, what: str) -> None:
        """Record what a level does in many arms for the first of them."""
        if mark not in self.told:
            self.told.add(mark)
            self.file.builder.fault(mark, path, what)

    def _where(self, settings: Sequence[Setting]) -> Mark:
        return settings[0].at if settings else self.file.mark(("design",))

    def _tell(
        self, faults: Sequence[tuple[Mark, Fault]], settings: Sequence[Setting], whose: str, also: Mark | None = None
    ) -> None:
        """Record an arm's faults: in the study file as they are, elsewhere at the arm's patch."""
        ours = {setting.at.source for setting in settings}
        for mark, fault in faults:
            if _real(mark).source in ours:
                self.file.builder.faults.append((_real(mark), fault))
            else:
                what = f"{whose}: {fault.what} (base: {mark})"
                self.file.builder.fault(also or self._where(settings), "", what)
        self.file.builder.faults[:] = list(dict.fromkeys(self.file.builder.faults))

    def _spaces(self, tune: TuneSpec) -> None:
        has: set[str] = set()
        known: list[Space] = []
        for arm in self.plan.arms:
            settings = (*self.settings[arm.name], *self.fidelity)
            tried = self.variants.attempt(settings)
            if tried.spec is None:
                self._tell(tried.faults, settings, f"arm '{arm.name}' with fidelity")
                continue
            self._measurable(arm, tried.spec)
            found, _, faults = dimensions(self.specs[arm.name], tune.search)
            for index, what in faults.items():
                self.file.builder.fault(self.file.mark(("tune", "search", str(index))), "tune.search", what)
            has |= {dimension.name for dimension in found.dimensions}
            if faults:
                continue
            if not found.dimensions:
                self.file.fault(("tune", "search"), f"the arm '{arm.name}' has none of these paths")
                continue
            self._undone(arm, found)
            corners = list(found.corners())
            for corner in corners if found not in known else (corners[0], corners[-1]):
                self._corner(arm, settings, corner)
            known.append(found)
        if self.file.builder.faults:
            return
        for index, entry in enumerate(tune.search):
            path = entry if isinstance(entry, str) else entry.path
            if path not in has:
                what = f"{path}: no arm has it: it, or a slot above it, is null, or its condition never holds"
                self.file.builder.fault(self.file.mark(("tune", "search", str(index))), "tune.search", what)

    def _measurable(self, arm: Arm, spec: RunSpec) -> None:
        """A study that tunes needs val."""
        whose = f"arm '{arm.name}'"
        if spec.data.val == "none":
            self.file.fault(("tune",), f"{whose}: data.val is none; a study that tunes chooses on val")
        if spec.eval.select_on == "test":
            self.file.fault(("tune",), f"{whose}: eval.select_on is test; a study that tunes never looks at test")
        if spec.eval.protocol is None and any(o.metric.startswith("val/") for o in self.spec.objectives):
            self.file.fault(("objective",), f"{whose}: eval.protocol is null, so nothing is measured on val")

    def _undone(self, arm: Arm, found: Space) -> None:
        for dimension in found.dimensions:
            for path in self.settings[arm.name]:
                if path.path == dimension.name or path.path.startswith(f"{dimension.name}."):
                    what = f"{path.path}: the arm '{arm.name}' sets it, and tune.search would undo that"
                    self.file.builder.fault(path.at, "", what)

    def _corner(self, arm: Arm, settings: Sequence[Setting], corner: Mapping[str, Any]) -> None:
        assert self.spec.tune is not None
        paths = [entry if isinstance(entry, str) else entry.path for entry in self.spec.tune.search]
        marks = {path: self.file.mark(("tune", "search", str(index))) for index, path in enumerate(paths)}
        chosen = [Setting(path, marks[path], node(value, marks[path])) for path, value in corner.items()]
        tried = self.variants.attempt((*settings, *chosen))
        if tried.spec is None:
            values = ", ".join(f"{path} = {value}" for path, value in corner.items())
            first = marks[next(iter(corner))]
            self._tell(tried.faults, (*settings, *chosen), f"tune.search: arm '{arm.name}' with {values}", first)


def _nested(paths: Iterable[str]) -> dict[str, Any]:
    """Dotted paths as pydantic's `exclude` has them."""
    found: dict[str, Any] = {}
    for path in paths:
        *above, last = path.split(".")
        here = found
        for part in above:
            here = here.setdefault(part, {})
        here[last] = True
    return found


def _real(mark: Mark) -> Mark:
    """A setting's mark with its line."""
    source, _, line = mark.source.rpartition(":")
    return Mark(source, int(line), mark.column) if not mark.line and line.isdecimal() else mark


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
