"""What every query of a run's test found, from the records that the run keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from reid_lab.errors import Fault, RunError
from reid_lab.report.queries import kept
from reid_lab.tracking.runs import RunFolder

Array = NDArray[np.float64]
METRICS = ("mAP", "R1", "R5", "mINP")


@final
@dataclass(frozen=True)
class Queries:
    """The queries of all tasks, one after the other: Q in all.

    task: the name of each query's task, (Q,) str. pids, image_ids: (Q,). values: metric -> (Q,) in percent, the mean
    over the draws of a gallery that was drawn several times. valid: (Q,) whether the query counts.
    """

    task: NDArray[np.str_]
    pids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    values: Mapping[str, Array]
    valid: NDArray[np.bool_]

    def same(self, other: Queries) -> bool:
        """Whether both asked the same, in the same order."""
        return all(
            np.array_equal(a, b)
            for a, b in ((self.task, other.task), (self.pids, other.pids), (self.image_ids, other.image_ids))
        )


def read_queries(folder: RunFolder) -> Queries:
    """The queries of a run's test. Raises `RunError` where it has none, or keeps none."""
    if not folder.finished("test"):
        raise RunError(Fault("has no finished test whose queries could be sliced", folder.run_id))
    columns = kept(folder)
    if columns is None:
        raise RunError(Fault("keeps no results of single queries (results/test.npz)", folder.run_id))
    tasks = [name.removesuffix("pids") for name in columns if name.endswith("pids")]
    return joined([_of_task(columns, prefix) for prefix in tasks])


def of_found(
    task: str, pids: NDArray[np.int64], image_ids: NDArray[np.int64], found: Mapping[str, NDArray[Any]]
) -> Queries:
    """The queries of one task; found: `ap`, `inp` in [0, 1], `first_hit`, `valid`, each (Q,) or (draws, Q)."""
    valid = np.atleast_2d(found["valid"])
    first = np.atleast_2d(found["first_hit"])
    counted = valid.sum(axis=0)
    raw = {
        "mAP": np.atleast_2d(found["ap"]).astype(float),
        "R1": (first == 1).astype(float),
        "R5": ((first > 0) & (first <= 5)).astype(float),
        "mINP": np.atleast_2d(found["inp"]).astype(float),
    }
    values = {name: 100 * (table * valid).sum(axis=0) / np.maximum(counted, 1) for name, table in raw.items()}
    return Queries(np.full(len(pids), task), pids, image_ids, values, counted > 0)


def _of_task(columns: Mapping[str, NDArray[Any]], prefix: str) -> Queries:
    found = {name: columns[prefix + name] for name in ("ap", "inp", "first_hit", "valid")}
    return of_found(prefix.rstrip("/") or "all", columns[f"{prefix}pids"], columns[f"{prefix}image_ids"], found)


def joined(parts: list[Queries]) -> Queries:
    """The queries of several tasks as one table."""
    return Queries(
        np.concatenate([part.task for part in parts]),
        np.concatenate([part.pids for part in parts]).astype(np.int64),
        np.concatenate([part.image_ids for part in parts]).astype(np.int64),
        {name: np.concatenate([part.values[name] for part in parts]) for name in METRICS},
        np.concatenate([part.valid for part in parts]),
    )
