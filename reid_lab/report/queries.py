"""What single queries say of a metric, summed up by identity.

A run's `results/test.npz` tells what each query found. A metric is a mean over its valid queries, so that a query's
share is its value; the shares of a person's queries are summed, since they are no independent evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid_lab.report.reading import Run, full_name

Array = NDArray[np.float64]
_COLUMNS = {"mAP": "ap", "mINP": "inp"}


def by_identity(runs: Sequence[Run], metric: str) -> tuple[Array, tuple[bytes, ...]] | None:
    """What each identity adds to a metric, (runs, identities), scaled so that a row's mean is the metric.

    Besides the queries that it is about: two results can be compared identity by identity when these are equal. None
    where a run kept no such queries, or where its metric is no mean over them.
    """
    rows, about = [], set[tuple[bytes, ...]]()
    for run in runs:
        found = _shares(run, full_name(metric))
        if found is None:
            return None
        rows.append(found[0])
        about.add(found[1])
    if len(about) != 1 or not rows:
        return None
    return np.stack(rows), about.pop()


def _shares(run: Run, metric: str) -> tuple[Array, tuple[bytes, ...]] | None:
    kept = run.folder.results / "test.npz"
    split, _, name = metric.partition("/")
    if split != "test" or not kept.is_file():
        return None
    with np.load(kept, allow_pickle=False) as columns:
        tasks = sorted(key.removesuffix("pids") for key in columns.files if key.endswith("pids"))
        head, slash, last = name.rpartition("/")
        wanted = [head + slash] if head + slash in tasks else tasks if not head else []
        parts = [_of_task({key: columns[f"{task}{key}"] for key in _needed(last)}, last) for task in wanted]
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    people = np.unique(np.concatenate([pids for pids, _ in known]))
    shares = np.zeros(len(people))
    for pids, values in known:
        np.add.at(shares, np.searchsorted(people, pids), values / (len(values) * len(known)))
    # A protocol may sum its tasks up otherwise (`omni` averages averages): then its queries do not explain the metric.
    if not np.isclose(shares.sum(), run.metrics[metric], rtol=1e-9, atol=1e-9):
        return None
    return shares * len(people), tuple(pids.tobytes() for pids, _ in known)


def _needed(metric: str) -> tuple[str, ...]:
    if metric in _COLUMNS:
        return ("pids", "valid", _COLUMNS[metric])
    return ("pids", "valid", "first_hit") if metric[:1] == "R" and metric[1:].isdecimal() else ()


def _of_task(columns: dict[str, NDArray[np.generic]], metric: str) -> tuple[NDArray[np.int64], Array] | None:
    """Each valid query's identity and value in percent; a gallery drawn several times is averaged."""
    if not columns:
        return None
    valid = np.asarray(columns["valid"], dtype=bool)
    if valid.ndim > 1:
        if not (valid == valid[0]).all():
            return None
        valid = valid[0]
    if metric in _COLUMNS:
        values = np.asarray(columns[_COLUMNS[metric]], dtype=float)
    else:
        first = np.asarray(columns["first_hit"])
        values = ((first > 0) & (first <= int(metric[1:]))).astype(float)
    values = values.mean(axis=0) if values.ndim > 1 else values
    return np.asarray(columns["pids"])[valid].astype(np.int64), 100 * values[valid]
