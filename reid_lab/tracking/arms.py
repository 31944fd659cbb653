"""The journal of a study's arm: what is the same for all its trials and cells, and how they came out together.

    RUNS/studies/<study>/<arm>/journal.jsonl

It is an ordinary journal, mirrored and synced like a run's: in mlflow the arm is the parent of its runs. An arm
that was edited is another arm: its former journal is kept beside the new one, in a folder named by its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from reid_lab.errors import Fault, RunError
from reid_lab.tracking.journal import Journal, Status
from reid_lab.tracking.lock import FileLock
from reid_lab.tracking.mirror import Mirror
from reid_lab.tracking.mlflow_store import Store
from reid_lab.tracking.records import FILE, marker, read
from reid_lab.tracking.runs import STUDIES


def arm_folder(runs: Path, study: str, arm: str) -> Path:
    """Where an arm keeps its journal. Raises `RunError` for names that are no names of folders."""
    for name in (study, arm):
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise RunError(Fault(f"'{name}' cannot name a folder", str(runs / STUDIES)))
    return runs / STUDIES / study / arm


@final
class ArmBook:
    """An arm's journal, open; where another driver of the same study holds it, nothing is recorded here.

    Args:
        runs: the folder of runs.
        study, arm: their names; children name the arm as `STUDY/ARM` (`Member.parent`).
        key: hexadecimal digest of what the arm is; with another key begins another run in mlflow.
        experiment: of mlflow, the one that the arm's runs lie in: only there they are shown below their parent.
        params: what is the same for all runs of the arm (its patch, the design), by name. What may grow, such as
            the number of trials, is a `note`.
        description: Markdown.
        uri: `tracking.uri` of the arm's runs; `off` mirrors nothing.
    """

    def __init__(
        self,
        runs: Path,
        study: str,
        arm: str,
        *,
        key: str,
        experiment: str,
        params: Mapping[str, Any],
        description: str = "",
        uri: str | None = None,
    ) -> None:
        self.folder = arm_folder(runs, study, arm)
        self.id = f"{study}/{arm}"
        self._journal: Journal | None = None
        self._mirror: Mirror | None = None
        self._lock = FileLock(self.folder / "lock")
        if not self._lock.acquire():
            return
        try:
            _put_aside(self.folder, key[:12])
            self._journal = Journal(self.folder / FILE, strict=False)
            tags = {"reid_lab.study": study, "reid_lab.arm": arm, "reid_lab.kind": "arm"}
            self._journal.start(
                run_id=f"{self.id}-{key[:12]}",
                experiment=experiment,
                run_name=f"{study}: {arm}",
                tags=tags,
                description=description,
            )
            for name, value in params.items():
                self._journal.record("param", name, 0, value)
            self._journal.flush()
            if uri != "off":
                self._mirror = Mirror(self._journal, Store.of(runs, uri), sampled=False)
        except BaseException:
            self.close()
            raise

    @property
    def held(self) -> bool:
        """Whether this process records."""
        return self._journal is not None

    def best(self, trial: int, metrics: Mapping[str, float]) -> None:
        """The metrics on val of the best trial among those up to this number: a curve over trials."""
        self._numbers("val", trial, metrics)

    def measured(self, seeds: int, metrics: Mapping[str, float]) -> None:
        """The mean metrics on test of so many seeds."""
        self._numbers("test", seeds, metrics)

    def _numbers(self, kind: str, step: int, metrics: Mapping[str, float]) -> None:
        if self._journal is None:
            return
        for name, value in metrics.items():
            self._journal.record(kind, f"{kind}/{name}", step, value)
        self._journal.flush()

    def note(self, name: str, value: Any) -> None:
        """Something else that is worth a tag; the latest value of a name counts."""
        if self._journal is None:
            return
        told = [record.value for record in self._journal.records() if (record.kind, record.name) == ("note", name)]
        if not told or told[-1] != value:
            self._journal.record("note", name, 0, value)
            self._journal.flush()

    def stop(self, status: Status, reason: str = "") -> None:
        """How the driver leaves the arm: finished, interrupted, failed."""
        if self._journal is not None:
            self._journal.stop(status, reason)

    def close(self, timeout: float = 30.0) -> None:
        """Sends the rest, within so many seconds, and lets others record."""
        if self._mirror is not None:
            self._mirror.close(timeout)
        if self._journal is not None:
            self._journal.close()
        self._mirror = self._journal = None
        self._lock.release()


def _put_aside(folder: Path, key: str) -> None:
    """Moves the journal of an arm that was another one aside, and that of this one back, if there was one."""
    journal = folder / FILE
    start = next(read(journal), None) if journal.is_file() else None
    held = start[0].value["run_id"].rpartition("-")[2] if start and start[0].kind == "start" else key
    if held != key:
        _move(folder, folder / held)
    if (folder / key / FILE).is_file() and not journal.is_file():
        _move(folder / key, folder)


def _move(source: Path, target: Path) -> None:
    """The journal goes last, so that a kill in between leaves the rest to the next call."""
    target.mkdir(exist_ok=True)
    for file in (*source.glob("mirror-*.json"), marker(source / FILE), source / FILE):
        if file.exists():
            file.replace(target / file.name)
