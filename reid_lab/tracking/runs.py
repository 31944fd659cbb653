"""The folders of runs: names, attempts, stages, results.

    RUNS/<identity[:12]>-<attempt>/
        spec.yaml  identity.json  environment.json  changes.diff     what is computed, from what
        inputs.json                                                   digests of code and data, for a replay
        journal.jsonl                                                 what happened
        checkpoints/{last,best}.safetensors
        refit/{last,best}.safetensors                                 of `fit_on: train+val`
        results/test.json, test.npz                                   metrics, per-query results
        images/                                                       ranked lists
        summary.json                                                  written when a stage is finished

Nothing here computes; a folder's state is read from `summary.json`, written atomically last.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lab.errors import Fault, RunError, nearest

STUDIES = "studies"
ARMS = f"{STUDIES}/*/*"
"""Where the arms of studies keep their journals, below the folder of runs."""


def write_atomic(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class RunFolder:
    """One attempt of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        """`<identity[:12]>-<attempt>`."""
        return self.path.name

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return int(self.path.name.rpartition("-")[2])

    @property
    def journal(self) -> Path:
        """The run's log."""
        return self.path / "journal.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Where `last` and `best` lie."""
        return self.path / "checkpoints"

    @property
    def refit(self) -> Path:
        """Where the checkpoints of the second training lie (`train.fit_on: train+val`)."""
        return self.path / "refit"

    @property
    def selected(self) -> Path:
        """The weights that are tested: those that were selected, or trained anew on train and val.

        Raises `RunError` where they were dropped.
        """
        if self.dropped:
            raise RunError(Fault(f"its weights are gone; {self.dropped}", self.run_id))
        return (self.refit if self.finished("refit") else self.checkpoints) / "best.safetensors"

    @property
    def results(self) -> Path:
        """Metrics and per-query results of the test."""
        return self.path / "results"

    def summary(self) -> dict[str, Any]:
        """What the finished stages left; empty while nothing is finished."""
        try:
            summary: dict[str, Any] = json.loads((self.path / "summary.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return summary

    @property
    def dropped(self) -> str:
        """Why the run keeps no weights; empty where nobody dropped them."""
        return str(self.summary().get("weights", ""))

    def finished(self, stage: str) -> bool:
        """Whether `fit`, `refit` or `test` is finished, or the run ended as `pruned`."""
        return stage in self.summary().get("stages", ())

    def finish(self, stage: str, facts: Mapping[str, Any]) -> None:
        """Record a finished stage and merge what it found into the summary."""
        self.amend({**facts, "stages": [*self.summary().get("stages", ()), stage]})

    def amend(self, facts: Mapping[str, Any]) -> None:
        """Merge facts into the summary."""
        write_atomic(self.path / "summary.json", json.dumps({**self.summary(), **facts}, indent=1))


def marks(selected_on: str, fitted_on: str) -> tuple[str, ...]:
    """What every table says of weights that were selected on test, or trained on train and val."""
    chosen = ("selected on TEST",) if selected_on == "test" else ()
    return (*chosen, f"fitted on {fitted_on}") if fitted_on != "train" else chosen


def attempts(runs: Path, identity: str) -> list[RunFolder]:
    """The attempts at one run, oldest first."""
    found = [RunFolder(p) for p in runs.glob(f"{identity[:12]}-*") if p.name[13:].isdigit()]
    return sorted(found, key=lambda f: f.attempt)


def folders(runs: Path) -> Iterator[RunFolder]:
    """Every run in a folder of runs, most recently begun first."""
    found = [p.parent for p in runs.glob("*/journal.jsonl")]
    yield from (RunFolder(p) for p in sorted(found, key=_begun, reverse=True))


def _begun(folder: Path) -> float:
    """When a process last began or resumed the run; one of features has no spec, one killed at once has nothing."""
    found = (folder / name for name in ("spec.yaml", "identity.json"))
    return next((file.stat().st_mtime for file in found if file.exists()), 0.0)


def find(runs: Path, name: str) -> RunFolder:
    """The run in this folder, with this id, or with an id that begins so (the latest attempt of one identity).

    Raises `RunError` when there is none, or when several identities begin so.
    """
    if name and (Path(name) / "journal.jsonl").is_file():
        return RunFolder(Path(name).absolute())
    by_id = {f.run_id: f for f in folders(runs)}
    if name in by_id:
        return by_id[name]
    matching = [f for run_id, f in by_id.items() if run_id.startswith(name)]
    identities = {f.run_id.rpartition("-")[0] for f in matching}
    if len(identities) == 1:
        return max(matching, key=lambda f: f.attempt)
    if matching:
        raise RunError(Fault(f"'{name}' is ambiguous: {', '.join(sorted(f.run_id for f in matching))}", str(runs)))
    near = nearest(name, by_id)
    hint = f"; did you mean '{near}'?" if near else "; `reid-lab list runs` shows what there is"
    raise RunError(Fault(f"no run '{name}'{hint}", str(runs)))
