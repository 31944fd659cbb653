"""What a person sees while a run goes on: a progress bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from reid_lab.engine.plan import FitResult

METRICS = ("R1", "R5", "R10", "mAP", "mINP")


def stdout() -> Console:
    """The console for results; wide enough for paths where it is no terminal."""
    return Console(soft_wrap=True, highlight=False)


def metrics_line(metrics: Mapping[str, float]) -> str:
    """`R1 41.2  R5 …`, the metrics that there are, in the usual order."""
    return "  ".join(f"{name} {metrics[name]:.2f}" for name in METRICS if name in metrics)


def _losses(losses: Mapping[str, float]) -> str:
    total = losses.get("total", math.nan)
    terms = " ".join(f"{name} {value:.3f}" for name, value in losses.items() if name != "total")
    return f"loss {total:.3f}" + (f" ({terms})" if terms else "")


def reporter(console: Console, split: str) -> Bar | Lines:
    """The watcher that fits the console; close it when training has ended, in whatever way.

    split: what is evaluated during training, `val` or `test`.
    """
    return Bar(console, split) if console.is_terminal else Lines(split)


@final
class Bar:
    """A progress bar with losses, throughput and time left; evaluations scroll above it."""

    def __init__(self, console: Console, split: str) -> None:
        self._console, self._split = console, split
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("train", total=None, facts="")

    def start(self, done: int, total: int) -> None:
        """Shows the bar."""
        self._bar.update(self._task, completed=done, total=total)
        self._bar.start()

    def stage(self, name: str, step: int, trainable: int) -> None:
        """Names the stage."""
        self._bar.update(self._task, description=name)
        self._console.print(f"stage {name}: {trainable:,} trainable parameters")

    def step(self, step: int, losses: Mapping[str, float], samples_per_second: float) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=step, facts=f"{_losses(losses)}  {samples_per_second:.0f}/s")

    def evaluation(self, step: int, metrics: Mapping[str, float], best: bool) -> None:
        """A line above the bar."""
        self._console.print(f"step {step:>6}  {self._split}  {metrics_line(metrics)}{'  *' if best else ''}")

    def checkpoint(self, step: int, path: Path) -> None:
        """Nothing to see."""

    def finish(self, result: FitResult) -> None:
        """Takes the bar away."""
        self._bar.stop()

    def close(self) -> None:
        """Takes the bar away after an error."""
        self._bar.stop()


@final
class Lines:
    """Plain lines on stderr: at most one every `period` seconds while training, one for each evaluation."""

    def __init__(self, split: str, period: float = 5.0) -> None:
        self._split = split
        self._period = period
        self._last = time.monotonic()
        self._begin = self._last
        self._first = 0
        self._total = 0

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    def start(self, done: int, total: int) -> None:
        """Says where training begins."""
        self._first, self._total = done, total
        self._begin = self._last = time.monotonic()
        self._line(f"training: {total} steps" + (f", resumed after {done}" if done else ""))

    def stage(self, name: str, step: int, trainable: int) -> None:
        """Names the stage."""
        self._line(f"stage {name}: {trainable:,} trainable parameters")

    def step(self, step: int, losses: Mapping[str, float], samples_per_second: float) -> None:
        """A line now and then."""
        now = time.monotonic()
        if now - self._last < self._period:
            return
        self._last = now
        left = (now - self._begin) / max(1, step - self._first) * (self._total - step)
        self._line(f"step {step}/{self._total}  {_losses(losses)}  {samples_per_second:.0f}/s  {left:.0f} s left")

    def evaluation(self, step: int, metrics: Mapping[str, float], best: bool) -> None:
        """A line for each evaluation."""
        self._line(f"step {step}/{self._total}  {self._split}  {metrics_line(metrics)}{'  *' if best else ''}")

    def checkpoint(self, step: int, path: Path) -> None:
        """Nothing to see."""

    def finish(self, result: FitResult) -> None:
        """Nothing to see: the final table follows."""

    def close(self) -> None:
        """Nothing to close."""


def metrics_table(rows: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """One row per split, one column per metric, in percent; below, a row for each task of a protocol (`CC/mAP`)."""
    rows = {name: row for split, metrics in rows.items() for name, row in _by_task(split, metrics).items()}
    table = Table(title=title, title_justify="left")
    table.add_column("")
    shown = [name for name in METRICS if any(name in row for row in rows.values())]
    for name in shown:
        table.add_column(name, justify="right")
    for split, row in rows.items():
        table.add_row(split, *(f"{row[name]:.2f}" if name in row else "" for name in shown))
    return table


def _by_task(split: str, metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The bare metrics under the split's name, those of each task under the task's, in the order given."""
    rows: dict[str, dict[str, float]] = {split: {}}
    for name, value in metrics.items():
        task, _, metric = name.rpartition("/")
        rows.setdefault(f"{split}  {task}" if task else split, {})[metric] = value
    return rows


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that (done, in all) moves; nothing where stderr is no terminal."""
    bar = Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    )
    if not bar.console.is_terminal:
        yield lambda done, total: None
        return
    with bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
