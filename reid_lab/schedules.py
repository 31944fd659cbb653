"""Schedules: pure functions of training progress.

A learning-rate factor, a gradient-reversal alpha, a loss weight and a temperature are all the same
thing here: `schedule(progress) -> float`, computed from the position alone, so that a resumed run
reads the same values as an undisturbed one. No torch.

A schedule says whether it is evaluated at every step or held for an epoch (`every`), and each
length is given in epochs, in steps, or as a fraction of the planned training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Every = Literal["step", "epoch"]
Unit = Literal["epochs", "steps", "fraction"]


@dataclass(frozen=True)
class Progress:
    """Where training stands: `step` optimiser steps are done; the planned horizon never changes."""

    step: int
    steps_per_epoch: int
    total_steps: int

    @property
    def epoch(self) -> int:
        """Completed epochs (0-based index of the current one)."""
        return self.step // self.steps_per_epoch

    def held(self, every: Every) -> int:
        """The step at which a schedule is read: this one, or the first of this epoch."""
        return self.step if every == "step" else self.epoch * self.steps_per_epoch


@dataclass(frozen=True)
class Span:
    """A length of training; `steps(progress)` turns it into optimiser steps (a float)."""

    amount: float
    unit: Unit

    def steps(self, progress: Progress) -> float:
        """The length in optimiser steps."""
        per = {"epochs": progress.steps_per_epoch, "steps": 1, "fraction": progress.total_steps}
        return self.amount * per[self.unit]


Schedule = Callable[[Progress], float]
Shape = Callable[[float], float]
"""A curve from 0 to 1 over the unit interval."""


def line(x: float) -> float:
    """Straight."""
    return x


def half_cosine(x: float) -> float:
    """Half a cosine wave (Loshchilov and Hutter, SGDR, 2017, equation 5)."""
    return 0.5 * (1.0 - math.cos(math.pi * x))


def sigmoid(x: float) -> float:
    """The gradient-reversal ramp of DANN (Ganin et al., 2016, section 5.2.2): 2/(1+exp(-10x)) - 1."""
    return 2.0 / (1.0 + math.exp(-10.0 * x)) - 1.0


SHAPES: dict[str, Shape] = {"linear": line, "cosine": half_cosine, "sigmoid": sigmoid}


@dataclass(frozen=True)
class Segment:
    """One piece of a schedule: from `start` to `end` along `shape`; holds `end` afterwards.

    elapsed: how much of the length has passed when the piece begins; it takes so much less.
    """

    start: float
    end: float
    length: Span
    shape: str = "linear"
    elapsed: Span = Span(0.0, "steps")


def constant(value: float) -> Schedule:
    """The same value always."""
    return lambda progress: value


def chain(segments: Sequence[Segment], every: Every = "step") -> Schedule:
    """Segments one after the other; after the last one its end value is held."""

    def value(progress: Progress) -> float:
        position = float(progress.held(every))
        for segment in segments:
            length = segment.length.steps(progress)
            position += segment.elapsed.steps(progress)
            if position < length:
                x = SHAPES[segment.shape](position / length)
                return segment.start * (1.0 - x) + segment.end * x
            position -= length
        return segments[-1].end

    return value


def steps_down(value: float, factor: float, at: Sequence[Span], every: Every = "step") -> Schedule:
    """`value`, multiplied by `factor` at each of the milestones."""

    def current(progress: Progress) -> float:
        position = progress.held(every)
        return value * factor ** sum(position >= m.steps(progress) for m in at)

    return current
