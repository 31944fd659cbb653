"""The arms of a study: a pure function of its spec.

A cell gives each component a level: `on` (the base as it is), `off`, or another one. Cells that break a component's
`requires` or `excludes` are rejected, with the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from reid_lab.spec.show import scalar
from reid_lab.spec.study import OFF, ON, ComponentSpec, StudySpec


@dataclass(frozen=True)
class Arm:
    """A named patch of the base; `levels` tells the level of each component, or the value of the swept path."""

    name: str
    levels: Mapping[str, str] = field(default_factory=dict)
    patch: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """A cell that cannot be."""

    name: str
    levels: Mapping[str, str]
    reason: str


@dataclass(frozen=True)
class Plan:
    """The arms in the order of the design, then those that are listed; and the cells that cannot be."""

    arms: tuple[Arm, ...]
    rejected: tuple[Rejected, ...] = ()

    def repeated(self) -> tuple[str, ...]:
        """Names that more than one arm has."""
        counts = Counter(arm.name for arm in self.arms)
        return tuple(name for name, count in counts.items() if count > 1)


def plan(spec: StudySpec, base: Mapping[str, Any] | None = None) -> Plan:
    """The plan of a study.

    Args:
        spec: the study, without mistakes (`reid_lab.spec.study.mistakes`).
        base: the base's resolved spec as plain data, from which a sweep takes the value that it starts from.
    """
    arms: list[Arm] = []
    rejected: list[Rejected] = []
    for name, levels in _cells(spec):
        reason = broken(levels, spec.components)
        if reason:
            rejected.append(Rejected(name, levels, reason))
        else:
            arms.append(Arm(name, levels, _patch(levels, spec.components)))
    if spec.design is None:
        arms.append(Arm("full"))
    if spec.sweep is not None:
        arms += _sweep(spec.sweep.path, spec.sweep.values, base or {})
    arms += [Arm(name, {}, patch) for name, patch in spec.arms.items()]
    return Plan(tuple(arms), tuple(rejected))


def _cells(spec: StudySpec) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Names and levels of a design's cells."""
    components = spec.components
    whole = dict.fromkeys(components, ON)
    nothing = dict.fromkeys(components, OFF)
    if spec.design == "leave_one_out":
        yield "full", whole
        for name, component in components.items():
            for level in component.levels:
                yield _named(name, level), {**whole, name: level}
    elif spec.design == "add_one":
        yield "none", nothing
        for name, component in components.items():
            yield name, {**nothing, name: ON}
            for level in component.levels:
                if level != OFF:
                    yield _named(name, level), {**nothing, name: level}
    elif spec.design == "path":
        yield "none", nothing
        for count in range(1, len(components) + 1):
            on = list(components)[:count]
            yield "+".join(on), nothing | dict.fromkeys(on, ON)
    elif spec.design == "factorial":
        for levels in product(*((ON, *component.levels) for component in components.values())):
            cell = dict(zip(components, levels, strict=True))
            yield ",".join(_named(c, level) for c, level in cell.items() if level != ON) or "full", cell


def _named(component: str, level: str) -> str:
    return f"no_{component}" if level == OFF else f"{component}={level}"


def _patch(levels: Mapping[str, str], components: Mapping[str, ComponentSpec]) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    for name, level in levels.items():
        patch |= components[name].levels.get(level, {})
    return patch


def broken(levels: Mapping[str, str], components: Mapping[str, ComponentSpec]) -> str:
    """Which rules a cell breaks; empty when none."""
    reasons = []
    for name, component in components.items():
        if levels[name] == OFF:
            continue
        for rule in component.requires:
            if not _holds(rule, levels):
                needed, equals, _ = rule.partition("=")
                found = f"but {needed} is" if equals else "which is"
                reasons.append(f"{name} requires {rule}, {found} {levels[needed]}")
        for rule in component.excludes:
            if _holds(rule, levels):
                reasons.append(f"{name} excludes {rule}")
    return "; ".join(reasons)


def _holds(rule: str, levels: Mapping[str, str]) -> bool:
    name, equals, level = rule.partition("=")
    return levels[name] == level if equals else levels[name] != OFF


def clash(arm: Arm, spec: StudySpec) -> tuple[str, str] | None:
    """The component of an arm that sets what an earlier one sets to something else, or a path below it; and how."""
    levels = [(c, spec.components[c].levels.get(level, {})) for c, level in arm.levels.items() if c in spec.components]
    for index, (name, patch) in enumerate(levels):
        for earlier, below in levels[:index]:
            for path, value in patch.items():
                for other, there in below.items():
                    same = path == other and value != there
                    inside = path.startswith(f"{other}.") or other.startswith(f"{path}.")
                    if same or inside:
                        what = f"the arm '{arm.name}' sets {other} by {earlier} and {path} by {name}"
                        return name, f"{what}; say by requires or excludes that they do not go together"
    return None


def _sweep(path: str, values: tuple[Any, ...], base: Mapping[str, Any]) -> Iterator[Arm]:
    """An arm for each value; the base's own comes first when it is not among them."""
    now: Any = base
    for key in path.split("."):
        now = now.get(key, ...) if isinstance(now, Mapping) else ...
    if now is not ... and all(_listed(now) != _listed(value) for value in values):
        yield Arm(f"{path}={_text(now)}", {path: _text(now)})
    for value in values:
        yield Arm(f"{path}={_text(value)}", {path: _text(value)}, {path: value})


def _listed(value: Any) -> Any:
    """Sequences as lists, so that those of YAML and those of a resolved spec are equal."""
    return [_listed(inner) for inner in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    """A value as a part of an arm's name, which is a folder's name."""
    if isinstance(value, Mapping):
        return "+".join(f"{key}={_text(inner)}" for key, inner in value.items()) or "default"
    if isinstance(value, list | tuple):
        return "+".join(map(_text, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", value if isinstance(value, str) else scalar(value))
