"""The YAML form of a schedule; `build` turns it into a pure function of `Progress`.

A number is a constant. Otherwise one of

    {kind: chain, every: epoch, segments: [{start: 0.1, end: 1.0, length: {epochs: 5}},
                                           {start: 1.0, end: 0.0, length: {epochs: 55}, shape: cosine}]}
    {kind: step, value: 1.0, factor: 0.1, at: [{epochs: 30}, {epochs: 50}]}

A segment may begin within its length (`elapsed`), like a cosine that counts from epoch 0 and is joined at epoch 5:

    {kind: chain, every: epoch, segments: [{start: 0.01, end: 1.0, length: {epochs: 5}},
        {start: 1.0, end: 0.002, length: {epochs: 120}, elapsed: {epochs: 5}, shape: cosine}]}
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from reid_lab import schedules
from reid_lab.schedules import Every, Schedule, Segment, Span
from reid_lab.spec.section import LATER, Misfit, Section


class Length(Section):
    """A length of training: exactly one of epochs, steps, fraction (of the planned training)."""

    one_of: ClassVar[bool] = True

    epochs: Annotated[float, Field(ge=0)] | None = None
    steps: Annotated[int, Field(ge=0)] | None = None
    fraction: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Length:
        given = [n for n in ("epochs", "steps", "fraction") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of epochs, steps, fraction is needed; got {', '.join(given) or 'none'}")
        return self

    def span(self) -> Span:
        """The plain value."""
        if self.epochs is not None:
            return Span(self.epochs, "epochs")
        if self.steps is not None:
            return Span(self.steps, "steps")
        return Span(self.fraction or 0.0, "fraction")


class SegmentSpec(Section):
    """From `start` to `end` in `length`, of which `elapsed` has passed before."""

    start: float
    end: float
    length: Length
    shape: Literal["linear", "cosine", "sigmoid"] = "linear"
    elapsed: Annotated[Length | None, LATER] = None

    @model_validator(mode="after")
    def _shorter(self) -> SegmentSpec:
        if self.elapsed is not None:
            whole, gone = self.length.span(), self.elapsed.span()
            if whole.unit != gone.unit:
                raise Misfit(
                    "elapsed", f"in {gone.unit}, and the length in {whole.unit}: give both in one unit", "length"
                )
            if gone.amount >= whole.amount:
                raise Misfit("elapsed", "it is not shorter than the length: nothing is left of the segment", "length")
        return self

    def segment(self) -> Segment:
        """The plain values."""
        gone = Span(0.0, "steps") if self.elapsed is None else self.elapsed.span()
        return Segment(self.start, self.end, self.length.span(), self.shape, gone)


class ChainSpec(Section):
    """Segments one after the other; the last end value is held."""

    kind: Literal["chain"]
    segments: Annotated[tuple[SegmentSpec, ...], Field(min_length=1)]
    every: Every = "step"

    def build(self) -> Schedule:
        """The pure function."""
        return schedules.chain([segment.segment() for segment in self.segments], self.every)


class StepSpec(Section):
    """`value`, multiplied by `factor` at each milestone."""

    kind: Literal["step"]
    value: float = 1.0
    factor: float = 0.1
    at: tuple[Length, ...] = ()
    every: Every = "step"

    def build(self) -> Schedule:
        """The pure function."""
        return schedules.steps_down(self.value, self.factor, [m.span() for m in self.at], self.every)


ScheduleSpec = Annotated[ChainSpec | StepSpec, Field(discriminator="kind")]
Scheduled = float | ScheduleSpec
"""A knob that may be a number or a schedule."""


def build(value: float | ChainSpec | StepSpec) -> float | Schedule:
    """A number stays a number; a schedule becomes its pure function."""
    return value if isinstance(value, int | float) else value.build()
