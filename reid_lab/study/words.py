"""How a study's numbers are said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """A curve in a word: the least value is the lowest bar, the greatest the highest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span = high - low or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in values)


def duration(seconds: float) -> str:
    """`4 min`, `2 h 5 min`, `35 s`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def left(state: Mapping[str, Any]) -> tuple[int, int]:
    """Jobs that are done and jobs in all: trials (their target), and cells."""
    trials = [arm["trials"] for arm in state["arms"]]
    done = sum(min(t["complete"] + t["pruned"], t["target"]) for t in trials)
    cells = sum(sum(cell is not None for cell in arm["cells"].values()) for arm in state["arms"])
    total = sum(t["target"] for t in trials) + len(state["seeds"]) * len(state["arms"])
    return done + cells, total
