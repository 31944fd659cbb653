"""Every choice that an architecture's spec offers, and what a choice changes.

A spec is walked as it is declared: slots (null, or another section), names (`Literal`), `bool`, and ranges (`Choice`,
`Tune`), in sections that are on and in those that a null slot holds back. Each becomes a pair of specs that differ in
one place; a choice that the spec refuses by itself is tried beside each other choice until one admits it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from reid_lab.architectures import ARCHITECTURES
from reid_lab.spec import shape
from reid_lab.spec.schedule import ChainSpec, Length, SegmentSpec, StepSpec
from reid_lab.spec.section import Choice, Section, Tune

PRESETS = {"tiny-clip": "clip", "tiny-vit": "vit", "tiny-bert": "bert"}

UNSEEN: dict[str, str] = {
    # a choice, as `str(Switch)` tells it: why a step of few samples shows nothing of it
    "t2ireid:cloth.labels='ids'": "the default, auto, takes the outfits' numbers where the data has them, as here",
}

INITIALISES: dict[tuple[str, str], str] = {
    # (architecture, path): why other weights of the same name and shape begin otherwise with it
    ("clip_mer", "grey_start"): "it says what a patch embedding of one channel begins as",
    ("clip_window", "aggregator.start"): "it says how the weights of the scans begin",
}


@dataclass(frozen=True)
class Switch:
    """A choice: `base` and `changed` differ at `path` alone. kind: `slot`, `form`, `range` or `schedule`."""

    name: str
    path: str
    kind: str
    base: Section
    changed: Section

    def __str__(self) -> str:
        value: Any = self.changed
        for step in self.path.split("."):
            value = getattr(value, step)
        told = type(value).__name__ if isinstance(value, Section) else shape.show(value).replace("the string ", "")
        return f"{self.name}:{self.path}={told}"


def initialises(switch: Switch) -> bool:
    """Whether it is the choice's very purpose that weights begin otherwise."""
    return switch.path.rpartition(".")[2] == "pretrained" or (switch.name, switch.path) in INITIALISES


def put(section: Section, path: str, value: Any) -> Section:
    """The section with another value at a dotted path, validated on every level."""
    head, _, rest = path.partition(".")
    given = {field: getattr(section, field) for field in type(section).model_fields}
    given[head] = put(given[head], rest, value) if rest else value
    return type(section)(**given)


def tiny(name: str, folders: dict[str, str]) -> Section:
    """The default spec of an architecture over tiny random trunks (`folders`: clip, vit, bert)."""
    spec: Section = ARCHITECTURES[name].load().spec()
    return over(spec, folders)


def over(section: Section, folders: dict[str, str]) -> Section:
    """The section with every preset trunk replaced by a folder."""
    given: dict[str, Any] = {}
    for field in type(section).model_fields:
        value = getattr(section, field)
        if isinstance(value, Section):
            value = over(value, folders)
        elif isinstance(value, str) and value in PRESETS:
            value = folders[PRESETS[value]]
        given[field] = value
    return type(section)(**given)


@lru_cache
def switches(name: str) -> tuple[Switch, ...]:
    """Every choice of an architecture, beside its default spec (presets in place)."""
    base: Section = ARCHITECTURES[name].load().spec()
    offered = list(_offered(base, base))
    found, refused = [], []
    for path, kind, start, value in offered:
        try:
            found.append(Switch(name, path, kind, start, put(start, path, value)))
        except ValidationError:
            refused.append((path, kind, start, value))
    for path, kind, _, value in refused:
        beside = _beside(name, path, kind, value, found)
        found.append(beside)
        if kind == "slot" and value is not None:  # its own choices, once it is there
            inner = _offered(beside.changed, value, f"{path}.")
            found += [Switch(name, p, k, start, put(start, p, v)) for p, k, start, v in inner]
    return tuple(found)


def _beside(name: str, path: str, kind: str, value: Any, admitted: list[Switch]) -> Switch:
    """The choice beside the first other one that admits it."""
    for other in admitted:
        try:
            changed = put(other.changed, path, value)
        except (ValidationError, AttributeError, KeyError):
            continue
        if changed != other.changed:
            return Switch(name, path, kind, other.changed, changed)
    raise AssertionError(f"{name}: {path} = {value!r} is offered and refused, whatever else is chosen")


def _offered(whole: Section, section: Section, prefix: str = "") -> Iterator[tuple[str, str, Section, Any]]:
    """(path, kind, the whole spec to begin from, value) of every choice in a section of `whole`."""
    for field, info in type(section).model_fields.items():
        path, current = f"{prefix}{field}", getattr(section, field)
        options = shape.of_field(info)
        if any(option.type is type(None) for option in options) and current is not None:
            yield path, "slot", whole, None
        kinds = shape.sections(options)
        marks = list(dict.fromkeys((*info.metadata, *(mark for option in options for mark in option.constraints))))
        if ChainSpec in kinds and not isinstance(current, ChainSpec | StepSpec):
            yield path, "schedule", whole, _ramp(current, marks)
        for kind in kinds:
            if kind in (ChainSpec, StepSpec):
                continue
            if isinstance(current, kind):
                yield from _offered(whole, current, f"{path}.")
                continue
            other = kind()
            yield path, "slot", whole, other
            try:
                yield from _offered(put(whole, path, other), other, f"{path}.")
            except ValidationError:
                continue
        for kind, value in chain(_named(options), _ranged(marks, options)):
            if value != current or type(value) is not type(current):
                yield path, kind, whole, value


def _named(options: tuple[shape.Alternative, ...]) -> Iterator[tuple[str, Any]]:
    for option in options:
        if get_origin(option.type) is Literal:
            yield from (("form", value) for value in get_args(option.type))
        elif option.type is bool:
            yield from (("form", value) for value in (False, True))


def _ranged(metadata: list[Any], options: tuple[shape.Alternative, ...]) -> Iterator[tuple[str, Any]]:
    named = {value for _, value in _named(options)}
    for mark in metadata:
        if isinstance(mark, Choice):
            yield from (("range", value) for value in mark.values if value not in named)
        elif isinstance(mark, Tune):
            whole = any(option.type is int for option in options) and not any(o.type is float for o in options)
            yield from (("range", int(end) if whole else float(end)) for end in (mark.low, mark.high))


def _ramp(current: Any, metadata: list[Any]) -> ChainSpec:
    """From a third of what is there (or of the range's end) to all of it, over the whole training."""
    tune = next((mark for mark in metadata if isinstance(mark, Tune)), None)
    top = float(current) if current else tune.high if tune else 1.0
    return ChainSpec(kind="chain", segments=(SegmentSpec(start=top / 3, end=top, length=Length(fraction=1.0)),))
