"""Two real steps and one evaluation batch on a copy of the model: what a run will take."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from reid_lab.contracts import Architecture, Batch, Prepare, Stream
from reid_lab.engine import optim
from reid_lab.engine.evaluate import embed, peak_memory
from reid_lab.engine.plan import FitPlan
from reid_lab.engine.runtime import Runtime
from reid_lab.engine.step import Step
from reid_lab.engine.terms import check_stages, chosen_terms

STEPS = 2

T = TypeVar("T")


@dataclass(frozen=True)
class DryRun:
    """Measured on the spot; bytes and seconds.

    `seconds_per_step` is that of the second step, which no longer pays for warming up.
    `checkpoint_bytes`: `last`, its predecessor and `best` together.
    """

    losses: dict[str, float]
    seconds_per_step: float
    seconds_per_epoch: float
    seconds_in_total: float
    evaluation_seconds_per_group: float
    peak_memory_bytes: int
    checkpoint_bytes: int
    parameters: int
    trainable: int


def dry_steps(
    model: Architecture,
    stream: Stream,
    plan: FitPlan,
    *,
    runtime: Runtime,
    prepare: Prepare,
    evaluation: tuple[Batch, Prepare] | None = None,
) -> DryRun:
    """Does two steps of the first stage and embeds one evaluation batch; the model is left as it was.

    Every stage's terms and trainable patterns are checked. `evaluation`: a batch and what prepares
    it. Raises what the steps themselves raise.
    """
    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(runtime.device)
    trial = copy.deepcopy(model).to(runtime.device).train()
    check_stages(trial, plan.stages)
    first = plan.stages[0]
    if first.trainable is not None:
        optim.set_trainable(trial, first.trainable)
    optimizer = optim.build(trial, first.optimizer)
    step = Step(
        trial,
        chosen_terms(trial, first.terms),
        optimizer,
        runtime.scaler(),
        runtime,
        seed=plan.seed,
        accumulate=plan.accumulate,
        clip_norm=plan.clip_norm,
        last_good=lambda: "nothing was written in this dry run",
    )

    def one(done: int) -> dict[str, float]:
        progress = plan.progress(done, stream.steps_per_epoch)
        optim.set_rate(optimizer, first.schedule(progress))
        batch = stream.batch(done, runtime.rank, runtime.world).to(runtime.device)
        return step(prepare(batch), progress, done + 1).losses

    for done in range(min(STEPS, first.steps)):
        losses, seconds = _timed(lambda done=done: one(done), runtime)  # type: ignore[misc]
    per_group = 0.0
    if evaluation is not None:
        batch, ready = evaluation
        _, taken = _timed(lambda: embed(trial, [batch], ready, runtime), runtime)
        per_group = taken / max(batch.size, 1)
    weights = sum(t.nbytes for t in trial.state_dict().values())
    moments = sum(t.nbytes for t in optim.get_state(optimizer).values())
    return DryRun(
        losses=losses,
        seconds_per_step=seconds,
        seconds_per_epoch=seconds * stream.steps_per_epoch,
        seconds_in_total=seconds * plan.total_steps,
        evaluation_seconds_per_group=per_group,
        peak_memory_bytes=peak_memory(runtime.device),
        checkpoint_bytes=3 * weights + 2 * moments,
        parameters=sum(p.numel() for p in trial.parameters()),
        trainable=sum(p.numel() for p in optim.trainable(optimizer).values()),
    )


def _timed(work: Callable[[], T], runtime: Runtime) -> tuple[T, float]:
    """The result and the seconds it took, the device's queue included."""
    start = time.monotonic()
    result = work()
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
    return result, time.monotonic() - start
