"""The arms' own journals, opened when an arm is first worked on: the parent runs in MLflow."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import final

from reid_lab.results import result_of
from reid_lab.study.arms import ArmWork
from reid_lab.study.load import LoadedStudy
from reid_lab.tracking.arms import ArmBook
from reid_lab.tracking.journal import Status


@final
class ArmBooks:
    """What is recorded of each arm: its patch, its best trial so far, the mean of its seeds."""

    def __init__(self, study: LoadedStudy, runs: Path) -> None:
        self._study, self._runs = study, runs
        self._open: dict[str, ArmBook] = {}
        self._noted: dict[str, int] = {}

    def of(self, arm: ArmWork) -> ArmBook:
        """The arm's journal."""
        if arm.name not in self._open:
            spec = self._study.arm(arm.arm).spec
            patch = {f"patch/{path}": value for path, value in arm.arm.patch.items()}
            self._open[arm.name] = ArmBook(
                self._runs,
                self._study.name,
                arm.name,
                key=arm.key,
                experiment=spec.tracking.experiment or spec.name,
                params={"design": self._study.spec.design or "one arm", **patch},
                description=self._study.spec.description,
                uri=spec.tracking.uri,
            )
        return self._open[arm.name]

    def begun(self, arm: ArmWork) -> bool:
        """Whether something of the arm was computed by this driver."""
        return arm.name in self._open

    def best(self, arm: ArmWork) -> None:
        """Records the best score so far, by the number of the trial."""
        objective = self._study.spec.objectives[0]
        kind, _, name = objective.metric.partition("/")
        if kind != "val":
            return
        choose = max if objective.direction == "maximize" else min
        so_far: float | None = None
        for told in arm.told():
            if told.state != "complete":
                continue
            so_far = told.scores[0] if so_far is None else choose(so_far, told.scores[0])
            if told.number >= self._noted.get(arm.name, 0):
                self.of(arm).best(told.number, {name: so_far})
                self._noted[arm.name] = told.number + 1
        best = arm.best()
        if best is not None:
            said = ", ".join(f"{path} = {value}" for path, value in best.values.items())
            self.of(arm).note("best_trial", f"{best.number}: {said}")

    def measured(self, arm: ArmWork, seeds: tuple[int, ...]) -> None:
        """Records the mean test metrics over the seeds that are there."""
        held = [arm.held(seed) for seed in seeds]
        cells = [cell.done for cell in held if cell is not None and cell.done is not None]
        found = [result_of(folder).test or {} for folder in cells]
        names = set.intersection(*(set(test) for test in found)) if found else set()
        if names:
            means = {name: statistics.fmean(test[name] for test in found) for name in sorted(names)}
            self.of(arm).measured(len(found), means)

    def close(self, ended: str | None) -> None:
        """Leaves all of them: `finished`, or interrupted where nothing is said."""
        status: Status = "finished" if ended == "" else "interrupted"
        for book in self._open.values():
            book.stop(status, ended or "")
            book.close()
        self._open.clear()
