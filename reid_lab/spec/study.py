"""The sections of a study file: a base experiment, its arms, their seeds, and how each arm is tuned.

`mistakes` tells what the fields, right by themselves, do not say together. What needs the base experiment is found
where the study is loaded (`reid_lab.study.load`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from reid_lab.errors import nearest, unknown
from reid_lab.spec.run import EvalSpec, Positive
from reid_lab.spec.section import LOCAL, Misfit, Section

ON, OFF = "on", "off"
"""The level of a component in the base as it is, and the level that takes it away."""

MAX_CELLS = 10_000
"""More arms than this are a mistake in the file."""

TRIAL_SEEDS = 10**6
"""Trials draw their seeds from here upwards, so that a study that tunes reports seeds below."""

METRICS = get_args(EvalSpec.model_fields["metric"].annotation)
"""Of a protocol, or of one of its tasks (`val/ONE/mAP`)."""

COSTS = ("cost/parameters", "cost/trainable", "cost/gflops", "cost/latency", "cost/memory", "cost/seconds")
"""Of a run, or (`gflops`, `latency`) of one embedded image."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=,-]*")
"""Names of studies and of arms: both are names of folders, too."""

LABEL = re.compile(r"[A-Za-z0-9_-]+")
"""Names of components and of their levels."""

Patch = Mapping[str, Any]
"""Dotted path -> plain value."""


def _measured(metric: str) -> str:
    if metric.startswith("test/"):
        raise ValueError("the tuner has no handle on test; choose on val, such as val/mAP")
    kind, _, name = metric.partition("/")
    head, slash, last = name.rpartition("/")
    if (kind != "val" or last not in METRICS) and metric not in COSTS:
        known = (*(f"val/{head}{slash}{each}" for each in METRICS), *COSTS)
        near = nearest(metric, known)
        hint = f"; did you mean '{near}'?" if near else ""
        what = f"unknown metric '{metric}'; allowed: {', '.join(known)}, and val/TASK/NAME of a protocol's tasks{hint}"
        raise ValueError(what)
    return metric


def _fileable(name: str | None) -> str | None:
    if name is not None and not NAME.fullmatch(name):
        raise ValueError(f"'{name}' names a folder, too: letters, digits and . _ + = , - only, a letter or digit first")
    return name


class SearchSpec(Section):
    """A searched path whose range differs from the declared one, or which exists under a condition only.

    A missing end, or `log`, is the declared one. `when`: searched path -> values under which this one exists.
    """

    path: str
    low: float | None = None
    high: float | None = None
    log: bool | None = None
    values: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    when: dict[str, tuple[Any, ...]] = {}

    @model_validator(mode="after")
    def _one_form(self) -> SearchSpec:
        if self.values is not None and (self.low, self.high, self.log) != (None, None, None):
            raise Misfit("values", "listed values have no low, high or log; give one of the two forms")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise Misfit("low", f"low ({self.low:g}) is not below high ({self.high:g})")
        if self.log and self.low is not None and self.low <= 0:
            raise Misfit("low", f"a logarithmic range begins above 0, not at {self.low:g}")
        return self


class TuneSpec(Section):
    """How each arm is tuned: `trials` short runs of the arm with `fidelity` laid over it, chosen by `sampler`."""

    per: Literal["arm"] = "arm"
    trials: Positive = 30  # complete or pruned, for each arm
    fidelity: dict[str, Any] = {}  # dotted path -> value
    search: Annotated[tuple[str | SearchSpec, ...], Field(min_length=1)]
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["hyperband", "median"] | None = "hyperband"
    seed: Annotated[int, Field(ge=0)] = 0


class ObjectiveSpec(Section):
    """What a trial is judged by: a metric of val, or a cost."""

    metric: Annotated[str, AfterValidator(_measured)]
    direction: Literal["maximize", "minimize"]


class BudgetSpec(Section):
    """Wall-clock time, looked at between rounds over the arms."""

    hours: Annotated[float, Field(gt=0)]


class SweepSpec(Section):
    """One knob and its values; each is an arm."""

    path: str
    values: Annotated[tuple[Any, ...], Field(min_length=1)]


class ComponentSpec(Section):
    """A part of the base, and what it is replaced by.

    In a file the levels stand beside `requires` and `excludes`. Level `on` is the base as it is, `off` takes the
    component away; a component is on at every level but `off`. `requires` and `excludes` name components, or one
    level of them (`component=level`), and speak while this component is on.
    """

    levels: dict[str, dict[str, Any]]
    requires: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


Design = Literal["leave_one_out", "add_one", "path", "factorial", "sweep", "explicit"]


class StudySpec(Section):
    """One study: arms of a base experiment, times seeds. Without a design its one arm is the base as it is."""

    base: str  # an experiment file, relative to the study file
    name: Annotated[Annotated[str | None, AfterValidator(_fileable)], LOCAL] = None  # null: that of the file
    description: Annotated[str, LOCAL] = ""
    patch: dict[str, Any] = {}  # dotted path -> value, laid over the base before all arms
    design: Design | None = None
    components: dict[str, ComponentSpec] = {}
    arms: dict[str, dict[str, Any]] = {}  # name -> patch, besides those of the design
    sweep: SweepSpec | None = None
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 1, 2)
    tune: TuneSpec | None = None
    objective: ObjectiveSpec | Annotated[tuple[ObjectiveSpec, ...], Field(min_length=1)] = ObjectiveSpec(
        metric="val/mAP", direction="maximize"
    )
    budget: Annotated[BudgetSpec | None, LOCAL] = None
    storage: Annotated[str | None, LOCAL] = None  # null: a file in the study's folder; postgresql://… or a path
    workers: Annotated[Positive, LOCAL] = 1

    @property
    def objectives(self) -> tuple[ObjectiveSpec, ...]:
        """One or several, always as a tuple."""
        return self.objective if isinstance(self.objective, tuple) else (self.objective,)


Mistake = tuple[tuple[str, ...], str]
"""The keys that lead to a field of the study file, and what is wrong there."""


def mistakes(spec: StudySpec) -> Iterator[Mistake]:
    """What a study's fields do not say together, without a look at the base."""
    yield from _components(spec)
    yield from _design(spec)
    for name in spec.arms:
        if not NAME.fullmatch(name):
            what = f"'{name}' names a folder, too: letters, digits and . _ + = , - only, a letter or digit first"
            yield ("arms", name), what
    repeated = [str(index) for index, seed in enumerate(spec.seeds) if seed in spec.seeds[:index]]
    for index in repeated:
        yield ("seeds", index), f"seed {spec.seeds[int(index)]} is listed twice"
    if spec.tune is not None:
        yield from _tuning(spec, spec.tune)
    metrics = [objective.metric for objective in spec.objectives]
    for place, metric in enumerate(metrics):
        if metric in metrics[:place]:
            yield ("objective", str(place), "metric"), f"'{metric}' is an objective twice"


def _components(spec: StudySpec) -> Iterator[Mistake]:
    for name, component in spec.components.items():
        here = ("components", name)
        if not LABEL.fullmatch(name):
            yield here, "a component's name is made of letters, digits, _ and -"
        if not component.levels:
            yield here, "nothing to compare with: give off, or another level, a patch"
        for level, patch in component.levels.items():
            if level == ON:
                yield (*here, level), "on is the base as it is; patch another level, or the base"
            elif not LABEL.fullmatch(level):
                yield (*here, level), "a level's name is made of letters, digits, _ and -"
            if not patch:
                yield (*here, level), "an empty patch changes nothing"
        for key in ("requires", "excludes"):
            for index, rule in enumerate(getattr(component, key)):
                what = _rule(name, rule, spec.components)
                if what:
                    yield (*here, key, str(index)), what
    cycle = _cycle(spec.components)
    if cycle:
        yield ("components", cycle[0], "requires"), f"cyclic: {' requires '.join(cycle)}"


def _rule(owner: str, rule: str, components: Mapping[str, ComponentSpec]) -> str | None:
    """What is wrong with one entry of `requires` or `excludes`."""
    name, equals, level = rule.partition("=")
    if name not in components:
        return unknown("component", name, components)
    if name == owner:
        return None if equals else f"'{owner}' names itself"
    levels = (ON, OFF, *components[name].levels)
    return unknown(f"level of {name}", level, set(levels)) if equals and level not in levels else None


def _cycle(components: Mapping[str, ComponentSpec]) -> list[str]:
    """The first chain of `requires` that comes back to its start, which is its first and its last; or nothing."""
    done: set[str] = set()

    def follow(name: str, above: list[str]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        if name in done or name not in components:
            return []
        for rule in components[name].requires:
            needed, _, level = rule.partition("=")
            found = follow(needed, [*above, name]) if level != OFF and needed != name else []
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in components if (found := follow(name, []))), [])


def _design(spec: StudySpec) -> Iterator[Mistake]:
    of_components = spec.design in ("leave_one_out", "add_one", "path", "factorial")
    if of_components and not spec.components:
        yield ("design",), f"{spec.design} is made of components; name some"
    if spec.components and not of_components:
        named = f"the design {spec.design} reads none" if spec.design else "without a design nothing reads them"
        yield ("components",), f"{named} (of components are made leave_one_out, add_one, path, factorial)"
    if spec.design == "sweep" and spec.sweep is None:
        yield ("design",), "sweep needs its path and values: sweep: {path: …, values: […]}"
    if spec.sweep is not None and spec.design != "sweep":
        yield ("sweep",), "only the design sweep reads it"
    if spec.design == "explicit" and not spec.arms:
        yield ("design",), "explicit runs the listed arms; list some under arms"
    if spec.design in ("path", "add_one"):
        for name, component in spec.components.items():
            if OFF not in component.levels:
                yield ("components", name), f"the design {spec.design} takes it away, but it has no level off"
            others = [level for level in component.levels if level != OFF]
            if spec.design == "path" and others:
                what = f"a path knows on and off only, not {', '.join(others)}"
                yield ("components", name, others[0]), what
    if spec.design == "factorial":
        cells = prod(1 + len(component.levels) for component in spec.components.values())
        if cells > MAX_CELLS:
            yield ("components",), f"{cells} cells; more than {MAX_CELLS} are not planned"


def _tuning(spec: StudySpec, tune: TuneSpec) -> Iterator[Mistake]:
    for index, seed in enumerate(spec.seeds):
        if seed >= TRIAL_SEEDS:
            what = f"{seed} is kept for trials; a study that tunes reports seeds below {TRIAL_SEEDS}"
            yield ("seeds", str(index)), what
    paths = [entry if isinstance(entry, str) else entry.path for entry in tune.search]
    for index, path in enumerate(paths):
        if path in paths[:index]:
            yield ("tune", "search", str(index)), f"'{path}' is searched twice"
        if path in tune.fidelity:
            yield ("tune", "fidelity", path), "is searched, too; take it out of one of the two"
    judged = [objective.metric for objective in spec.objectives]
    if tune.pruner is not None and (len(judged) > 1 or judged[0] in COSTS):
        what = "several objectives cannot be pruned" if len(judged) > 1 else "a cost is known at the end only"
        yield ("tune", "pruner"), f"{what}; set tune.pruner to null"
