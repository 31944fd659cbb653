"""Keeping and restoring the state of a training run: which file is written when.

`last` is replaced first, `best` second, records follow the files they speak of. When the process
dies in between, `restore` makes up for it: `best` is made again from `last` (which then holds the
same weights), and the records are written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from reid_lab.contracts import Recorder
from reid_lab.engine import checkpoint, optim
from reid_lab.engine.checkpoint import BEST, LAST, MODEL, PREVIOUS
from reid_lab.engine.plan import FitPlan
from reid_lab.engine.runtime import Runtime
from reid_lab.errors import CheckpointError

OPTIMIZER = "optimizer/"


@dataclass(frozen=True)
class State:
    """Where training stands, as plain values; the facts of a checkpoint hold it.

    `waited`: evaluations of this stage since the last improvement.
    """

    step: int = 0
    best_step: int | None = None
    best_metrics: Mapping[str, float] = field(default_factory=dict)
    last_metrics: Mapping[str, float] = field(default_factory=dict)
    waited: int = 0
    stopped_early: bool = False
    finished: bool = False


@dataclass(frozen=True)
class Restored:
    """What `last` held besides the weights, which are already in the model."""

    state: State
    scaler: dict[str, Any]
    optimizer: dict[str, Tensor]


@final
class Keeper:
    """Writes and reads the checkpoints of one run; every rank calls it, rank 0 writes."""

    def __init__(self, folder: Path, plan: FitPlan, runtime: Runtime, recorder: Recorder) -> None:
        self.folder = folder
        self.plan = plan
        self.runtime = runtime
        self.recorder = recorder
        self.saved_step: int | None = None

    def save(
        self,
        state: State,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        scaler: torch.amp.GradScaler,
    ) -> None:
        """Flushes the records, replaces `last`, and `best` when this step is the selected one.

        `optimizer` is None between two stages and at the end. Raises RunError when the disk is full.
        """
        self.recorder.flush()
        weights = {MODEL + name: tensor for name, tensor in model.state_dict().items()}
        moments = optim.get_state(optimizer) if optimizer is not None else {}
        facts = {
            "state": asdict(state),
            "step": state.step,
            "stages": self._stages(),
            "scaler": scaler.state_dict(),
        }

        def write() -> None:
            checkpoint.save(
                self.folder / LAST,
                weights | {OPTIMIZER + name: tensor for name, tensor in moments.items()},
                facts,
                keep=self.folder / PREVIOUS,
            )
            if state.best_step == state.step:
                self._write_best(state, weights)

        self.runtime.main_only(write)
        self.saved_step = state.step
        self._record(state)

    def restore(self, model: nn.Module) -> Restored | None:
        """Loads `last` into the model; None where there is none.

        Raises CheckpointError when it is damaged, belongs to another plan or model, or when the
        selected weights are gone.
        """
        path = self.folder / LAST
        if self.runtime.is_main and self.folder.is_dir():
            checkpoint.clean(self.folder)
        if not path.exists():
            return None
        found = checkpoint.load(path)
        if found.facts["stages"] != self._stages():
            raise CheckpointError(
                f"{path}: its run was planned as {found.facts['stages']} (stage, steps), this one as {self._stages()}"
            )
        weights = found.under(MODEL)
        checkpoint.assign(model, weights, str(path))
        state = State(**found.facts["state"])
        sha256 = checkpoint.weights_sha256(found.hashes)
        self.runtime.main_only(lambda: self._mend_best(state, weights, sha256))
        self.saved_step = state.step
        self._record(state)
        return Restored(state, found.facts["scaler"], found.under(OPTIMIZER))

    def last_good(self) -> str:
        """For messages: where to fall back to."""
        if self.saved_step is None:
            return "no checkpoint was written yet"
        return f"the last good checkpoint is {self.folder / LAST} (step {self.saved_step})"

    def due(self, state: State) -> bool:
        """Whether the plan wants a checkpoint at this step."""
        every = self.plan.checkpoint_every
        return state.finished or state.best_step == state.step or (every is not None and state.step % every == 0)

    def _stages(self) -> list[list[Any]]:
        return [[stage.name, stage.steps] for stage in self.plan.stages]

    def _record(self, state: State) -> None:
        """Records the checkpoints that the plan wanted, not those of an interruption."""
        if not self.runtime.is_main or not self.due(state):
            return
        for name, file in (("last", LAST), ("best", BEST)):
            if name == "last" or state.best_step == state.step:
                value = {"path": f"{self.folder.name}/{file}", "sha256": checkpoint.file_sha256(self.folder / file)}
                self.recorder.record("checkpoint", name, state.step, value)
        self.recorder.flush()

    def _write_best(self, state: State, weights: Mapping[str, Tensor]) -> None:
        facts = {"step": state.step, "metrics": dict(state.best_metrics), "select_on": self.plan.select_on}
        checkpoint.save(self.folder / BEST, weights, facts)

    def _mend_best(self, state: State, weights: Mapping[str, Tensor], sha256: str) -> None:
        if state.best_step is None:
            return
        path = self.folder / BEST
        try:
            step, found = checkpoint.identify(path)
        except CheckpointError:
            step, found = None, ""
        if state.best_step == state.step:
            if (step, found) != (state.step, sha256):
                self._write_best(state, {MODEL + name: tensor for name, tensor in weights.items()})
        elif step != state.best_step:
            held = "is missing or damaged" if step is None else f"holds step {step}"
            raise CheckpointError(f"{path}: the selected weights are those of step {state.best_step}, the file {held}")
