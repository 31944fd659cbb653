"""The mirror's thread beside the training, and `sync` for whatever it could not send."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reid_lab.errors import Fault, RunError, nearest
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.mlflow_store import Location, Store
from reid_lab.tracking.records import FILE, durable_offset
from reid_lab.tracking.replay import Replay
from reid_lab.tracking.runs import ARMS


class Mirror:
    """A daemon thread that sends a run's journal while it is written, and samples the machine's load.

    Training never waits for it: an absent server is tried again after 2, 4, … 60 seconds. Close it
    after `Journal.stop` and before `Journal.close`; what it could not send, `sync` sends later.

    interval: seconds between two sendings; between two samples of the load: twice that. sampled: whether the
    load is recorded.
    """

    def __init__(self, journal: Journal, store: Store, *, interval: float = 5.0, sampled: bool = True) -> None:
        self.problem: str | None = None  # why the last sending failed, one line; None when it did not
        self._journal = journal
        self._replay = Replay(journal.path.parent, store)
        self._interval = interval
        self._sampled = sampled
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
        if self._sampled and tick % 2 == 0:
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
            self.problem = _one_line(error)
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


@dataclass(frozen=True)
class Sent:
    """One row of `sync`: what was sent of a run, and what kept the rest back."""

    run_id: str
    records: int
    location: Location | None
    problem: str | None = None


def journals(runs: Path, run_ids: Sequence[str] | None = None) -> dict[str, Path]:
    """The folders that hold a journal, by id: all, or those whose ids are given or begin so.

    Arms of studies (`STUDY/ARM`) come first, because they are the parents of runs. Raises `RunError` naming every run
    that is not there.
    """
    arms = {
        f"{file.parent.parent.name}/{file.parent.name}": file.parent for file in sorted(runs.glob(f"{ARMS}/{FILE}"))
    }
    there = {**arms, **{file.parent.name: file.parent for file in sorted(runs.glob(f"*/{FILE}"))}}
    if run_ids is not None:
        begun = {name: [known for known in there if name and known.startswith(name)] for name in run_ids}
        run_ids = [begun[name][0] if name not in there and len(begun[name]) == 1 else name for name in run_ids]
    missing = [name for name in run_ids or () if name not in there]
    if missing:
        faults = [(name, nearest(name, there)) for name in missing]
        raise RunError(
            *(Fault(f"no run '{n}'" + (f"; did you mean '{near}'?" if near else ""), str(runs)) for n, near in faults)
        )
    return there if run_ids is None else {name: there[name] for name in run_ids}


def sync(runs: Path, run_ids: Sequence[str] | None = None, uri: str | None = None, *, full: bool = False) -> list[Sent]:
    """Send what mlflow does not hold yet, of all runs and arms of studies in a folder, or of the named ones.

    full: send everything again, e.g. to a store restored from a backup; what it holds is unchanged.
    A run that fails does not stop the others. Raises `RunError` on an unknown run.
    """
    store = Store.of(runs, uri)
    return [_sync(name, folder, store, full) for name, folder in journals(runs, run_ids).items()]


def _sync(name: str, run_dir: Path, store: Store, full: bool) -> Sent:
    replay = Replay(run_dir, store)
    if not replay.lock.acquire():
        return Sent(name, 0, replay.progress.at, f"being sent by {replay.lock.holder()}")
    try:
        if full:
            replay.progress.reset()
        count = replay.send()
        replay.note_kill()
        return Sent(name, count, replay.progress.at)
    except Exception as error:  # mlflow's are of many kinds, and the next run may work
        return Sent(name, 0, replay.progress.at, _one_line(error))
    finally:
        replay.lock.release()
