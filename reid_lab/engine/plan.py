"""What a training run does, as plain values; and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from reid_lab.errors import SpecError
from reid_lab.schedules import Progress, Schedule, Span, constant

RESULT_VERSION = 1
"""Part of a run's identity: raised by hand when a change of the engine changes the bits of a result."""

FULL_RATE: Schedule = constant(1.0)


@dataclass(frozen=True)
class OptimizerPlan:
    """The optimiser of a stage; `adam` couples weight decay into the gradient, `adamw` decouples it."""

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-5
    weight_decay: float = 4e-5
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.9


@dataclass(frozen=True)
class StagePlan:
    """One stage: `steps` optimiser steps with its own trainable parameters, terms and optimiser.

    `schedule` is a factor on every group's learning rate, read at the stage's own progress.
    `trainable`: name patterns (`*`, `?`) of exactly the parameters that learn; None leaves what the
    architecture set. `terms`: the names of the loss terms in use; None for all.
    """

    name: str
    steps: int
    optimizer: OptimizerPlan = OptimizerPlan()
    schedule: Schedule = FULL_RATE
    trainable: tuple[str, ...] | None = None
    terms: tuple[str, ...] | None = None


@dataclass(frozen=True)
class FitPlan:
    """The whole training. Lengths are optimiser steps.

    `eval_every`: None evaluates at the end only. `select_on`: `val` and `test` keep the weights with
    the highest `metric` (the name says where `evaluate` measures), `last` the final ones.
    `patience`: evaluations without improvement after which a stage ends; schedules keep the planned
    horizon. `evaluate_at_start` records the metrics of the untrained model at step 0, which are
    never selected. `stop_after`: training ends after so many steps, though schedules keep the planned
    horizon; None: at the end of the plan.
    """

    stages: tuple[StagePlan, ...]
    seed: int = 0
    eval_every: int | None = None
    checkpoint_every: int | None = None
    log_every: int = 10
    metric: str = "mAP"
    select_on: Literal["val", "last", "test"] = "val"
    patience: int | None = None
    accumulate: int = 1
    clip_norm: float | None = None
    evaluate_at_start: bool = True
    stop_after: int | None = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise SpecError("train.stages: at least one stage is needed")
        faults = [f"stage '{s.name}': {s.steps} steps; at least 1 is needed" for s in self.stages if s.steps < 1]
        names = [s.name for s in self.stages]
        faults += [f"stage '{n}' is named {names.count(n)} times" for n in sorted(set(names)) if names.count(n) > 1]
        if faults:
            raise SpecError(*faults)

    @property
    def total_steps(self) -> int:
        """The planned horizon of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def end(self) -> int:
        """The last step that is done unless patience ends it sooner."""
        return self.total_steps if self.stop_after is None else min(self.stop_after, self.total_steps)

    def starts(self) -> list[int]:
        """The global step at which each stage starts, and the end of the last one."""
        at = [0]
        for stage in self.stages:
            at.append(at[-1] + stage.steps)
        return at

    def stage_at(self, step: int) -> int:
        """The index of the stage that does the step after `step` done ones."""
        return next(i for i, end in enumerate(self.starts()[1:]) if step < end)

    def progress(self, step: int, steps_per_epoch: int) -> Progress:
        """The progress of the current stage after `step` global steps."""
        index = self.stage_at(step)
        return Progress(step - self.starts()[index], steps_per_epoch, self.stages[index].steps)


@dataclass(frozen=True)
class FitResult:
    """What training ended with. Without evaluations the metrics are empty.

    `best_step` and `best_metrics` belong to the selected weights in the file `best`, whose sha256
    over all tensors is `weights_sha256`. `seconds` are those of this call.
    """

    best_step: int
    best_metrics: Mapping[str, float]
    last_step: int
    last_metrics: Mapping[str, float]
    stopped_early: bool
    seconds: float
    best: Path
    last: Path
    weights_sha256: str


class Reporter(Protocol):
    """Someone who watches: a progress bar, or lines on a terminal. Called on rank 0 only."""

    def start(self, done: int, total: int) -> None:
        """Training begins, or resumes after `done` of `total` steps."""

    def stage(self, name: str, step: int, trainable: int) -> None:
        """A stage begins after `step` steps, with so many trainable numbers."""

    def step(self, step: int, losses: Mapping[str, float], samples_per_second: float) -> None:
        """A step is done; `losses` are the raw terms and `total`."""

    def evaluation(self, step: int, metrics: Mapping[str, float], best: bool) -> None:
        """An evaluation is done; `best` says whether it is now selected."""

    def checkpoint(self, step: int, path: Path) -> None:
        """A checkpoint is safely on disk."""

    def finish(self, result: FitResult) -> None:
        """Training is done."""


def whole_steps(span: Span, steps_per_epoch: int, total_steps: int = 0) -> int:
    """A length in whole optimiser steps, at least 1; a fraction refers to `total_steps`."""
    return max(1, round(span.steps(Progress(0, steps_per_epoch, total_steps))))
