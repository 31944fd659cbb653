"""`reid-lab` in a process of its own that is killed with signal 9 at a chosen moment.

The processes are forked from a server that holds the imports, so that one costs a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["reid_lab.experiment", "reid_lab.architectures.irra", "mlflow", "tests.killing"])


def die() -> None:
    """What `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Calls:
    """Counts what the package calls from the beginning of training on; dies (or `does`) before call number `last`.

    A call is one of a function of the package, or of a builtin function from within it: a tensor
    operation, writing, fsync, rename. So the moments lie inside steps, evaluations, checkpoints and
    records alike.
    """

    def __init__(self, last: int, does: Callable[[], object] = die) -> None:
        self.last, self.does = last, does
        self.count = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_call") and "/reid_lab/" in frame.f_code.co_filename:
            self.count += 1
            if self.count == self.last:
                self.does()


def nothing(said: Path) -> None:
    """The run is not disturbed."""


def counted(said: Path) -> None:
    """Not disturbed either; the number of calls until the test is done is written beside what the command said."""
    calls = Calls(0)
    _when_training_begins(lambda: sys.setprofile(calls))
    from reid_lab import experiment

    test = experiment._test

    def tested(*arguments: Any) -> None:
        test(*arguments)
        sys.setprofile(None)
        said.with_suffix(".calls").write_text(str(calls.count))

    experiment._test = tested


def at_call(number: int, said: Path) -> None:
    """Killed before call `number`, counted from the beginning of training."""
    _when_training_begins(lambda: sys.setprofile(Calls(number)))


def while_writing(number: int, share: float, said: Path) -> None:
    """Killed when that share of checkpoint file `number` is written."""
    from reid_lab.engine import checkpoint

    save, calls = checkpoint.save_file, []

    def half(tensors: Any, path: Path, metadata: Any) -> None:
        save(tensors, path, metadata)
        calls.append(path)
        if len(calls) == number:
            os.truncate(path, int(share * path.stat().st_size))
            die()

    checkpoint.save_file = half


def after(number: int, seconds: float, said: Path) -> None:
    """Killed by the clock, so long after call `number`, wherever that is: in C code, too."""

    def clock() -> None:
        time.sleep(seconds)
        die()

    _when_training_begins(lambda: sys.setprofile(Calls(number, threading.Thread(target=clock, daemon=True).start)))


def _when_training_begins(start: Callable[[], object]) -> None:
    from reid_lab import experiment

    fit = experiment.fit

    def begun(*arguments: Any, **options: Any) -> Any:
        start()
        return fit(*arguments, **options)

    experiment.fit = begun


def _child(arguments: Sequence[str], cache: Path, said: Path, prepare: Callable[[Path], None]) -> None:
    os.environ.update(REID_LAB_CACHE=str(cache))
    from reid_lab import cli

    with said.open("w", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        prepare(said)
        cli.main(arguments)


def command(arguments: Sequence[str], cache: Path, said: Path, prepare: Callable[[Path], None] = nothing) -> int:
    """`reid-lab ARGUMENTS`; its exit code, negative after a signal."""
    process = SERVER.Process(target=_child, args=(list(arguments), cache, said, prepare))
    process.start()
    process.join(300)
    if process.is_alive():
        process.kill()
        raise TimeoutError(said.read_text())
    code = process.exitcode
    assert code is not None
    return code


def moments(count: int, calls: int, files: int, seed: int) -> list[tuple[str, tuple[float, ...]]]:
    """Random moments of a run with so many calls and checkpoint files; a fixed seed fixes them."""
    draw = random.Random(seed)
    found: list[tuple[str, tuple[float, ...]]] = []
    for number in range(count):
        kind = ("at_call", "at_call", "at_call", "while_writing", "after")[number % 5]
        if kind == "at_call":
            found.append((kind, (draw.randint(1, calls),)))
        elif kind == "while_writing":
            found.append((kind, (draw.randint(1, files), draw.random())))
        else:
            found.append((kind, (draw.randint(1, int(0.7 * calls)), draw.uniform(0, 0.02))))
    return found
