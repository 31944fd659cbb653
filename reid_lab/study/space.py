"""What an arm's trials search: dimensions from the `Tune` and `Choice` of its resolved spec.

The study file may narrow or widen a declared range, or give one where none is declared; what a field allows is judged
by building the spec at the ends of each range (`reid_lab.study.load`). A path below a slot that is null in an arm, or a
knob that is null itself (a loss that is off), is lacking there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any, Literal, get_origin

from pydantic.fields import FieldInfo

from reid_lab.errors import Fault, SpecError, nearest
from reid_lab.spec import shape
from reid_lab.spec.knobs import knobs
from reid_lab.spec.loader import Loaded
from reid_lab.spec.run import RunSpec
from reid_lab.spec.section import Choice, Section, Tune, is_local
from reid_lab.spec.study import SearchSpec

FIXED = ("seed", "data", "model.name", "eval")
"""What trials may not change: they would not be measured alike."""

FREE = ("data.image_size", "eval.every", "eval.expansion", "eval.patience", "eval.rerank")
"""What they may change of it all the same."""


@dataclass(frozen=True)
class Dimension:
    """One searched path.

    Args:
        name: its dotted path.
        kind: a number, an integer, or one of listed `values` (plain data, lists as tuples).
        low, high: both ends, included; integers for `int`.
        log: whether equal factors, not equal differences, are equally likely.
        when: name of another dimension -> values of it under which this one exists.
    """

    name: str
    kind: Literal["float", "int", "choice"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    values: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that bound it: both ends, or all of the list."""
        return self.values if self.kind == "choice" else (self.low, self.high)

    def exists(self, values: Mapping[str, Any]) -> bool:
        """Whether it exists beside these values of the dimensions before it."""
        return all(name in values and _among(values[name], allowed) for name, allowed in self.when.items())


@dataclass(frozen=True)
class Space:
    """The dimensions of an arm, each after those that it depends on."""

    dimensions: tuple[Dimension, ...] = ()

    def patch(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The patch of some values: those whose dimension exists beside the others, in the order of the dimensions.

        Raises:
            KeyError: a value of no dimension, or a dimension that exists and has no value.
        """
        unknown = set(values) - {dimension.name for dimension in self.dimensions}
        if unknown:
            raise KeyError(", ".join(sorted(unknown)))
        patch: dict[str, Any] = {}
        for dimension in self.dimensions:
            if dimension.exists(patch):
                patch[dimension.name] = values[dimension.name]
        return patch

    def corners(self, most: int = 256) -> Iterator[dict[str, Any]]:
        """Patches at the ends of all ranges, listed values at each of theirs.

        All of them while there are at most `most`. Beyond, every pair of dimensions at all of its ends, once beside
        the first ends of the others and once beside the last: a rule among three or more could then be missed.
        """
        names = [dimension.name for dimension in self.dimensions]
        ends = [dimension.ends for dimension in self.dimensions]
        if prod(map(len, ends)) <= most:
            combined: Iterator[dict[str, Any]] = (dict(zip(names, chosen, strict=True)) for chosen in product(*ends))
        else:
            combined = self._pairs()
        seen: list[dict[str, Any]] = []
        for values in combined:
            patch = self.patch(values)
            if patch not in seen:
                seen.append(patch)
                yield patch

    def _pairs(self) -> Iterator[dict[str, Any]]:
        for side in (0, -1):
            rest = {dimension.name: dimension.ends[side] for dimension in self.dimensions}
            for index, one in enumerate(self.dimensions):
                for other in self.dimensions[:index]:
                    for a, b in product(one.ends, other.ends):
                        yield {**rest, one.name: a, other.name: b}


class Unsearchable(ValueError):
    """A searched path, or its range, is wrong."""


class Lacking(Exception):
    """The arm has no such knob."""


def space(arm: Loaded | RunSpec, search: Sequence[str | SearchSpec]) -> tuple[Space, tuple[str, ...]]:
    """The space of an arm, and the searched paths that it lacks.

    Raises:
        SpecError: a path that no spec has, or a range that is none.
    """
    found, lacking, faults = dimensions(arm.spec if isinstance(arm, Loaded) else arm, search)
    if faults:
        raise SpecError(*(Fault(f"tune.search.{index}: {what}") for index, what in faults.items()))
    return found, lacking


def dimensions(spec: RunSpec, search: Sequence[str | SearchSpec]) -> tuple[Space, tuple[str, ...], dict[int, str]]:
    """As `space`; in place of an error, what is wrong with which entry of `search`."""
    wanted = [SearchSpec(path=entry) if isinstance(entry, str) else entry for entry in search]
    faults: dict[int, str] = {}
    found: dict[str, Dimension] = {}
    lacking: list[str] = []
    for index, entry in enumerate(wanted):
        try:
            found[entry.path] = _dimension(spec, entry)
        except Lacking:
            lacking.append(entry.path)
        except Unsearchable as error:
            faults[index] = str(error)
    searched = {entry.path for entry in wanted}
    for index, entry in enumerate(wanted):
        try:
            dimension = found.get(entry.path)
            if dimension is not None and not _fixed(spec, entry, dimension, found, searched):
                del found[entry.path]
                lacking.append(entry.path)
        except Unsearchable as error:
            faults[index] = str(error)
    ordered: dict[str, Dimension] = {}
    waiting = dict(found)
    while waiting:
        ready = [d for d in waiting.values() if not any(name in waiting for name in d.when)]
        if not ready:
            index = next(i for i, entry in enumerate(wanted) if entry.path in waiting)
            faults.setdefault(index, f"{wanted[index].path}: its conditions go round in a circle")
            break
        for dimension in ready:
            ordered[dimension.name] = waiting.pop(dimension.name)
    return Space(tuple(ordered.values())), tuple(lacking), faults


def _fixed(
    spec: RunSpec, entry: SearchSpec, dimension: Dimension, found: dict[str, Dimension], searched: set[str]
) -> bool:
    """Whether a dimension can exist in this arm; conditions on what is not searched are settled."""
    when: dict[str, tuple[Any, ...]] = {}
    for name, allowed in entry.when.items():
        if name == entry.path:
            raise Unsearchable(f"{entry.path}: when: it cannot depend on itself")
        other = found.get(name)
        if other is not None:
            if other.kind != "choice":
                raise Unsearchable(f"{entry.path}: when: '{name}' has a range; conditions are on listed values")
            odd = [value for value in allowed if not _among(value, other.values)]
            if odd:
                values = ", ".join(map(str, other.values))
                raise Unsearchable(f"{entry.path}: when: {odd[0]!r} is no value of {name} (searched: {values})")
            when[name] = allowed
        elif name in searched:
            return False  # lacking, or not to exist either
        else:
            try:
                if not _among(_at(spec, name)[1], allowed):
                    return False
            except Lacking:
                return False
    found[entry.path] = Dimension(
        dimension.name, dimension.kind, dimension.low, dimension.high, dimension.log, dimension.values, when
    )
    return True


def _dimension(spec: RunSpec, entry: SearchSpec) -> Dimension:
    if _within(entry.path, FIXED) and not _within(entry.path, FREE):
        what = f"not {', '.join(FIXED)}, but {', '.join(FREE)}"
        raise Unsearchable(f"{entry.path}: cannot be searched; all trials are measured alike ({what})")
    knob, value, local = _at(spec, entry.path)
    if local:
        raise Unsearchable(f"{entry.path}: cannot be searched; it does not change what is computed")
    options = shape.of_field(knob)
    numeric = [option for option in options if option.type in (int, float)]
    marks = (*knob.metadata, *(mark for option in options for mark in option.constraints))
    declared = next((mark for mark in marks if isinstance(mark, Tune | Choice)), None)
    values = entry.values
    ranged = entry.low is not None or entry.high is not None
    if values is None and not ranged and isinstance(declared, Choice):
        if entry.log is not None:
            raise Unsearchable(f"{entry.path}: log: its declared values are listed; give low and high, too")
        values = declared.values
    if values is not None:
        if (value is None and None not in values) or isinstance(value, Section):
            raise Lacking(entry.path)
        return _choice(entry.path, values)
    if not numeric:
        raise Unsearchable(f"{entry.path}: is no number; give values")
    limits = declared if isinstance(declared, Tune) else None
    low = entry.low if entry.low is not None else limits.low if limits else None
    high = entry.high if entry.high is not None else limits.high if limits else None
    if low is None or high is None:
        raise Unsearchable(f"{entry.path}: no range is declared for it; give low and high, or values")
    log = entry.log if entry.log is not None else bool(limits and limits.log)
    if low >= high:
        raise Unsearchable(f"{entry.path}: low ({low:g}) is not below high ({high:g})")
    if log and low <= 0:
        raise Unsearchable(f"{entry.path}: a logarithmic range begins above 0, not at {low:g}")
    if value is None or isinstance(value, Section):
        raise Lacking(entry.path)
    if all(option.type is int for option in numeric):
        for end in (low, high):
            if end != int(end):
                raise Unsearchable(f"{entry.path}: it is an integer; {end:g} is none")
        return Dimension(entry.path, "int", int(low), int(high), log)
    return Dimension(entry.path, "float", float(low), float(high), log)


def _within(path: str, sections: Sequence[str]) -> bool:
    return any(path == section or path.startswith(f"{section}.") for section in sections)


def _choice(path: str, values: Sequence[Any]) -> Dimension:
    plain = tuple(map(_plain, values))
    for index, value in enumerate(plain):
        if _among(value, plain[:index]):
            raise Unsearchable(f"{path}: values: {value!r} is listed twice")
        if isinstance(value, Mapping):
            raise Unsearchable(f"{path}: values: a mapping; search the fields inside")
    return Dimension(path, "choice", values=plain)


def _at(spec: RunSpec, path: str) -> tuple[FieldInfo, Any, bool]:
    """A field, its value, and whether it is local.

    Raises:
        Lacking: a slot above it is null, or holds another variant.
        Unsearchable: no spec has it.
    """
    here: Any = spec
    kinds: tuple[type[Section], ...] = (type(spec),)
    knob: FieldInfo | None = None
    local = False
    for part in path.split("."):
        owner = type(here) if isinstance(here, Section) else None
        if owner is None or part not in owner.model_fields:
            owner = next((kind for kind in kinds if part in kind.model_fields), None)
            here = _ABSENT
        if owner is None:
            raise Unsearchable(_unknown(spec, path))
        knob = owner.model_fields[part]
        local = local or is_local(knob)
        here = getattr(here, part) if isinstance(here, Section) else _ABSENT
        kinds = shape.sections(shape.of_field(knob))
    assert knob is not None
    options = shape.of_field(knob)
    plain = [option for option in options if not option.is_section and option.type is not type(None)]
    if not plain or all(get_origin(option.type) is dict for option in plain):
        raise Unsearchable(f"{path}: is a mapping; search the fields inside it")
    if here is _ABSENT:
        raise Lacking(path)
    return knob, here, local


_ABSENT = object()


def _unknown(spec: RunSpec, path: str) -> str:
    near = nearest(path, [knob.path for knob in knobs(spec)])
    return f"{path}: no such knob" + (f"; did you mean '{near}'?" if near else "")


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _among(value: Any, allowed: Sequence[Any]) -> bool:
    """Membership in which true is not 1, and a list equals its tuple."""
    value = _plain(value)
    return any(type(value) is type(_plain(other)) and value == _plain(other) for other in allowed) or (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and any(isinstance(o, int | float) and not isinstance(o, bool) and o == value for o in allowed)
    )
