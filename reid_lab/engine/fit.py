"""The one training loop.

Killed at any moment, the same call resumes from `last` and ends with the same weights, metrics and
records (on a CPU, bit for bit): batches, schedules and random draws are pure functions of the step;
records are flushed before the checkpoint that follows them replaces its predecessor, and a step that
is done again records the same values again, which the recorder compares.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import final

import torch

from reid_lab.contracts import Architecture, Prepare, Recorder, Stream
from reid_lab.engine import checkpoint, optim
from reid_lab.engine.checkpoint import BEST, LAST
from reid_lab.engine.evaluate import evaluating
from reid_lab.engine.keeper import Keeper, Restored, State
from reid_lab.engine.plan import FitPlan, FitResult, Reporter
from reid_lab.engine.runtime import Runtime
from reid_lab.engine.signals import stop_signals
from reid_lab.engine.silent import Mute, Silent
from reid_lab.engine.step import Step, StepResult
from reid_lab.engine.terms import check_stages, chosen_terms
from reid_lab.errors import Interrupted, RunError, UserError, unknown
from reid_lab.seeding import stream as random_stream

Evaluate = Callable[[], Mapping[str, float]]
OnEval = Callable[[int, Mapping[str, float]], None]


def fit(
    model: Architecture,
    stream: Stream,
    plan: FitPlan,
    *,
    runtime: Runtime,
    prepare: Prepare,
    recorder: Recorder,
    folder: Path,
    evaluate: Evaluate | None = None,
    on_eval: OnEval | None = None,
    reporter: Reporter | None = None,
) -> FitResult:
    """Trains the model by the plan, resuming from `folder`/last.safetensors where that exists.

    `folder` is a direct child of the run's own: records name the files as `folder.name`/FILE.
    `prepare` augments and normalises a batch on the run's device. `evaluate` is called on rank 0
    with the model in evaluation mode and returns metrics by name; None needs `select_on: last`.
    `on_eval(step, metrics)` is called on rank 0 and may raise to end the run (pruning). Afterwards
    the model holds its last weights; the selected ones lie in `folder`/best.safetensors.

    Raises Interrupted after SIGINT or SIGTERM (a checkpoint was written), NonFiniteLoss, RunError
    (full disk), CheckpointError (a damaged `last`, or one of another plan), SpecError.
    """
    if evaluate is None and plan.select_on != "last":
        raise RunError(f"select_on: {plan.select_on} needs an evaluation; without one, use select_on: last")
    loop = _Loop(model, stream, plan, runtime, prepare, recorder, folder, evaluate, on_eval, reporter)
    try:
        return loop.run()
    except UserError:
        if runtime.is_main:
            recorder.flush()
        raise


@final
class _Loop:
    """One call of `fit`."""

    def __init__(
        self,
        model: Architecture,
        stream: Stream,
        plan: FitPlan,
        runtime: Runtime,
        prepare: Prepare,
        recorder: Recorder,
        folder: Path,
        evaluate: Evaluate | None,
        on_eval: OnEval | None,
        reporter: Reporter | None,
    ) -> None:
        self.model = model.to(runtime.device)
        self.stream = stream
        self.plan = plan
        self.runtime = runtime
        self.prepare = prepare
        self.recorder: Recorder = recorder if runtime.is_main else Mute()
        self.evaluate = evaluate
        self.on_eval = on_eval
        self.reporter: Reporter = reporter if reporter is not None and runtime.is_main else Silent()
        self.folder = folder
        self.keeper = Keeper(folder, plan, runtime, self.recorder)
        self.scaler = runtime.scaler()
        self.learns = {name: p.requires_grad for name, p in model.named_parameters()}
        self.state = State()
        self.stage = -1
        self.optimizer: torch.optim.Optimizer
        self.step: Step
        self.started = time.monotonic()

    def run(self) -> FitResult:
        """Trains to the end of the plan, an early stop or an interruption."""
        check_stages(self.model, self.plan.stages)
        saved = self.keeper.restore(self.model)
        if saved is not None:
            self._resume(saved)
        self.runtime.broadcast(list(self.model.state_dict().values()))
        self.model.train()
        self.reporter.start(self.state.step, self.plan.end)
        with stop_signals() as interrupted:
            if saved is None and self.plan.evaluate_at_start:
                self._measure(selectable=False)
            while not self.state.finished:
                self._enter_stage()
                self._one_step()
                self._after_step()
                if self.runtime.any(interrupted.is_set()) and not self.state.finished:
                    self._interrupt()
        return self._result()

    def _resume(self, saved: Restored) -> None:
        self.state = saved.state
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(saved.scaler)
        if not self.state.finished:
            self._enter_stage()
            optim.set_state(self.optimizer, saved.optimizer)

    def _enter_stage(self) -> None:
        """Builds optimiser and step of the current stage, if it is not the one under way."""
        index = self.plan.stage_at(self.state.step)
        if index == self.stage:
            return
        self.stage = index
        stage = self.plan.stages[index]
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self.learns[name])
        if stage.trainable is not None:
            optim.set_trainable(self.model, stage.trainable)
        self.optimizer = optim.build(self.model, stage.optimizer)
        self.step = Step(
            self.model,
            chosen_terms(self.model, stage.terms),
            self.optimizer,
            self.scaler,
            self.runtime,
            seed=self.plan.seed,
            accumulate=self.plan.accumulate,
            clip_norm=self.plan.clip_norm,
            last_good=self.keeper.last_good,
        )
        numbers = sum(p.numel() for p in optim.trainable(self.optimizer).values())
        self.reporter.stage(stage.name, self.state.step, numbers)

    def _one_step(self) -> None:
        start = time.monotonic()
        done = self.state.step
        progress = self.plan.progress(done, self.stream.steps_per_epoch)
        factor = self.plan.stages[self.stage].schedule(progress)
        rates = optim.set_rate(self.optimizer, factor)
        step = done + 1
        logged = step % self.plan.log_every == 0 or step == 1
        batch = self.stream.batch(done, self.runtime.rank, self.runtime.world).to(self.runtime.device)
        result = self.step(self.prepare(batch), progress, step, diagnose=logged)
        self.state = replace(self.state, step=step)
        seconds = max(time.monotonic() - start, 1e-9)
        if logged:
            self._record_step(step, result, rates, factor)
            self.recorder.record("timing", "timing/samples_per_second", step, result.groups / seconds)
            self.recorder.record("timing", "timing/seconds_per_step", step, seconds)
        self.reporter.step(step, {**result.losses, "total": result.total}, result.groups / seconds)

    def _record_step(self, step: int, result: StepResult, rates: Mapping[str, float], factor: float) -> None:
        record = self.recorder.record
        for name, value in {**result.losses, "total": result.total}.items():
            record("loss", f"loss/{name}", step, value)
        for name, value in result.weights.items():
            record("weight", f"weight/{name}", step, value)
        for name, value in rates.items():
            record("lr", f"lr/{name}", step, value)
        record("schedule", "schedule/lr", step, factor)
        for name, value in result.diagnostics.items():
            record("diag", f"diag/{name}", step, value)
        for name in result.absent:
            record("absent", f"loss/{name}", step, True)

    def _after_step(self) -> None:
        """Evaluates, ends stages, and writes the checkpoints that are due."""
        stage_end = self.plan.starts()[self.stage + 1]
        at_end = self.state.step == self.plan.end
        every = self.plan.eval_every
        if at_end or (every is not None and self.state.step % every == 0):
            self._measure(selectable=self.plan.select_on != "last")
        waited_enough = self.plan.patience is not None and self.state.waited >= self.plan.patience
        last_stage = self.stage == len(self.plan.stages) - 1
        if at_end or (waited_enough and last_stage):
            self.state = replace(self.state, finished=True, stopped_early=self.state.stopped_early or not at_end)
            if self.plan.select_on == "last":
                self.state = replace(self.state, best_step=self.state.step, best_metrics=self.state.last_metrics)
        elif waited_enough or self.state.step == stage_end:
            stopped = self.state.step != stage_end
            self.state = replace(
                self.state, step=stage_end, waited=0, stopped_early=self.state.stopped_early or stopped
            )
        if self.keeper.due(self.state):
            self._save()

    def _measure(self, *, selectable: bool) -> None:
        """Evaluates on rank 0, records the metrics, selects when they are strictly the best so far."""
        if self.evaluate is None:
            return
        start, step, evaluate = time.monotonic(), self.state.step, self.evaluate
        with evaluating(self.model), torch.no_grad(), random_stream(self.plan.seed, "evaluate", step):
            metrics = self.runtime.main_only(lambda: {name: float(value) for name, value in evaluate().items()})
        group = "test" if self.plan.select_on == "test" else "val"
        for name, value in metrics.items():
            self.recorder.record("val", f"{group}/{name}", step, value)
        self.state = replace(self.state, last_metrics=metrics)
        if selectable:
            self._select(metrics)
        self.recorder.record("timing", "timing/evaluation_seconds", step, time.monotonic() - start)
        self.recorder.flush()
        self.reporter.evaluation(step, metrics, selectable and self.state.best_step == step)
        if self.on_eval is not None:
            on_eval = self.on_eval
            self.runtime.main_only(lambda: on_eval(step, metrics))

    def _select(self, metrics: Mapping[str, float]) -> None:
        metric, step = self.plan.metric, self.state.step
        if metric not in metrics:
            raise RunError(unknown("metric", metric, metrics))
        if math.isnan(metrics[metric]):
            raise RunError(f"the metric '{metric}' that selects the weights is not a number at step {step}")
        if self.state.best_step is None or metrics[metric] > self.state.best_metrics[metric]:
            self.state = replace(self.state, best_step=step, best_metrics=metrics, waited=0)
        else:
            self.state = replace(self.state, waited=self.state.waited + 1)
        self.recorder.record("select", "select/best_step", step, self.state.best_step)
        self.recorder.record("select", f"select/{metric}", step, self.state.best_metrics[metric])

    def _save(self) -> None:
        start = time.monotonic()
        under_way = not self.state.finished and self.plan.stage_at(self.state.step) == self.stage
        self.keeper.save(self.state, self.model, self.optimizer if under_way else None, self.scaler)
        self.recorder.record("timing", "timing/checkpoint_seconds", self.state.step, time.monotonic() - start)
        self.reporter.checkpoint(self.state.step, self.folder / LAST)

    def _interrupt(self) -> None:
        if self.keeper.saved_step != self.state.step:
            self._save()
        raise Interrupted(
            f"interrupted after step {self.state.step} of {self.plan.end}; "
            f"{self.folder / LAST} was written, the same command resumes"
        )

    def _result(self) -> FitResult:
        state = self.state
        best_step, sha256 = checkpoint.identify(self.folder / BEST)
        result = FitResult(
            best_step=best_step,
            best_metrics=state.best_metrics,
            last_step=state.step,
            last_metrics=state.last_metrics,
            stopped_early=state.stopped_early,
            seconds=time.monotonic() - self.started,
            best=self.folder / BEST,
            last=self.folder / LAST,
            weights_sha256=sha256,
        )
        self.recorder.flush()
        self.reporter.finish(result)
        return result
