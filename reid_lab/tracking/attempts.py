"""The attempts at one run: which of them is computed, which has ended, and what is still to be told of one that has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from reid_lab.errors import Fault, Pruned, RunError
from reid_lab.spec.identity import run_id
from reid_lab.tracking.mirror import sync
from reid_lab.tracking.mlflow_store import Store
from reid_lab.tracking.records import curve
from reid_lab.tracking.replay import unsent
from reid_lab.tracking.runs import RunFolder, attempts

Stage = Literal["fit", "test"]
OnEval = Callable[[int, Mapping[str, float]], None]


def chosen(identity: str, runs: Path, until: Stage, *, fresh: bool, resume: bool) -> RunFolder:
    """The attempt at a run that is to be computed up to a stage, or that has ended already.

    An attempt that cannot reach the stage any more (pruned, and its test is wanted; its weights dropped) stays as it
    is, and the next one begins. Raises `RunError` where `resume` finds nothing to go on with.
    """
    there = next(p for p in (runs.absolute(), *runs.absolute().parents) if p.exists())
    if not there.is_dir():
        raise RunError(Fault(f"is no folder; runs cannot be kept in {runs}", str(there)))
    known = attempts(runs, identity)
    latest = known[-1] if known else None
    begin = fresh or latest is None or _closed(latest, until)
    if resume and (latest is None or begin or ended(latest, until)):
        state = "was never begun" if latest is None else "is finished" if latest.finished(until) else "has ended"
        raise RunError(f"--resume: the run {identity[:12]} {state}; leave --resume out, or give --fresh")
    number = latest.attempt if latest is not None else 0
    return RunFolder(runs / run_id(identity, number + 1 if begin else number))


def ended(folder: RunFolder, until: Stage) -> bool:
    """Whether nothing is left to be computed up to a stage."""
    return folder.finished(until) or folder.finished("pruned")


def _closed(folder: RunFolder, until: Stage) -> bool:
    if folder.finished(until):
        return False
    return bool(folder.dropped) or (until == "test" and folder.finished("pruned"))


def found(identity: str, runs: Path, stage: str) -> RunFolder | None:
    """The latest attempt at a run that has finished a stage (`fit`, `test`, or ended as `pruned`); None without one."""
    return next((folder for folder in reversed(attempts(runs, identity)) if folder.finished(stage)), None)


def tell(folder: RunFolder, on_eval: OnEval | None, until: int | None = None) -> None:
    """Tells of the evaluations that the journal holds, in order, up to a step."""
    if on_eval is None or not folder.journal.exists():
        return
    try:
        for step, metrics in curve(folder.journal).items():
            if until is None or step <= until:
                on_eval(step, metrics)
    except Pruned as error:
        error.run_id = folder.run_id
        raise


def pruned(folder: RunFolder) -> Pruned:
    """What a pruned run is told by."""
    error = Pruned(folder.summary()["pruned"])
    error.run_id = folder.run_id
    return error


def catch_up(folder: RunFolder, uri: str | None, say: Callable[[str], object]) -> None:
    """Sends to MLflow what a process that was killed at the very end had not sent."""
    if uri == "off" or not unsent(folder.path, Store.of(folder.path.parent, uri)):
        return
    for sent in sync(folder.path.parent, [folder.run_id], uri):
        if sent.problem is not None:
            say(f"mlflow does not hold all of it: {sent.problem}")
