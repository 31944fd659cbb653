"""Whether two journals hold the same results: bit for bit on a CPU, within a tolerance on a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from reid_lab.reproducing.differences import shown
from reid_lab.tracking.records import NUMBERS, RESULTS, encode, packed, read

Key = tuple[str, str, int]
_NUMBERED = NUMBERS & RESULTS
INPUTS = {"param", "input"}
_DIGESTS = ("checkpoint", "final")
"""Kinds whose values are digests: on a GPU, bits differ and they say nothing."""


@final
@dataclass(frozen=True)
class Verdict:
    """What the comparison of two journals found.

    compared: records of the run by kind. first: the first that differs, in the order of the run's journal; empty where
    none does. differing: how many. largest: the largest relative difference of a number, 0 where all bits are equal.
    """

    compared: Mapping[str, int]
    first: str
    differing: int
    largest: float

    @property
    def proven(self) -> bool:
        """Whether the replay found what the run had recorded, and nothing else."""
        return not self.first

    @property
    def counted(self) -> str:
        """`62 loss, 5 val, …`."""
        return ", ".join(f"{count} {kind}" for kind, count in self.compared.items())


def compare(run: Path, replay: Path, *, tolerance: float | None = None) -> Verdict:
    """Compares the results of two journals; parameters and data are inputs, and compared as such.

    tolerance: the largest relative difference of a number that counts as the same, its size taken as 1 where it is
    smaller; None: bits are compared. Raises `RunError` on a damaged journal.
    """
    before, after = _results(run), _results(replay)
    compared: dict[str, int] = {}
    faults, largest = list[str](), 0.0
    for key, value in before.items():
        kind = key[0]
        compared[kind] = compared.get(kind, 0) + 1
        if key not in after:
            faults.append(f"{_named(key)}: recorded {shown(value)}; the replay has no such record")
            continue
        other = after[key]
        if encode(packed(value)) == encode(packed(other)):
            continue
        gap = _gap(kind, value, other)
        largest = max(largest, gap if math.isfinite(gap) else 0.0)
        if tolerance is None or not (gap <= tolerance or kind in _DIGESTS):
            faults.append(f"{_named(key)}: recorded {shown(value)}, replayed {shown(other)}")
    new = [key for key in after if key not in before]
    faults += [f"{_named(key)}: replayed {shown(after[key])}; the run has no such record" for key in new]
    if not before:
        faults.append("the run recorded no result that could be compared")
    return Verdict(compared, faults[0] if faults else "", len(faults), largest)


def _results(journal: Path) -> dict[Key, Any]:
    return {(r.kind, r.name, r.step): r.value for r in _records(journal)}


def _records(journal: Path) -> Iterator[Any]:
    return (record for record, _ in read(journal) if record.kind in RESULTS - INPUTS)


def _named(key: Key) -> str:
    kind, name, step = key
    return f"{name} at step {step}" if name.startswith(f"{kind}/") else f"{kind} {name} at step {step}"


def _gap(kind: str, value: Any, other: Any) -> float:
    if kind not in _NUMBERED or isinstance(value, bool) or not isinstance(value, int | float):
        return math.inf
    if not isinstance(other, int | float) or not (math.isfinite(value) and math.isfinite(other)):
        return math.inf
    return abs(value - other) / max(1.0, abs(value))
