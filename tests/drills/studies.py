"""A study of short trials, driven in processes of their own that are killed, and everything that must be equal."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from reid_lab.study.book import Book
from reid_lab.study.storage import Storage
from tests.drills.kills import Plan
from tests.lab import Lab, results

TRIALS = 24
STUDY = """\
base: tiny.yaml
seeds: [0]
tune:
  trials: 24
  fidelity: {train.length: {steps: 8}, eval.every: {steps: 2}, checkpoint.every: {steps: 3}}
  search:
    - {path: train.optimizer.lr, low: 1.0e-4, high: 3.0e-2, log: true}
    - {path: model.mlm.weight, low: 0.1, high: 3.0}
  pruner: PRUNER
"""
TOKEN = "REID_LAB_DRILL"  # in the environment of all processes of a drill
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "reid_lab.study.driver",
        "reid_lab.study.executors",
        "reid_lab.architectures.irra",
        "tests.drills.studies",
        "optuna",
    ]
)


class Study:
    """The study's file in a laboratory; each way of driving it has a folder of runs of its own."""

    def __init__(self, lab: Lab, pruner: str) -> None:
        self.lab, self.file = lab, lab.folder / f"{pruner}.yaml"
        self.file.write_text(STUDY.replace("PRUNER", pruner))

    def drive(self, runs: str, *options: str, plan: Plan | None = None, workers: bool = False) -> int:
        """`reid-lab study FILE` in a process of its own, killed by the plan; its exit code.

        workers: the plan's kills are for Ray's workers, too.
        """
        folder = self.lab.folder / runs
        line = ["study", str(self.file), *options, "--runs", str(folder)]
        said = self.lab.folder / f"{runs}.said"
        where = None if plan is None else plan.folder
        process = SERVER.Process(target=_driver, args=(line, self.lab.cache, said, where, workers))
        process.start()
        process.join(3000)
        if process.is_alive():
            process.kill()
            raise TimeoutError(said.read_text())
        assert process.exitcode in (0, -signal.SIGKILL), said.read_text()
        return process.exitcode

    def outcome(self, runs: str, storage: str | None = None) -> dict[str, Any]:
        """Trials as the storage has them, the best, the cells, and the results in all journals."""
        lab = Lab(self.lab.folder, self.lab.clip, self.lab.cache)
        lab.runs = self.lab.folder / runs
        book = Book.of(lab.runs, self.file.stem)
        held = Storage.open(storage or book.folder / "trials", create=False)
        (study,) = held.optuna.get_all_studies()
        trials = held.optuna.get_all_trials(study._study_id)
        held.close()
        (arm,) = book.read()["arms"]
        folders = lab.folders()
        return {
            "trials": [(t.number, t.state.name, t.params, t.values, t.intermediate_values) for t in trials],
            "best": arm["best"],
            "cells": {seed: {**cell, "seconds": 0} for seed, cell in arm["cells"].items()},
            "runs": {folder.run_id: results(folder) for folder in folders},
            "summaries": {folder.run_id: _lasting(folder.summary()) for folder in folders},
            "weights": {f.run_id: sorted(p.name for p in f.checkpoints.glob("*.safetensors")) for f in folders},
            "leftovers": sorted(str(path) for path in lab.runs.rglob("*.tmp")),
        }


def _lasting(summary: Mapping[str, Any]) -> dict[str, Any]:
    measured = ("seconds", "peak_memory", "latency")
    return {name: value for name, value in summary.items() if name not in measured}


def states(outcome: Mapping[str, Any]) -> list[str]:
    """The states of the trials by number."""
    assert [number for number, *_ in outcome["trials"]] == list(range(len(outcome["trials"])))
    return [state for _, state, *_ in outcome["trials"]]


def _driver(line: list[str], cache: Path, said: Path, plan: Path | None, workers: bool) -> None:
    os.environ.update({"REID_LAB_CACHE": str(cache), TOKEN: str(said.parent)})
    from reid_lab import cli

    with said.open("w", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        if plan is not None:
            _disturb(Plan(plan), workers)
        cli.main(line)


def _disturb(plan: Plan, workers: bool) -> None:
    """The driver's kills are armed when its first round begins."""
    from reid_lab.study import executors
    from reid_lab.study.driver import Driver

    tune = Driver._tune

    def tuned(self: Driver) -> None:
        with plan.armed("driver"):
            tune(self)

    Driver._tune = tuned  # type: ignore[method-assign]
    if workers:
        executors._work = _killed_work  # type: ignore[assignment]
        os.environ[f"{TOKEN}_PLAN"] = str(plan.folder.with_name("workers"))


def _killed_work(job: Any, runs: Path, ranks: int, desk: Any) -> Any:
    """What a Ray worker does in a drill; a job's worker is lost twice at most, since the fourth loss is a failure."""
    from reid_lab.study.executors import _work

    with Plan(Path(os.environ[f"{TOKEN}_PLAN"])).armed(job.name, at_most=2):
        return _work(job, runs, ranks, desk)
