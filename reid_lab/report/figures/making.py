"""From a selection to a figure and what it was made from, and back: its data recomputed from the runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid_lab.errors import UserError, unknown
from reid_lab.report.document import groups_of, origin
from reid_lab.report.figures import KINDS
from reid_lab.report.figures.kind import Asked, Kind
from reid_lab.report.reading import Run, full_name
from reid_lab.report.selection import select
from reid_lab.report.trials import trials_of

if TYPE_CHECKING:
    from reid_lab.report.figures.style import Drawn


def ask(
    kind: Kind,
    words: Sequence[str],
    runs: Path,
    *,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    by: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
) -> Asked:
    """What is asked of a kind. Raises `UserError` for a selection of nothing and for options it does not have."""
    given = dict(options or {})
    kind.check(given)
    if kind.of == "runs":
        groups, told = select(words, runs, by=tuple(by))
    else:
        groups, told, objective = trials_of(words, runs)
        metrics = tuple(metrics) or ((objective,) if objective else ())
    if baseline is not None and baseline not in (names := [group.name for group in groups]):
        raise UserError(unknown("baseline", baseline, names))
    return Asked(runs, tuple(groups), tuple(metrics), baseline, given, tuple(told))


def made(name: str, kind: Kind, asked: Asked, command: str | None = None) -> tuple[Drawn, dict[str, Any]]:
    """The figure, and the facts of its manifest. command: that made it; by default that of this process."""
    drawn = kind.load()(asked)
    how = {
        "kind": name,
        "metrics": list(asked.metrics),
        "baseline": asked.baseline,
        "options": dict(asked.options),
        "told": list(asked.told),
        "recomputed": not kind.weights,
    }
    return drawn, {**origin(asked.groups, lambda run: _measured(run, asked.metrics), command), "figure": how}


def _measured(run: Run, metrics: Sequence[str]) -> dict[str, float]:
    found = {full_name(metric): run.metrics.get(full_name(metric), math.nan) for metric in metrics}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def recomputed(facts: Mapping[str, Any], runs: Path) -> tuple[Asked, Drawn]:
    """A figure of `KINDS` drawn again as its manifest tells, its runs read anew."""
    how = facts["figure"]
    asked = Asked(
        runs,
        groups_of(facts, runs),
        tuple(how["metrics"]),
        how["baseline"],
        dict(how["options"]),
        tuple(how["told"]),
    )
    return asked, KINDS[how["kind"]].load()(asked)
