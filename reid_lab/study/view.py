"""What a person sees while a study goes on: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from reid_lab.study.jobs import Job, Outcome
from reid_lab.study.words import duration, left, sparkline


class View(ABC):
    """Is told what happens in a study."""

    @abstractmethod
    def started(self, job: Job) -> None:
        """A job begins, or goes on."""

    @abstractmethod
    def evaluated(self, job: Job, ordinal: int, value: float) -> None:
        """A job was evaluated on val."""

    @abstractmethod
    def ended(self, job: Job, outcome: Outcome) -> None:
        """A job ended."""

    @abstractmethod
    def progress(self, state: Mapping[str, Any]) -> None:
        """The study stands so."""

    def waiting(self, trials: int) -> None:
        """Nothing is left to do here while other processes compute so many trials."""
        return

    def close(self) -> None:
        """The driver leaves."""
        return


@final
class Nothing(View):
    """Shows nothing."""

    def started(self, job: Job) -> None:
        """See `View`."""

    def evaluated(self, job: Job, ordinal: int, value: float) -> None:
        """See `View`."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """See `View`."""

    def progress(self, state: Mapping[str, Any]) -> None:
        """See `View`."""


def view() -> View:
    """The view that fits the terminal."""
    console = Console(file=sys.stderr)
    return Screen(console) if console.is_terminal else Lines()


@final
class Lines(View):
    """A line on stderr for each job that ends."""

    def __init__(self) -> None:
        self._out = sys.stderr  # jobs turn sys.stderr to their logs meanwhile
        self._begun: dict[str, float] = {}
        self._awaited = -1
        self._curves: dict[str, list[float]] = {}

    def started(self, job: Job) -> None:
        """See `View`."""
        self._begun[job.name] = time.monotonic()
        self._curves[job.name] = []

    def evaluated(self, job: Job, ordinal: int, value: float) -> None:
        """See `View`."""
        self._curves.setdefault(job.name, []).append(value)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """See `View`."""
        seconds = time.monotonic() - self._begun.get(job.name, time.monotonic())
        self._say(f"{told(job, outcome, self._curves.pop(job.name, []))}  {duration(seconds)}")

    def progress(self, state: Mapping[str, Any]) -> None:
        """See `View`."""
        done, total = left(state)
        self._say(f"{done} of {total} done")

    def waiting(self, trials: int) -> None:
        """See `View`."""
        if trials != self._awaited:
            self._awaited = trials
            self._say(awaited(trials))

    def _say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


def awaited(trials: int) -> str:
    """What a driver waits for, in a line."""
    return f"waiting for {trials} {'trial' if trials == 1 else 'trials'} of another process"


def told(job: Job, outcome: Outcome, curve: Sequence[float]) -> str:
    """What came of a job, in a line."""
    words = {"complete": "", "busy": "is another process's", "pruned": "pruned", "failed": f"failed: {outcome.cause}"}
    last = [value for value in curve if not math.isnan(value)]
    found = f"{max(last):.2f} {sparkline(last)}" if last else ""
    return "  ".join(part for part in (job.name, words[outcome.state], found, outcome.deviation) if part)


@final
class Screen(View):
    """A bar, the best so far, the running jobs with their curves, and the time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("study"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._bar.add_task("study", total=None, left="")
        self._curves: dict[str, list[float]] = {}
        self._best = ""
        self._begun = time.monotonic()
        self._first: int | None = None
        self._live = Live(
            self._page(), console=console, refresh_per_second=4, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def _page(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for name, curve in self._curves.items():
            table.add_row("running", name, sparkline(curve), f"{curve[-1]:.2f}" if curve else "")
        return Group(table, Text(self._best), self._bar)

    def _refresh(self) -> None:
        self._live.update(self._page())

    def started(self, job: Job) -> None:
        """See `View`."""
        self._curves[job.name] = []
        self._refresh()

    def evaluated(self, job: Job, ordinal: int, value: float) -> None:
        """See `View`."""
        if not math.isnan(value):
            self._curves.setdefault(job.name, []).append(value)
        self._refresh()

    def ended(self, job: Job, outcome: Outcome) -> None:
        """See `View`."""
        self._console.print(told(job, outcome, self._curves.pop(job.name, [])), highlight=False, markup=False)
        self._refresh()

    def progress(self, state: Mapping[str, Any]) -> None:
        """See `View`."""
        done, total = left(state)
        if self._first is None:
            self._first = done - 1
        each = (time.monotonic() - self._begun) / max(1, done - self._first)
        self._bar.update(self._task, completed=done, total=total, left=f"{duration(each * (total - done))} left")
        best = [(arm["best"]["scores"][0], arm["name"], arm["best"]["trial"]) for arm in state["arms"] if arm["best"]]
        self._best = "  ".join(f"best of {arm}: {value:.2f} (trial {trial})" for value, arm, trial in best)
        self._refresh()

    def waiting(self, trials: int) -> None:
        """See `View`."""
        self._best = awaited(trials)
        self._refresh()

    def close(self) -> None:
        """See `View`."""
        self._live.stop()
