"""Sending a run's journal to mlflow, from where it stopped the last time.

Only fsynced records are sent, with the times at which they were recorded, so that sending them
again changes nothing. How far a run has been sent is kept in its folder, per store.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from reid_lab.tracking.lock import FileLock, in_use
from reid_lab.tracking.members import Member, member_of
from reid_lab.tracking.mlflow_store import Chunk, Location, Point, Store, key
from reid_lab.tracking.records import FILE, NUMBERS, Record, durable_offset, read, sha256
from reid_lab.tracking.runs import STUDIES

CHUNK = 2000  # records between two saved positions
CREATING = "mlflow.lock"  # held while a run is looked up and created: an arm's run is wanted by all its children


class Progress:
    """How far a run has been sent to one store: a small JSON file, replaced atomically."""

    def __init__(self, run_dir: Path, store: Store) -> None:
        self.path = run_dir / f"mirror-{hashlib.sha256(store.shown_uri.encode()).hexdigest()[:8]}.json"
        self.store = store.shown_uri
        self.offset = 0
        self.status = ""
        self.at: Location | None = None
        self.checkpoints: dict[str, list[Any]] = {}  # name -> [step, value] of the newest
        self.members: list[dict[str, Any]] = []  # its places in studies, the first one first
        try:
            saved = json.loads(self.path.read_text())
            self.at = Location(saved["experiment"], saved["run"])
            self.offset, self.status, self.checkpoints = saved["offset"], saved["status"], saved["checkpoints"]
            self.members = saved.get("members", [])
        except (OSError, ValueError, KeyError):
            pass  # never sent, or torn: sending everything again changes nothing

    def reset(self) -> None:
        """Begin again at the first record."""
        self.offset, self.status, self.checkpoints, self.members = 0, "", {}, []

    def save(self) -> None:
        """Write the position; called after everything before it has arrived."""
        assert self.at is not None
        state = {
            "store": self.store,
            "experiment": self.at.experiment,
            "run": self.at.run,
            "offset": self.offset,
            "status": self.status,
            "checkpoints": self.checkpoints,
            "members": self.members,
        }
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(state))
        os.replace(new, self.path)


def unsent(run_dir: Path, store: Store) -> bool:
    """Whether a store lacks durable records of a run, as far as is known without asking it."""
    progress = Progress(run_dir, store)
    return progress.at is None or progress.offset < durable_offset(run_dir / FILE)


def _located(journal: Path, store: Store) -> Location | None:
    """Where a journal's run lies in mlflow, created when needed; None while the journal has no durable start."""
    end = durable_offset(journal)
    start = next((record for record, _ in read(journal, stop=end) if record.kind == "start"), None)
    if start is None:
        return None
    value = start.value
    with FileLock(journal.parent / CREATING):
        return store.run(value["run_id"], experiment=value["experiment"], name=value["run_name"], time=start.time)


class Replay:
    """Sends one run's journal to one store, from where it stopped the last time."""

    def __init__(self, run_dir: Path, store: Store) -> None:
        self.run_dir = run_dir
        self.journal = run_dir / FILE
        self.store = store
        self.progress = Progress(run_dir, store)
        self.lock = FileLock(self.progress.path.with_suffix(".lock"))
        self._found = False

    def send(self, *, deadline: float = float("inf")) -> int:
        """Send what is durable and not yet sent; the number of records. Raises whatever mlflow raises.

        Stops between two chunks once `deadline` (time.monotonic) has passed.
        """
        end = durable_offset(self.journal)
        if not self._find():
            return 0
        progress = self.progress
        if progress.offset > end:
            progress.reset()
        count = 0
        while progress.offset < end and time.monotonic() < deadline:
            chunk = list(islice(read(self.journal, progress.offset, end), CHUNK))
            if not chunk:
                break
            self._send([record for record, _ in chunk])
            progress.offset = chunk[-1][1]
            progress.save()
            count += len(chunk)
        return count

    def _find(self) -> bool:
        """Find or create the run in mlflow; False while the journal has no durable start."""
        if self._found:
            return True
        at = _located(self.journal, self.store)
        if at is None:
            return False
        if at != self.progress.at:  # a new store, or one that lost the run
            self.progress.reset()
            self.progress.at = at
        self._found = True
        return True

    def lost(self) -> None:
        """After a failure: look the run up again before the next sending."""
        self._found = False

    def _send(self, records: list[Record]) -> None:
        at = self.progress.at
        assert at is not None
        chunk = Chunk()
        events: list[Record] = []
        for record in records:
            if record.kind in ("artifact", "input", "start", "stop"):
                events.append(record)
            elif record.kind == "checkpoint":
                self.progress.checkpoints[record.name] = [record.step, record.value]
            member = member_of(record)
            if member is None:
                _translate(record, chunk)
            else:
                self._enter(at, member, record.time, chunk)
        self.store.log(at, chunk)
        for record in events:
            self._event(at, record)

    def _enter(self, at: Location, member: Member, now: int, chunk: Chunk) -> None:
        """Add the tags of a place in a study; the first place gives the run its parent."""
        place, held = asdict(member), self.progress.members
        if place not in held:
            held.append(place)
        chunk.tags[key(f"reid_lab.study.{member.study}")] = member.arm
        if place == held[0]:
            chunk.tags |= {"reid_lab.study": member.study, "reid_lab.arm": member.arm, "reid_lab.parent": member.parent}
            chunk.tags["mlflow.parentRunId"] = self._parent(at, member, now).run
            if member.trial is not None:
                chunk.tags["reid_lab.trial"] = str(member.trial)

    def _parent(self, at: Location, member: Member, now: int) -> Location:
        """Where the arm lies in mlflow, whether its own journal has been sent or not."""
        journal = self.run_dir.parent / STUDIES / member.parent / FILE
        found = _located(journal, self.store) if journal.is_file() else None
        if found is not None:
            return found
        experiment = self.store.client().get_experiment(at.experiment).name
        with FileLock(journal.parent / CREATING):
            return self.store.run(member.parent, experiment=experiment, name=f"{member.study}: {member.arm}", time=now)

    def _event(self, at: Location, record: Record) -> None:
        value = record.value
        if record.kind == "input":
            self.store.dataset(at, record.name, str(value["digest"]), str(value.get("context", "training")))
        elif record.kind == "start":
            self._status(at, "running", record.time)
        elif record.kind == "stop":
            self._models(at)
            self._status(at, value["status"], record.time)
        else:
            self._artifact(at, record)

    def _artifact(self, at: Location, record: Record) -> None:
        file = self.run_dir / record.value["path"]
        if not file.is_file() or sha256(file) != record.value["sha256"]:
            return  # written anew since; a later record brings the new content
        if record.name.startswith("images/"):
            name = record.name.removeprefix("images/").removesuffix(".png")
            self.store.image(at, file, name, step=record.step, time=record.time, digest=record.value["sha256"])
        else:
            self.store.artifact(at, file, record.name)

    def _models(self, at: Location) -> None:
        """The newest checkpoint of each name; `last` holds the optimiser too and goes only when there is no other."""
        newest, members = self.progress.checkpoints, self.progress.members
        if members and all(place["trial"] is not None for place in members):
            return  # most trials lose their weights; those of the best are measured again, as cells
        for name in [n for n in newest if not n.endswith("last")] or list(newest):
            step, value = newest[name]
            file = self.run_dir / value["path"]
            if file.is_file() and sha256(file) == value["sha256"]:
                points = self._points(step)
                self.store.model(at, file, name, step=step, digest=value["sha256"], points=points)

    def _points(self, step: int) -> list[Point]:
        """The val metrics measured at a checkpoint's step, as they were sent for the run."""
        end = durable_offset(self.journal)
        return [_point(r) for r, _ in read(self.journal, stop=end) if r.kind == "val" and r.step == step]

    def _status(self, at: Location, status: str, now: int) -> None:
        self.store.status(at, status, now)
        self.progress.status = status

    def note_kill(self) -> None:
        """A run that started, never stopped, and that no process works on, was killed: say so."""
        if self.progress.status == "running" and self.progress.at and not in_use(self.run_dir):
            last = max((r.time for r, _ in read(self.journal, stop=self.progress.offset)), default=0)
            self._status(self.progress.at, "killed", last)
            self.progress.save()


def _point(record: Record) -> Point:
    kind, name = record.kind, record.name
    return Point(
        key(name if name.startswith(f"{kind}/") else f"{kind}/{name}"), float(record.value), record.time, record.step
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _translate(record: Record, chunk: Chunk) -> None:
    """Add what mlflow shows of a record as a point, parameter or tag."""
    kind, name, value = record.kind, record.name, record.value
    if kind == "param":
        chunk.params[key(name)] = _text(value)
    elif kind in NUMBERS:
        chunk.points.append(_point(record))
    elif kind in ("select", "final"):
        if isinstance(value, (int, float)):
            chunk.points.append(_point(record))
        else:
            chunk.tags[key(f"reid_lab.{kind}.{name.removeprefix(f'{kind}/')}")] = _text(value)
    elif kind == "note":
        chunk.tags[key(f"reid_lab.note.{name}")] = _text(value)
    elif kind == "start":
        chunk.tags.update({key(k): str(v) for k, v in value["tags"].items()})
        if value["description"]:
            chunk.tags["mlflow.note.content"] = value["description"]
    elif kind == "stop":
        chunk.tags["reid_lab.reason"] = value["reason"]
