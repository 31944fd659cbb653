"""The base of every spec part, and the search ranges that are declared where a knob is born.

A `Section` is a frozen pydantic model that refuses unknown keys and silent conversions (the string
"3" is no integer; YAML sequences arrive as tuples). A field's metadata says three more things:

* `Tune(low, high)` / `Choice(...)`: the range that a study searches;
* `LOCAL`: the field says where or how conveniently a run is computed (paths, devices, workers), not
  what it computes, so it is no part of the run's identity;
* `LATER`: the field came after runs of its section had been recorded; its default computes what was computed
  without it, and takes no part in the identity, so that those runs stay the same runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A frozen, validated part of a spec."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    one_of: ClassVar[bool] = False
    """The keys are forms of one value: a later layer's key replaces the others, instead of joining them."""


class Misfit(ValueError):
    """Raised by a section's validator when fields do not fit each other.

    Args:
        path: the field to change, relative to the section.
        what: one sentence.
        because: a field that is pointed at when `path` is not written in the file.
    """

    def __init__(self, path: str, what: str, because: str | None = None) -> None:
        super().__init__(what)
        self.path = path
        self.because = because or path


@dataclass(frozen=True)
class Tune:
    """A numeric search range, both ends included; integers where the field is an integer."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """A search over listed values."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class _Local:
    """Marks a field that does not take part in the identity of a run."""


LOCAL = _Local()


@dataclass(frozen=True)
class _Later:
    """Marks a field whose default does not take part in the identity of a run."""


LATER = _Later()


def is_unused(field: FieldInfo, value: Any) -> bool:
    """Whether a field is marked `LATER` and has its default."""
    return any(isinstance(m, _Later) for m in field.metadata) and bool(value == field.default)


def is_local(field: FieldInfo) -> bool:
    """Whether a field is marked `LOCAL`."""
    return any(isinstance(m, _Local) for m in field.metadata)


@dataclass(frozen=True)
class Leaf:
    """One field of a resolved spec: its dotted path, value, declaration and search range.

    local: the field, or a section that it stands in, is marked `LOCAL`.
    """

    path: str
    value: Any
    field: FieldInfo
    search: Tune | Choice | None
    local: bool


def walk(section: Section, prefix: str = "", local: bool = False) -> Iterator[Leaf]:
    """Every field of a spec, sections descended into; a null slot is a leaf with value None."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        path = f"{prefix}{name}"
        here = local or is_local(field)
        if isinstance(value, Section):
            yield from walk(value, f"{path}.", here)
        else:
            search = next((m for m in field.metadata if isinstance(m, Tune | Choice)), None)
            yield Leaf(path, value, field, search, here)
