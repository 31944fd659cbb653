"""The loop of a study: rounds of trials until every arm has had its share, then the cells, seed by seed.

A round gives each arm the same: a batch of trials, or one seed. Whether to go on (budget, a request to stop) is asked
between rounds only, so that the arms stay equal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from reid_lab.results import result_of
from reid_lab.study.arms import ArmWork, Cell, score
from reid_lab.study.book import Book
from reid_lab.study.books import ArmBooks
from reid_lab.study.executors import Executor
from reid_lab.study.jobs import Job, Outcome
from reid_lab.study.load import LoadedStudy
from reid_lab.study.storage import Storage
from reid_lab.study.view import View

WAIT = 5.0
"""Seconds between two looks at what another driver computes."""
GLANCE = 1.0
"""Seconds between two notes of what runs, at least."""
NOTE = 10.0
"""Seconds between two records of how the arms stand, at least."""


@final
class Driver:
    """Drives one study.

    Args:
        study: what is computed.
        runs: the folder of runs.
        executor: where jobs are computed.
        view: who is shown what happens.
        trials: complete or pruned trials of each arm in the end; None: as the study says.
        seeds: of the cells; None: as the study says.
    """

    def __init__(
        self,
        study: LoadedStudy,
        runs: Path,
        *,
        executor: Executor,
        view: View,
        trials: int | None = None,
        seeds: Sequence[int] | None = None,
    ) -> None:
        self.study, self.runs, self.executor, self.view = study, runs, executor, view
        self.book = Book.of(runs, study.name)
        self.seeds = tuple(seeds if seeds is not None else study.spec.seeds)
        tune = study.spec.tune
        self.target = 0 if tune is None else tune.trials if trials is None else trials
        self.storage = None if tune is None else Storage.open(study.spec.storage or self.book.folder / "trials")
        self.arms = tuple(
            ArmWork(
                study,
                arm,
                runs=runs,
                book=self.book,
                storage=self.storage,
                target=self.target,
                batch=executor.width,
            )
            for arm in study.plan.arms
        )
        self.books = ArmBooks(study, runs)
        self._by_name = {arm.name: arm for arm in self.arms}
        self._running: dict[str, list[float]] = {}
        self._spent = float(self.book.read().get("spent_seconds", 0.0))
        self._begun = time.monotonic()
        self.ended_because = ""
        self._busy = 0  # jobs of the last round that another process computes
        self._results: dict[str, dict[str, Any]] = {}
        self._written = self._noted = 0.0

    def drive(self) -> dict[str, Any]:
        """Computes what is missing and returns where the study stands.

        Raises `Interrupted` on Ctrl-C; the same call goes on.
        """
        shared = self.storage is not None and self.storage.shared
        with self.book.driving(shared=shared):
            self._begun = time.monotonic()
            self._look()
            self._write()
            left: str | None = None
            try:
                self._tune()
                self._look()
                self._report()
                left = self.ended_because
            finally:
                self._note()
                self.books.close(left)
                self._spent += time.monotonic() - self._begun
                self._begun = time.monotonic()
                self._running.clear()
                self.view.close()
                for arm in self.arms:
                    arm.close()
                state = self._write()
                if self.storage is not None:
                    self.storage.close()
        return state

    def _look(self) -> None:
        """Looks for the cells that exist."""
        for arm in self.arms:
            if arm.reportable():
                for seed in self.seeds:
                    arm.cell(seed)

    def _tune(self) -> None:
        while not self._over():
            jobs = [job for arm in self.arms for job in arm.trials()]
            if jobs:
                if self._round(jobs) == 0 and self._busy:
                    self._wait(self._busy)
            elif all(arm.tuned() or arm.stopped for arm in self.arms):
                return
            else:
                self._wait()  # the rest is another driver's

    def _wait(self, busy: int = 0) -> None:
        elsewhere = busy + sum(arm.elsewhere() for arm in self.arms)
        if elsewhere:
            self.view.waiting(elsewhere)
        time.sleep(WAIT)

    def _report(self) -> None:
        """The cells: each seed of all arms before the next seed."""
        at_once = max(1, self.executor.width // max(1, len(self.arms)))
        for first in range(0, len(self.seeds), at_once):
            if self._over():
                return
            seeds = self.seeds[first : first + at_once]
            wanted = [
                arm.job(seed) for seed in seeds for arm in self.arms if arm.reportable() and arm.cell(seed).done is None
            ]
            if wanted:
                self._round(wanted)  # what fails, or is another driver's, is left to the next call

    def _over(self) -> bool:
        """Whether the study is to end here."""
        budget = self.study.spec.budget
        if self.book.stopping:
            self.ended_because = "stopped on request; the same command goes on"
        elif budget is not None and self.spent > 3600 * budget.hours:
            self.ended_because = f"the budget of {budget.hours:g} hours is spent; the arms have had equal shares"
        return bool(self.ended_because)

    @property
    def spent(self) -> float:
        """Seconds that drivers have worked on the study."""
        return self._spent + time.monotonic() - self._begun

    def _round(self, jobs: Sequence[Job]) -> int:
        """Computes jobs; how many of them came to an end of their own."""
        done = 0
        self._busy = 0

        def started(job: Job) -> None:
            self._running[job.name] = []
            self.view.started(job)
            self._glance()

        def evaluated(job: Job, ordinal: int, metrics: Mapping[str, float]) -> bool:
            value = score(self.study.spec.objectives[0], metrics, {})
            if not math.isnan(value):
                self._running.setdefault(job.name, []).append(value)
            self.view.evaluated(job, ordinal, value)
            self._glance()
            return self._by_name[job.arm].evaluated(job, ordinal, metrics)

        def ended(job: Job, outcome: Outcome) -> None:
            nonlocal done
            done += outcome.state in ("complete", "pruned")
            self._busy += outcome.state == "busy"
            self._running.pop(job.name, None)
            arm = self._by_name[job.arm]
            arm.ended(job, outcome)
            if job.number is None:
                arm.cell(job.seed)
            self.view.ended(job, outcome)
            self.view.progress(self.state())
            self._glance()

        for name in dict.fromkeys(job.arm for job in jobs):
            self.books.of(self._by_name[name])
        self.executor.perform(jobs, started=started, evaluated=evaluated, ended=ended)
        if time.monotonic() - self._noted > NOTE:
            self._note()
        return done

    def _note(self) -> None:
        """Records how the arms stand in their journals."""
        self._noted = time.monotonic()
        for arm in self.arms:
            if self.books.begun(arm):
                self.books.best(arm)
                if arm.reportable():
                    self.books.measured(arm, self.seeds)

    def _glance(self) -> None:
        """Writes down what runs, now and then."""
        if time.monotonic() - self._written > GLANCE:
            self._write()

    def _write(self) -> dict[str, Any]:
        """Writes down where the study stands."""
        self._written = time.monotonic()
        state = self.state()
        self.book.write(state)
        return state

    def state(self) -> dict[str, Any]:
        """Where the study stands, as plain data."""
        return {
            "study": self.study.name,
            "file": str(self.study.path),
            "design": self.study.spec.design,
            "objectives": [o.metric for o in self.study.spec.objectives],
            "seeds": list(self.seeds),
            "updated": time.time(),
            "spent_seconds": self.spent,
            "ended_because": self.ended_because,
            "rejected": {r.name: r.reason for r in self.study.plan.rejected},
            "running": {name: list(curve) for name, curve in self._running.items()},
            "arms": [self._arm(arm) for arm in self.arms],
        }

    def _arm(self, arm: ArmWork) -> dict[str, Any]:
        best = arm.best()
        cells = {seed: arm.held(seed) for seed in self.seeds} if arm.reportable() else {}
        return {
            "name": arm.name,
            "levels": dict(arm.arm.levels),
            "patch": dict(arm.arm.patch),
            "trials": {**arm.counts(), "target": arm.target},
            "lacking": list(arm.lacking),
            "stopped": arm.stopped,
            "best": None
            if best is None
            else {
                "trial": best.number,
                "scores": list(best.scores),
                "values": dict(best.values),
                "run": best.note.get("run"),
            },
            "cells": {str(seed): self._cell(cell) for seed, cell in cells.items()},
        }

    def _cell(self, cell: Cell | None) -> dict[str, Any] | None:
        if cell is None or cell.done is None:
            return None
        folder = cell.done
        if folder.run_id not in self._results:
            result = result_of(folder)
            self._results[folder.run_id] = {
                "run": result.run_id,
                "val": dict(result.val),
                "test": None if result.test is None else dict(result.test),
                "seconds": result.seconds,
                "deviation": cell.deviation,
            }
        return self._results[folder.run_id]
