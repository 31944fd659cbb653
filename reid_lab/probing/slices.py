"""Slices of a test: the metrics of the queries that have something in common, and two runs compared on each.

Intervals and p-values hold the weights fixed and ask what other people would have given (`report.stats.bootstrap` and
`randomisation`): all queries of a person are drawn together. They say nothing about a training that is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from reid_lab.probing.queries import METRICS, Queries
from reid_lab.report.stats import bootstrap, holm, randomisation, shares

UNKNOWN = "unknown"
CLAIM = "these trained models only: intervals over test people, weights held fixed"


@final
@dataclass(frozen=True)
class Slicing:
    """One way to slice: each slice's name and which queries are in it, (Q,) bool.

    whole: every query is in exactly one slice. Words overlap, and most queries have several.
    """

    name: str
    slices: tuple[tuple[str, NDArray[np.bool_]], ...]
    whole: bool = True


def by_label(name: str, labels: NDArray[Any], names: Mapping[Any, str] | None = None) -> Slicing:
    """A slice for each label (Q,), in their order; integers below 0 are unknown."""
    known: Mapping[Any, str] = names or {}

    def told(value: Any) -> str:
        return UNKNOWN if isinstance(value, np.integer) and value < 0 else known.get(value, str(value))

    return Slicing(name, tuple((told(value), labels == value) for value in np.unique(labels)))


def by_task(queries: Queries) -> list[Slicing]:
    """By modality: what asks, and how many modalities do; nothing where all queries are alike."""
    tasks = list(dict.fromkeys(queries.task.tolist()))
    if len(tasks) < 2:
        return []
    found = [Slicing("modality", tuple((task, queries.task == task) for task in tasks))]
    counts = np.array([task.count("+") + 1 for task in queries.task.tolist()])
    return [by_label("modalities", counts), *found] if len(set(counts.tolist())) > 1 else found


def sliced(
    queries: Queries, slicings: Sequence[Slicing], other: Queries | None = None, *, metric: str = "mAP", seed: int = 0
) -> list[dict[str, Any]]:
    """A row for each slice that has a valid query, first for all of them.

    A row has `slicing`, `slice`, `n` (valid queries), `people`, METRICS in percent, and `interval` of `metric`. With
    the queries of another run: its `metric` as `other`, `difference` (the first less the other), `interval` of that,
    its p-value, and `p_adjusted` over the slices of one slicing (Holm). Queries that count in one run only are in
    neither.
    """
    counts = queries.valid if other is None else queries.valid & other.valid
    every = Slicing("all", (("all queries", np.ones(len(counts), dtype=bool)),))
    rows: list[dict[str, Any]] = []
    for slicing in (every, *slicings):
        here = [_row(slicing, name, mask & counts, queries, other, metric, seed) for name, mask in slicing.slices]
        found = [row for row in here if row is not None]
        if other is not None:
            adjusted = holm([row["p"] for row in found])
            for row, p in zip(found, adjusted.tolist(), strict=True):
                row["p_adjusted"] = p
        rows += found
    return rows


def _row(
    slicing: Slicing,
    name: str,
    mask: NDArray[np.bool_],
    queries: Queries,
    other: Queries | None,
    metric: str,
    seed: int,
) -> dict[str, Any] | None:
    n = int(mask.sum())
    if not n:
        return None
    pids = queries.pids[mask]
    people = len(np.unique(pids))
    row: dict[str, Any] = {"slicing": slicing.name, "slice": name, "n": n, "people": people}
    row |= {key: float(queries.values[key][mask].mean()) for key in METRICS}
    compared = queries.values[metric][mask]
    if other is not None:
        row["other"] = float(other.values[metric][mask].mean())
        compared = compared - other.values[metric][mask]
        row["difference"] = float(compared.mean())
    several = people > 1
    row["interval"] = list(bootstrap(shares(compared, pids, centred=True), seed=seed)) if several else [np.nan] * 2
    if other is not None:
        row["p"] = randomisation(shares(compared, pids), seed=seed) if several else np.nan
    return row
