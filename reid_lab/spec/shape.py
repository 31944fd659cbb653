"""What a field's type allows: its alternatives, in types and in words."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

from reid_lab.errors import nearest
from reid_lab.spec.section import Section


@dataclass(frozen=True)
class Alternative:
    """One type that a field accepts, with its constraints."""

    type: Any
    constraints: tuple[Any, ...] = ()

    @property
    def is_section(self) -> bool:
        """Whether this is a section (and not a generic type)."""
        return isinstance(self.type, type) and issubclass(self.type, Section)


def alternatives(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[Alternative, ...]:
    """The members of a union, annotations opened; a plain type is its only alternative."""
    return tuple(_alternatives(annotation, tuple(metadata)))


def of_field(field: FieldInfo) -> tuple[Alternative, ...]:
    """The alternatives of a section's field."""
    known = _FIELDS.get(id(field))
    if known is None:
        known = _FIELDS[id(field)] = field, alternatives(field.annotation, field.metadata)
    return known[1]


_FIELDS: dict[int, tuple[FieldInfo, tuple[Alternative, ...]]] = {}
"""Fields seen so far, by their place in memory; a study asks for the same ones thousands of times."""


def _alternatives(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[Alternative]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        opened = [m for e in extra for m in (e.metadata if isinstance(e, FieldInfo) else [e])]
        yield from _alternatives(inner, (*metadata, *opened))
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _alternatives(member, metadata)
    else:
        yield Alternative(annotation, metadata)


def sections(options: Sequence[Alternative]) -> tuple[type[Section], ...]:
    """The section types among the alternatives."""
    return tuple(o.type for o in options if o.is_section)


def items(options: Sequence[Alternative], index: int) -> tuple[Alternative, ...]:
    """The alternatives of a sequence's element; empty when no alternative is a sequence that long."""
    found: list[Alternative] = []
    for option in options:
        if get_origin(option.type) is tuple:
            args = get_args(option.type)
            if len(args) == 2 and args[1] is Ellipsis:
                found += alternatives(args[0])
            elif index < len(args):
                found += alternatives(args[index])
    return tuple(found)


def entries(options: Sequence[Alternative]) -> tuple[Alternative, ...]:
    """The alternatives of a free mapping's values; empty when no alternative is one."""
    return tuple(a for o in options if get_origin(o.type) is dict for a in alternatives(get_args(o.type)[1]))


def discriminator(options: Sequence[type[Section]]) -> tuple[str, dict[str, type[Section]]] | None:
    """The field whose literal value tells the sections apart, and the section of each value."""
    for name in options[0].model_fields:
        by_tag: dict[str, type[Section]] = {}
        for section in options:
            other = section.model_fields.get(name)
            if other is None or get_origin(other.annotation) is not Literal:
                break
            by_tag.update(dict.fromkeys(get_args(other.annotation), section))
        else:
            return name, by_tag
    return None


def literals(options: Sequence[Alternative]) -> tuple[Any, ...]:
    """The values of all `Literal` alternatives."""
    return tuple(v for o in options if get_origin(o.type) is Literal for v in get_args(o.type))


def show(value: Any) -> str:
    """A value in words, e.g. `the string 'six'`, `a list of 3`, `null`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the string {value if len(value) <= 60 else value[:57] + '...'!r}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple | list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": ".inf", "-inf": "-.inf"}.get(str(value), ".nan")
    return repr(value)


def mismatch(options: Sequence[Alternative], value: Any) -> str:
    """Why `value` does not fit, and what would."""
    names = literals(options)
    if isinstance(value, str) and names and not any(o.type is str for o in options):
        near = nearest(value, [n for n in names if isinstance(n, str)])
        hint = f"; did you mean '{near}'?" if near else ""
        return f"{value!r} is not allowed{hint} (allowed: {', '.join(_each(options))})"
    return f"expected {' or '.join(_each(options, quote=True))}, got {show(value)}"


def expected(options: Sequence[Alternative]) -> str:
    """The alternatives in words."""
    return " or ".join(_each(options, quote=True))


_NOUNS = {int: "integer", float: "number", str: "string", bool: "true or false", type(None): "null"}


def _each(options: Sequence[Alternative], quote: bool = False) -> list[str]:
    words: list[str] = []
    for option in options:
        origin = get_origin(option.type)
        if origin is Literal:
            words += [
                f"'{v}'" if quote and isinstance(v, str) else show(v) if v is None else str(v)
                for v in get_args(option.type)
            ]
        elif option.is_section:
            words.append(f"a mapping ({', '.join(option.type.model_fields)})")
        elif origin is dict:
            words.append("a mapping")
        elif origin is tuple:
            words.append(_list(option))
        else:
            words.append(_scalar(option))
    return list(dict.fromkeys(words))


def _scalar(option: Alternative) -> str:
    noun = _NOUNS.get(option.type, getattr(option.type, "__name__", str(option.type)))
    if option.type in (bool, type(None)):
        return noun
    article = "an" if noun[0] in "aeiou" else "a"
    return f"{article} {noun}{_range(option.constraints)}"


def _list(option: Alternative) -> str:
    args = get_args(option.type)
    if len(args) == 2 and args[1] is Ellipsis:
        low = next((c.min_length for c in option.constraints if isinstance(c, MinLen | Len)), 0)
        least = f" of at least {low}" if low else ""
        return f"a list{least} (each {expected(alternatives(args[0]))})"
    kinds = list(dict.fromkeys(expected(alternatives(a)) for a in args))
    return f"a list of {len(args)}" + (f" (each {kinds[0]})" if len(kinds) == 1 else f" ({', '.join(kinds)})")


def _range(constraints: Sequence[Any]) -> str:
    bounds: dict[str, Any] = {}
    for constraint in constraints:
        for kind, name in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt")):
            if isinstance(constraint, kind | Interval) and getattr(constraint, name) is not None:
                bounds[name] = getattr(constraint, name)
        if isinstance(constraint, MinLen | Len) and constraint.min_length:
            bounds["at least"] = f"{constraint.min_length} long"
        if isinstance(constraint, MaxLen | Len) and constraint.max_length is not None:
            bounds["at most"] = f"{constraint.max_length} long"
    if "ge" in bounds and "le" in bounds:
        return f" from {bounds['ge']} to {bounds['le']}"
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "at least": "at least", "at most": "at most"}
    return " and".join(f" {signs[k]} {v}" for k, v in bounds.items())
