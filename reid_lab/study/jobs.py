"""One piece of a study's work: a trial (fit alone) or a cell (fit and test), computed wherever an executor puts it.

A job's mistakes stay with the job: what it raises is told in its `Outcome`, with the traceback in the job's log.
What ends a whole study passes through: Ctrl-C, and a stop of the process.
"""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TextIO

from rich.console import Console

from reid_lab import experiment
from reid_lab.contracts import RunResult
from reid_lab.errors import Interrupted, InUse, Pruned, UserError
from reid_lab.experiment import Member
from reid_lab.spec.loader import Loaded
from reid_lab.spec.run import RunSpec
from reid_lab.tracking.runs import attempts

State = Literal["complete", "pruned", "failed", "busy"]
Report = Callable[[int, Mapping[str, float]], bool]
"""Told of an evaluation by its ordinal (from 1) and its metrics; True ends the trial."""


@dataclass(frozen=True)
class Job:
    """A run to be computed for a study.

    number: of the trial; None for a cell, which is tested, too. log: what the job prints goes to this file.
    """

    arm: str
    seed: int
    loaded: Loaded
    member: Member
    log: Path
    number: int | None = None

    @property
    def name(self) -> str:
        """`mer: trial 7`, `mer: seed 0`."""
        return f"{self.arm}: " + (f"seed {self.seed}" if self.number is None else f"trial {self.number}")


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    state: `busy` when another process computes this very run. cause: one line, for a failure. trace: its traceback.
    deviation: what was computed otherwise than the spec says.
    """

    state: State
    run_id: str | None = None
    val: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    cause: str = ""
    trace: str = ""
    deviation: str = ""


Attempt = Callable[[Job, Path, Report | None], Outcome]
"""Computes a job as it is: in this process (`once`), or in several (`ranks.under_torchrun`)."""


def perform(job: Job, runs: Path, report: Report | None = None, attempt: Attempt | None = None) -> Outcome:
    """Computes a job, or finds it computed; out of memory is tried once more with half the micro-batch."""
    attempt = attempt or once
    outcome = attempt(job, runs, report)
    if outcome.state != "failed" or not _out_of_memory(outcome.cause):
        return outcome
    smaller = halved(job.loaded.spec)
    deviation = f"out of memory: computed with train.accumulate={smaller.train.accumulate}"
    with _logged(job.log) as log:
        log.write(f"{deviation}\n")
    retried = replace(job, loaded=replace(job.loaded, spec=smaller))
    return replace(attempt(retried, runs, report), deviation=deviation)


def once(job: Job, runs: Path, report: Report | None) -> Outcome:
    """Computes a job in this process (in this rank, under torchrun)."""
    with _logged(job.log) as log:
        try:
            return _attempt(job, runs, report, log)
        except Exception as error:
            return _failed(error, job, runs, log)


def _attempt(job: Job, runs: Path, report: Report | None, log: TextIO) -> Outcome:
    ordinal = 0

    def evaluated(step: int, metrics: Mapping[str, float]) -> None:
        nonlocal ordinal
        if step == 0 or report is None:
            return  # before training nothing was chosen
        ordinal += 1
        if report(ordinal, metrics):
            raise Pruned(f"pruned after evaluation {ordinal}, step {step}")

    try:
        result = experiment.run(
            job.loaded,
            runs=runs,
            console=Console(file=log, soft_wrap=True, highlight=False, width=200, force_jupyter=False),
            until="test" if job.number is None else "fit",
            on_eval=evaluated,
            member=job.member,
        )
    except Pruned as error:
        return Outcome("pruned", error.run_id)
    return Outcome("complete", result.run_id, dict(result.val), dict(result.test or {}), costs(result))


def costs(result: RunResult) -> dict[str, float]:
    """What a run cost: parameters (all and trainable), seconds of training, MiB at the peak; for an embedding, GFLOPs
    and seconds, NaN where an earlier version measured none."""
    return {
        "parameters": float(result.parameters),
        "trainable": float(result.trainable),
        "seconds": result.seconds,
        "memory": result.peak_memory / 2**20,
        "gflops": result.gflops,
        "latency": result.latency,
    }


def _failed(error: Exception, job: Job, runs: Path, log: TextIO) -> Outcome:
    """The outcome of an exception; what ends the study passes through."""
    if isinstance(error, Interrupted):
        raise error
    trace = traceback.format_exc()
    log.write(trace)
    cause = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, InUse):
        return Outcome("busy", cause=cause)
    if not isinstance(error, UserError):
        cause = f"{type(error).__name__}: {cause}"
    return Outcome("failed", _begun(job, runs), cause=cause[:500], trace=trace)


def _begun(job: Job, runs: Path) -> str | None:
    """The run that a failed job began; None when it came to nothing before."""
    with contextlib.suppress(Exception):
        known = attempts(runs, experiment.identified(job.loaded.spec, runs))
        return known[-1].run_id if known else None
    return None


def same_cause(cause: str) -> str:
    """A cause without what differs from trial to trial: numbers and run ids."""
    return re.sub(r"[0-9a-f]{12}-\d+|\d+(\.\d+)?(e[+-]?\d+)?", "#", cause)


def _out_of_memory(cause: str) -> bool:
    return cause.startswith("MemoryError") or "out of memory" in cause.lower() or "can't allocate" in cause


def halved(spec: RunSpec) -> RunSpec:
    """The same computation with half the micro-batch; the loss stays that of the whole batch."""
    train = spec.train.model_copy(update={"accumulate": 2 * spec.train.accumulate})
    return spec.model_copy(update={"train": train})


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[TextIO]:
    """A job's log, which takes what is printed meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("a", encoding="utf-8", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        yield log
        sys.stderr.flush()
