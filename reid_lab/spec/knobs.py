"""The knobs of a spec as it is declared: every field, slots that are off by default included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reid_lab.spec import shape
from reid_lab.spec.schedule import ChainSpec, StepSpec
from reid_lab.spec.section import Choice, Section, Tune
from reid_lab.spec.show import scalar


@dataclass(frozen=True)
class Knob:
    """A field: its dotted path, its default and what it allows in words, and the range that a study searches."""

    path: str
    default: str
    allowed: str
    searched: str


def knobs(section: Section, prefix: str = "") -> Iterator[Knob]:
    """Every field of a section, in order; a slot stands before the fields of what it holds, or could hold."""
    for name, field in type(section).model_fields.items():
        path, value = f"{prefix}{name}", getattr(section, name)
        options = shape.of_field(field)
        # A section among numbers (a schedule in place of a weight) is a form of the value, no slot.
        inner = [kind for kind in shape.sections(options) if kind not in (ChainSpec, StepSpec)]
        marks = (*field.metadata, *(mark for option in options for mark in option.constraints))
        searched = next((_range(mark) for mark in marks if isinstance(mark, Tune | Choice)), "")
        if not inner or any(option.type is type(None) for option in options) or len(inner) > 1:
            yield Knob(path, _default(value), _allowed(options), searched)
        for kind in inner:
            example = value if isinstance(value, kind) else _example(kind)
            if example is not None:
                yield from knobs(example, f"{path}.")


def _allowed(options: tuple[shape.Alternative, ...]) -> str:
    """The alternatives in words; schedules are called so."""
    plain = tuple(option for option in options if option.type not in (ChainSpec, StepSpec))
    return shape.expected(plain) + (" or a schedule" if len(plain) < len(options) else "")


def _default(value: Any) -> str:
    if isinstance(value, Section):
        return "a schedule" if isinstance(value, ChainSpec | StepSpec) else "on"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_default, value))}]"
    return scalar(value) if value is None or isinstance(value, str | int | float) else str(value)


def _range(mark: Tune | Choice) -> str:
    if isinstance(mark, Choice):
        return "{" + ", ".join(map(_default, mark.values)) + "}"
    return f"{mark.low:g} to {mark.high:g}" + (", log" if mark.log else "")


def _example(kind: type[Section]) -> Section | None:
    """A section of a slot that is off; None where a field of it has no default."""
    if any(field.is_required() for field in kind.model_fields.values()):
        return None
    return kind()
