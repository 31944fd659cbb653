"""Kills of a study's driver and workers at chosen moments, each written down just before it happens.

A process takes the next kill of a plan (a folder of files, claimed by renaming), arms it and dies when the moment
comes. A kill whose moment does not come goes back into the plan: so exactly what hit is counted.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.killing import Calls


@dataclass(frozen=True)
class Kill:
    """A moment: `number` counts calls, files or writes; `share` is how much of one is written, or seconds."""

    kind: str
    number: int = 1
    share: float = 0.5


class Plan:
    """Kills that are still to come, and those that hit, in a folder that all processes see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, folder: Path, kills: list[Kill]) -> Plan:
        """A new plan."""
        folder.mkdir(parents=True)
        for number, kill in enumerate(kills):
            (folder / f"{number:03d}.next").write_text(json.dumps(vars(kill)))
        return cls(folder)

    @contextmanager
    def armed(self, whose: str, at_most: int = 1000) -> Iterator[Kill | None]:
        """The next kill, armed in this process; None when none is left or `whose` was hit so often already."""
        path = self._claim() if self.hits(whose) < at_most else None
        if path is None:
            yield None
            return
        kill = Kill(**json.loads(path.read_text()))
        with _arm(kill, partial(self._hit, path, whose)):
            yield kill
        path.rename(path.with_suffix(".next"))

    def _claim(self) -> Path | None:
        for path in sorted(self.folder.glob("*.next")):
            try:
                return path.rename(path.with_suffix(f".{os.getpid()}"))
            except FileNotFoundError:
                continue  # another process was faster
        return None

    def _hit(self, path: Path, whose: str) -> None:
        path.rename(self.folder / f"{path.stem}.hit.{whose.replace(' ', '_').replace(':', '')}")
        os.kill(os.getpid(), signal.SIGKILL)

    def give_back(self) -> None:
        """Kills of processes that died otherwise go back into the plan."""
        for path in self.folder.iterdir():
            if path.suffix[1:].isdecimal() and not Path(f"/proc/{path.suffix[1:]}").exists():
                path.rename(path.with_suffix(".next"))

    def hits(self, whose: str = "") -> int:
        """How many kills hit, all or one's."""
        return sum(1 for _ in self.folder.glob(f"*.hit.{whose.replace(' ', '_').replace(':', '') or '*'}"))

    def kinds(self) -> Counter[str]:
        """How many kills of each kind hit."""
        return Counter(json.loads(path.read_text())["kind"] for path in self.folder.glob("*.hit.*"))


@contextmanager
def _arm(kill: Kill, hit: Callable[[], None]) -> Iterator[None]:
    left = iter(range(kill.number - 1, -1, -1))

    def counted() -> bool:
        return next(left, -1) == 0

    if kill.kind == "call":
        sys.setprofile(Calls(kill.number, hit))
        try:
            yield
        finally:
            sys.setprofile(None)
    elif kill.kind == "clock":
        over = threading.Event()
        threading.Thread(target=lambda: over.wait(kill.share) or hit(), daemon=True).start()
        yield
        over.set()
    elif kill.kind == "checkpoint":
        from reid_lab.engine import checkpoint

        with _replaced(checkpoint, "save_file", lambda real: partial(_torn_file, real, counted, kill.share, hit)):
            yield
    else:
        assert kill.kind == "storage"
        with _storage_torn(counted, kill.share, hit):
            yield


@contextmanager
def _replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    real = getattr(owner, name)
    setattr(owner, name, make(real))
    try:
        yield
    finally:
        setattr(owner, name, real)


def _torn_file(real: Any, now: Callable[[], bool], share: float, hit: Callable[[], None], *given: Any) -> None:
    real(*given)
    if now():
        path = given[1]
        os.truncate(path, int(share * path.stat().st_size))
        hit()


@contextmanager
def _storage_torn(now: Callable[[], bool], share: float, hit: Callable[[], None]) -> Iterator[None]:
    """Dies with part of a line in the journal, or inside a transaction of the database: before or after its commit."""
    from optuna.storages.journal import JournalFileBackend
    from optuna.storages.journal._file import get_lock_file
    from sqlalchemy import Engine, event

    def append(real: Any) -> Any:
        def torn(self: Any, logs: list[dict[str, Any]]) -> None:
            if now():
                text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
                with get_lock_file(self._lock), open(self._file_path, "ab") as file:
                    file.write(text[: int(share * len(text))])
                    file.flush()
                    hit()
            real(self, logs)

        return torn

    def written(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip()[:6] in ("INSERT", "UPDATE") and now():
            hit()

    event.listen(Engine, "after_cursor_execute", written)
    try:
        with _replaced(JournalFileBackend, "append_logs", append):
            yield
    finally:
        event.remove(Engine, "after_cursor_execute", written)


def drawn(count: int, seed: int, kinds: tuple[str, ...], calls: int, seconds: float) -> list[Kill]:
    """Random kills, the kinds in turn; a fixed seed fixes them. calls, seconds: how long one is waited for at most."""
    draw = random.Random(seed)
    numbers = {"call": calls, "clock": 1, "checkpoint": 3, "storage": 16}
    return [
        Kill(kind, draw.randint(1, numbers[kind]), seconds * draw.random() if kind == "clock" else draw.random())
        for kind in (kinds[n % len(kinds)] for n in range(count))
    ]


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it became true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
