"""File locks that vanish with their process: one process works on a run, one mirrors it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import weakref
from pathlib import Path

from reid_lab.errors import Fault, InUse

_OPEN: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget() -> None:
    """In a forked child: close the inherited locks, or a worker would keep them after the parent died."""
    for lock in list(_OPEN):
        lock._close()


os.register_at_fork(after_in_child=_forget)


class FileLock:
    """An exclusive `flock` on a file that names its holder. Local disks only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock; False when another holder has it and `wait` is off."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(fd)
            return False
        who = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
        if os.pread(fd, len(who) + 1, 0) != who:  # cutting a file costs milliseconds: not when the holder is the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, who, 0)
        self._fd = fd
        _OPEN.add(self)
        return True

    def holder(self) -> str:
        """Who wrote the lock file last, in words."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            who = json.loads(self.path.read_text())
            return f"process {who['pid']} on {who['host']}"
        return "another process"

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def release(self) -> None:
        """Give the lock back; the file stays."""
        _OPEN.discard(self)
        self._close()

    def __enter__(self) -> FileLock:
        self.acquire(wait=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def in_use(run_dir: Path) -> bool:
    """Whether a living process works on the run."""
    lock = FileLock(run_dir / "lock")
    free = not lock.path.exists() or lock.acquire()
    lock.release()
    return not free


class RunLock:
    """Keeps a second process off a run's folder: `with RunLock(run_dir): …`.

    Raises `InUse` naming the holder when the run is in use.
    """

    def __init__(self, run_dir: Path) -> None:
        self._lock = FileLock(run_dir / "lock")
        for _ in range(5):  # `in_use` holds it for a moment
            if self._lock.acquire():
                return
            time.sleep(0.05)
        raise InUse(Fault(f"the run is in use by {self._lock.holder()}; wait for it or stop it", str(run_dir)))

    def release(self) -> None:
        """Let others work on the run."""
        self._lock.release()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
