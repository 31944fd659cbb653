"""What single queries say of a metric, summed up by identity.

A run's `results/test.npz` tells what each query found. A metric is a mean over its valid queries, so that a query's
share is its value; the shares of a person's queries are summed, since they are no independent evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from reid_lab.data.omni import AVERAGES
from reid_lab.errors import Fault, RunError, unknown
from reid_lab.report.reading import Run, full_name
from reid_lab.tracking.runs import RunFolder

Array = NDArray[np.float64]
_Part = tuple[NDArray[np.int64], Array]
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


def cmc(run: Run, ranks: Sequence[int], task: str = "") -> Array | None:
    """The percentage of queries that find their person among the first k, for each k of `ranks`.

    task: one of the protocol's; empty for what the protocol reports as a whole. None where a run kept no queries, or
    where they do not explain every `R1`, `R5`, … that its journal holds.
    """
    head = f"test/{task}/" if task else "test/"
    recorded = [name for name in run.metrics if name.startswith(f"{head}R") and name[len(head) + 1 :].isdecimal()]
    columns = kept(run.folder)
    if columns is None or not recorded:
        return None
    for weights in _sums(task, tasks_of(columns)):
        if all(_explains(run, columns, weights, metric) is not None for metric in recorded):
            rates = [_combined(columns, weights, f"R{rank}") for rank in ranks]
            return np.array([np.nan if rate is None else rate[0].mean() for rate in rates])
    return None


@final
@dataclass(frozen=True)
class Queries:
    """The valid queries of a task: whom each shows and its moment, its average precision in [0, 1], its first hit.

    All (n,); a gallery that was drawn several times is averaged; first_hit: the rank from 1, 0 without a match.
    """

    pids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    ap: Array
    first_hit: Array

    def same(self, other: Queries) -> bool:
        """Whether both are about the same queries, in the same order."""
        return np.array_equal(self.pids, other.pids) and np.array_equal(self.image_ids, other.image_ids)


def per_query(run: Run, task: str = "") -> Queries:
    """What each test query of a task found; empty: the protocol's only task.

    Raises `RunError` where the run kept none, and for a task that is not there.
    """
    columns = kept(run.folder)
    if columns is None:
        raise RunError(Fault("kept no per-query results (results/test.npz)", run.run_id))
    tasks = tasks_of(columns)
    if task not in tasks:
        what = unknown("task", task, tasks) if task else f"has several tasks, name one: {', '.join(tasks)}"
        raise RunError(Fault(f"has one task, and no '{task}'" if tasks == [""] else what, run.run_id))
    column = {name: columns[f"{task}/{name}" if task else name] for name in ("pids", "image_ids", "ap", "first_hit")}
    valid = np.asarray(columns[f"{task}/valid" if task else "valid"], dtype=bool)
    shared = valid.all(axis=0) if valid.ndim > 1 else valid

    def mean(name: str) -> Array:
        values = np.asarray(column[name], dtype=float)
        return (values.mean(axis=0) if values.ndim > 1 else values)[shared]

    pids, moments = (np.asarray(column[name]).astype(np.int64)[shared] for name in ("pids", "image_ids"))
    return Queries(pids, moments, mean("ap"), mean("first_hit"))


def kept(folder: RunFolder) -> dict[str, NDArray[Any]] | None:
    """The columns of `results/test.npz`, all queries of all tasks; None where the run kept none.

    Raises `RunError` for a damaged file.
    """
    try:
        with np.load(folder.results / "test.npz", allow_pickle=False) as columns:
            return {key: columns[key] for key in columns.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise RunError(Fault(f"results/test.npz cannot be read ({error})", folder.run_id)) from error


def tasks_of(columns: Iterable[str]) -> list[str]:
    """The names of the tasks, in alphabetic order; the only task of a protocol has none."""
    return sorted(key.removesuffix("pids").removesuffix("/") for key in columns if key.endswith("pids"))


def _shares(run: Run, metric: str) -> tuple[Array, tuple[bytes, ...]] | None:
    split, _, name = metric.partition("/")
    head, _, last = name.rpartition("/")
    columns = kept(run.folder) if split == "test" and _needed(last) else None
    if columns is not None:
        for weights in _sums(head, tasks_of(columns)):
            found = _explains(run, columns, weights, metric)
            if found is not None:
                return found
    return None


def _explains(
    run: Run, columns: Mapping[str, NDArray[np.generic]], weights: Mapping[str, float], metric: str
) -> tuple[Array, tuple[bytes, ...]] | None:
    """The shares of a metric if these weights give it: a protocol may sum its tasks up otherwise."""
    found = _combined(columns, weights, metric.rpartition("/")[2])
    explained = found is not None and np.isclose(found[0].mean(), run.metrics[metric], rtol=1e-9, atol=1e-9)
    return found if explained else None


def _combined(
    columns: Mapping[str, NDArray[np.generic]], weights: Mapping[str, float], last: str
) -> tuple[Array, tuple[bytes, ...]] | None:
    """Each identity's share of `R1`, `mAP`, … of tasks summed up so, and the queries that it is about."""
    parts = {}
    for task in weights:
        prefix = f"{task}/" if task else ""
        parts[task] = _of_task({key: columns[prefix + key] for key in _needed(last)}, last)
    found = _weighted(parts, weights)
    return None if found is None else (found, tuple(part[0].tobytes() for part in parts.values() if part is not None))


def _sums(head: str, tasks: Sequence[str]) -> Iterator[Mapping[str, float]]:
    """The weights of tasks by which protocols sum up a metric (`head` of `head/mAP`; empty for the bare one)."""
    if head in tasks:
        yield {head: 1.0}
        return
    averages = {name: [kind for kind in kinds if kind in tasks] for name, kinds in AVERAGES.items()}
    averages = {name: kinds for name, kinds in averages.items() if kinds}
    if head in averages:
        yield {kind: 1 / len(averages[head]) for kind in averages[head]}
    elif not head:
        yield {task: 1 / len(tasks) for task in tasks}
        yield {kind: 1 / (len(kinds) * len(averages)) for kinds in averages.values() for kind in kinds}
        yield from ({task: 1.0} for task in tasks if task == "CC")  # the task that clothes_changing reports bare


def _weighted(parts: Mapping[str, _Part | None], weights: Mapping[str, float]) -> Array | None:
    """Each identity's share of a weighted mean of tasks, scaled to the mean."""
    known = {task: part for task, part in parts.items() if part is not None}
    if not known or len(known) < len(parts):
        return None
    people = np.unique(np.concatenate([pids for pids, _ in known.values()]))
    shares = np.zeros(len(people))
    for task, (pids, values) in known.items():
        np.add.at(shares, np.searchsorted(people, pids), values * (weights[task] / len(values)))
    return shares * len(people)


def _needed(metric: str) -> tuple[str, ...]:
    if metric in _COLUMNS:
        return ("pids", "valid", _COLUMNS[metric])
    return ("pids", "valid", "first_hit") if metric[:1] == "R" and metric[1:].isdecimal() else ()


def _of_task(columns: Mapping[str, NDArray[np.generic]], metric: str) -> _Part | None:
    """Each valid query's identity and value in percent; a gallery drawn several times is averaged."""
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
