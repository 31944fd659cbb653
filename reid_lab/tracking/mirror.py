"""From the journal to mlflow: a thread beside the training, and `sync` for whatever it could not send.

Only fsynced records are sent, with the times at which they were recorded, so that sending them
again changes nothing. How far a run has been sent is kept in its folder, per store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from reid_lab.errors import Fault, RunError, nearest
from reid_lab.tracking.journal import FILE, MEASUREMENTS, SERIES, Journal, Record, durable_offset, read, sha256
from reid_lab.tracking.lock import FileLock, in_use
from reid_lab.tracking.mlflow_store import Chunk, Location, Point, Store, key

CHUNK = 2000  # records between two saved positions


class Progress:
    """How far a run has been sent to one store: a small JSON file, replaced atomically."""

    def __init__(self, run_dir: Path, store: Store) -> None:
        self.path = run_dir / f"mirror-{hashlib.sha256(store.shown_uri.encode()).hexdigest()[:8]}.json"
        self.store = store.shown_uri
        self.offset = 0
        self.status = ""
        self.at: Location | None = None
        self.checkpoints: dict[str, list[Any]] = {}  # name -> [step, value] of the newest
        try:
            saved = json.loads(self.path.read_text())
            self.at = Location(saved["experiment"], saved["run"])
            self.offset, self.status, self.checkpoints = saved["offset"], saved["status"], saved["checkpoints"]
        except (OSError, ValueError, KeyError):
            pass  # never sent, or torn: sending everything again changes nothing

    def reset(self) -> None:
        """Begin again at the first record."""
        self.offset, self.status, self.checkpoints = 0, "", {}

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
        }
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(state))
        os.replace(new, self.path)


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
        end = durable_offset(self.journal)
        start = next((record for record, _ in read(self.journal, stop=end) if record.kind == "start"), None)
        if start is None:
            return False
        value = start.value
        at = self.store.run(value["run_id"], experiment=value["experiment"], name=value["run_name"], time=start.time)
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
            _translate(record, chunk)
        self.store.log(at, chunk)
        for record in events:
            self._event(at, record)

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
        newest = self.progress.checkpoints
        for name in [n for n in newest if n != "last"] or list(newest):
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
    elif kind in SERIES or kind in MEASUREMENTS:
        chunk.points.append(_point(record))
    elif kind in ("select", "final"):
        if isinstance(value, (int, float)):
            chunk.points.append(_point(record))
        else:
            chunk.tags[key(f"reid_lab.{kind}.{name}")] = _text(value)
    elif kind == "note":
        chunk.tags[key(f"reid_lab.note.{name}")] = _text(value)
    elif kind == "start":
        chunk.tags.update({key(k): str(v) for k, v in value["tags"].items()})
        if value["description"]:
            chunk.tags["mlflow.note.content"] = value["description"]
    elif kind == "stop":
        chunk.tags["reid_lab.reason"] = value["reason"]


class Mirror:
    """A daemon thread that sends a run's journal while it is written, and samples the machine's load.

    Training never waits for it: an absent server is tried again after 2, 4, … 60 seconds. Close it
    after `Journal.stop` and before `Journal.close`; what it could not send, `sync` sends later.

    interval: seconds between two sendings; between two samples of the load: twice that.
    """

    def __init__(self, journal: Journal, store: Store, *, interval: float = 5.0) -> None:
        self.problem: str | None = None  # why the last sending failed, one line; None when it did not
        self._journal = journal
        self._replay = Replay(journal.path.parent, store)
        self._interval = interval
        self._load: _Load | None = None
        self._stop = threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._loop, name="reid-lab-mirror", daemon=True)
        self._thread.start()

    @property
    def location(self) -> Location | None:
        """Where the run lies in mlflow, once it does."""
        return self._replay.progress.at

    @property
    def thread_id(self) -> int | None:
        """The system's id of the thread, for measuring what it costs."""
        return self._thread.native_id

    def _loop(self) -> None:
        resume, wait = 0.0, 2.0
        for tick in range(1 << 62):
            closing = self._stop.wait(self._interval if tick else min(self._interval, 0.5))
            self._sample(tick)
            if closing or time.monotonic() >= resume:
                if self._try():
                    wait = 2.0
                else:
                    resume = time.monotonic() + wait
                    wait = min(60.0, 2 * wait)
            if closing:
                return

    def _sample(self, tick: int) -> None:
        """Every second tick; a machine that does not tell its load, or a full disk, is no reason to end."""
        if tick % 2 == 0:
            with contextlib.suppress(Exception):
                self._load = self._load or _Load(self._journal)
                self._load.sample()

    def _try(self) -> bool:
        try:
            self._journal.flush()
            if not (self._replay.lock.held or self._replay.lock.acquire()):
                raise RunError(f"the run is being sent by {self._replay.lock.holder()}")
            self._replay.send(deadline=self._deadline)
        except Exception as error:  # of any kind: training must not notice
            self.problem = " ".join(str(error).split())[:300] or type(error).__name__
            self._replay.lost()
            return False
        self.problem = None
        return True

    def close(self, timeout: float = 30.0) -> bool:
        """Send the rest, within `timeout` seconds, and end the thread; whether everything was sent."""
        self._deadline = time.monotonic() + timeout
        self._stop.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        self._replay.lock.release()
        return self.problem is None and self._replay.progress.offset >= durable_offset(self._journal.path)


class _Load:
    """Records CPU and memory use; the step is the number of whole seconds since the journal began."""

    def __init__(self, journal: Journal) -> None:
        import psutil

        self._journal = journal
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._cpu, self._memory = psutil.cpu_percent, psutil.virtual_memory
        self._cpu()
        first = next(iter(journal.records()), None)
        self._zero = first.time if first else time.time_ns() // 1_000_000

    def sample(self) -> None:
        step = (time.time_ns() // 1_000_000 - self._zero) // 1000
        values = {
            "process_cpu_percent": self._process.cpu_percent(),
            "process_memory_mb": self._process.memory_info().rss / 2**20,
            "cpu_percent": self._cpu(),
            "memory_percent": self._memory().percent,
        }
        for name, value in values.items():
            self._journal.record("system", name, step, value)


@dataclass(frozen=True)
class Sent:
    """One row of `sync`: what was sent of a run, and what kept the rest back."""

    run_id: str
    records: int
    location: Location | None
    problem: str | None = None


def journals(runs: Path, run_ids: Sequence[str] | None = None) -> Iterator[Path]:
    """The run folders that hold a journal, all or the named ones.

    Raises `RunError` naming every run that is not there.
    """
    there = {file.parent.name: file.parent for file in sorted(runs.glob(f"*/{FILE}"))}
    missing = [name for name in run_ids or () if name not in there]
    if missing:
        faults = [(name, nearest(name, there)) for name in missing]
        raise RunError(
            *(Fault(f"no run '{n}'" + (f"; did you mean '{near}'?" if near else ""), str(runs)) for n, near in faults)
        )
    return iter(there.values() if run_ids is None else [there[name] for name in run_ids])


def sync(runs: Path, run_ids: Sequence[str] | None = None, uri: str | None = None, *, full: bool = False) -> list[Sent]:
    """Send what mlflow does not hold yet, of all runs in a folder or of the named ones.

    full: send everything again, e.g. to a store restored from a backup; what it holds is unchanged.
    A run that fails does not stop the others. Raises `RunError` on an unknown run.
    """
    store = Store.of(runs, uri)
    return [_sync(folder, store, full) for folder in journals(runs, run_ids)]


def _sync(run_dir: Path, store: Store, full: bool) -> Sent:
    replay = Replay(run_dir, store)
    if not replay.lock.acquire():
        return Sent(run_dir.name, 0, replay.progress.at, f"being sent by {replay.lock.holder()}")
    try:
        if full:
            replay.progress.reset()
        count = replay.send()
        replay.note_kill()
        return Sent(run_dir.name, count, replay.progress.at)
    except Exception as error:  # mlflow's are of many kinds, and the next run may work
        return Sent(run_dir.name, 0, replay.progress.at, " ".join(str(error).split())[:300])
    finally:
        replay.lock.release()
