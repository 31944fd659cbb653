"""What captions say alike: seeds, intervals, what was measured."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reid_lab.report import stats
from reid_lab.report.comparison import Comparison
from reid_lab.report.figures.kind import Asked
from reid_lab.report.groups import Group, changes
from reid_lab.report.reading import full_name


def mean_of(values: Any) -> stats.Interval:
    """The mean of values (…, seeds) with its t interval for new training seeds; NaN bounds for one seed.

    Where all seeds are equal, as at the end of a CMC curve, the bounds are the mean: there is nothing to draw.
    """
    values = np.asarray(values, dtype=float)
    found = stats.paired(values, np.zeros_like(values))
    same = (np.ptp(values, axis=-1) == 0) & (values.shape[-1] > 1)
    return replace(found, low=np.where(same, found.mean, found.low), high=np.where(same, found.mean, found.high))


def seeds(groups: Sequence[Group]) -> str:
    """`3 seeds`, or how many of each group."""
    numbers = [len(group.runs) for group in groups]
    if len(set(numbers)) == 1:
        return "1 seed" if numbers[0] == 1 else f"{numbers[0]} seeds"
    return f"{min(numbers)} to {max(numbers)} seeds"


def band(groups: Sequence[Group], what: str = "Band") -> str:
    """What the band or bar around a mean claims; that there is none with a single seed."""
    single = [group.name for group in groups if len(group.runs) == 1]
    none = f"no {what.lower()}; nothing can be concluded about new training seeds"
    if len(single) == len(groups):
        return f"A single seed: {none}."
    told = f"{what}: 95% t interval of the mean over {seeds(groups)}, for new training seeds on these test items."
    return f"{told} {', '.join(single)}: a single seed, {none}." if single else told


def about(asked: Asked, comparison: Comparison | None) -> str:
    """What was measured, on what, and what was left out, as sentences."""
    notes = list(comparison.notes[:1]) if comparison is not None else []
    marks = {mark for line in comparison.lines for mark in line.marks} if comparison is not None else set()
    if "†" in marks:
        notes.append("selected on TEST: the best of several looks, no estimate of anything new")
    if "‡" in marks:
        notes.append("fitted on more than train")
    told = " ".join(f"{note[:1].upper()}{note[1:]}." for note in (*notes, *asked.told))
    return " ".join((*numbered(asked.groups), told))


def numbered(groups: Sequence[Group]) -> list[str]:
    """What a group that is named by a number changes in the first one."""
    first, found = groups[0].runs[0].spec, []
    for group in groups[1:]:
        if "#" in group.name:
            differs = changes(first, group.runs[0].spec)
            more = f" and {len(differs) - 2} more" if len(differs) > 2 else ""
            found.append(f"{group.name}: {'; '.join(textwrap.shorten(one, 60) for one in differs[:2])}{more}.")
    return found


def label(metric: str) -> str:
    """A metric as an axis names it."""
    split, _, name = full_name(metric).partition("/")
    return f"{name}, %" if split == "test" else f"{name} on {split}, %"
