"""What a kind of figure is, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

from reid_lab.errors import UserError, unknown
from reid_lab.report.comparison import Comparison, compare
from reid_lab.report.groups import Group
from reid_lab.report.reading import Run

if TYPE_CHECKING:  # matplotlib is imported when something is drawn
    from reid_lab.report.figures.style import Drawn


ENDINGS = (".png", ".pdf", ".csv")
"""Of the files of a figure."""


@final
class Lacking(UserError):
    """The runs do not hold what a kind of figure is drawn from."""


@final
@dataclass(frozen=True)
class Asked:
    """What is to be drawn.

    runs: the folder of runs. groups: of finished runs, or of the trials of a study's arms. metrics, baseline: as in
    `compare`; empty where nothing was said. options: of this kind, as text. told: what the selection left out.
    """

    runs: Path
    groups: tuple[Group, ...]
    metrics: tuple[str, ...] = ()
    baseline: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    def compared(self, metrics: Sequence[str] = ()) -> Comparison:
        """The groups side by side in these metrics; by default those asked for, or those of `compare`.

        Raises `UserError` for groups that cannot be compared, as `compare` does.
        """
        return compare(self.groups, metrics=metrics or self.metrics, baseline=self.baseline)

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs of all groups."""
        return tuple(run for group in self.groups for run in group.runs)

    def number(self, option: str, default: int) -> int:
        """An option that is a whole number from 1."""
        text = self.options.get(option, str(default))
        if not text.isdecimal() or int(text) < 1:
            raise UserError(f"--with {option}={text}: a whole number from 1 is needed")
        return int(text)


Draw = Callable[[Asked], "Drawn"]


@final
@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    what: what it shows. needs: what the runs must hold. load: imports and returns the function that draws it.
    of: what a selection chooses: finished `runs`, or the `trials` of studies.
    options: names that `--with NAME=VALUE` takes -> what they mean, with the default.
    weights: whether it reads weights or data; then it takes time, and `verify` cannot recompute it from journals.
    of_test: whether its metrics are those of a table, measured once on test.
    """

    what: str
    needs: str
    load: Callable[[], Draw]
    of: Literal["runs", "trials"] = "runs"
    options: Mapping[str, str] = field(default_factory=dict)
    weights: bool = False
    of_test: bool = True

    def check(self, options: Mapping[str, str]) -> None:
        """Raises `UserError` for options that the kind does not have."""
        faults = [unknown("option", name, self.options or ("none",)) for name in options if name not in self.options]
        if faults:
            raise UserError(*faults)
