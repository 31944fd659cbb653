"""A study's own folder: who drives it, whether it is to stop, and where it stands.

RUNS/studies/<study>/
    lock          held by the process that drives the study
    stop          a request to stop; the driver takes it away
    state.json    where it stands, for `study status` (the truth lies in the storage and in the runs' folders)
    trials.*      Optuna's storage, unless the study names another one
    logs/         what the jobs printed
    <arm>/        the arm's journal: the parent run in MLflow
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lab.errors import Fault, RunError
from reid_lab.tracking.lock import FileLock
from reid_lab.tracking.runs import write_atomic


@dataclass(frozen=True)
class Book:
    """The folder of one study."""

    folder: Path

    @classmethod
    def of(cls, runs: Path, study: str) -> Book:
        """The folder of a study of this name; it is made when something is written."""
        return cls(runs / "studies" / study)

    @property
    def driven(self) -> bool:
        """Whether a living process drives the study."""
        lock = FileLock(self.folder / "lock")
        free = not lock.path.exists() or lock.acquire()
        lock.release()
        return not free

    @contextlib.contextmanager
    def driving(self, *, shared: bool) -> Iterator[None]:
        """Drives the study; alone, unless the trials lie in a database that several drivers may use.

        Raises `RunError` naming the process that drives it already.
        """
        lock = FileLock(self.folder / "lock")
        alone = lock.acquire()
        if not alone and not shared:
            what = f"the study is driven by {lock.holder()}; wait for it, or `reid-lab study stop` it"
            raise RunError(Fault(what, str(self.folder)))
        try:
            if alone:
                self._stop.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    @property
    def _stop(self) -> Path:
        return self.folder / "stop"

    @property
    def stopping(self) -> bool:
        """Whether somebody asked the driver to stop."""
        return self._stop.exists()

    def stop(self) -> None:
        """Asks the driver to finish the running trials and leave."""
        write_atomic(self._stop, "")

    def log(self, arm: str, name: str) -> Path:
        """Where a job's output goes."""
        return self.folder / "logs" / arm / f"{name}.log"

    def write(self, state: Mapping[str, Any]) -> None:
        """Writes down where the study stands; whole or not at all, but nobody waits for the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / f".state.{os.getpid()}"
        new.write_text(json.dumps(state, indent=1), encoding="utf-8")
        new.replace(self.folder / "state.json")

    def read(self) -> dict[str, Any]:
        """Where the study stood last; empty when it was never begun."""
        try:
            state: dict[str, Any] = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return state
