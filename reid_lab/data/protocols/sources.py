"""Merged data sets: each source is measured by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import final

import numpy as np

from reid_lab.data.items import ABSENT, Dataset, Groups
from reid_lab.data.protocols.base import Options, Protocol, Retrieval, flat, mean_of
from reid_lab.data.splits import View
from reid_lab.errors import DataError


@final
class BySource(Protocol):
    """A protocol over every source of a merged data set: a query meets the gallery of its own source only.

    Tasks are named `source/task`; the metrics of a source stand under `source/`, and their means over the
    sources bare. The protocol inside knows nothing of sources; a data set that is not merged is handed on.
    """

    def __init__(self, inner: Protocol) -> None:
        self.inner, self.doc = inner, inner.doc

    def tasks(self, dataset: Dataset, split: str, options: Options) -> tuple[Retrieval, ...]:
        """The tasks of every source that has items in the split, source by source."""
        items = dataset.items
        if len(np.unique(items.source)) < 2:
            return self.inner.tasks(dataset, split, options)
        names = tuple(dataset.sources)
        made: list[Retrieval] = []
        for number in np.unique(items.source[items.split == split]).tolist():
            name = names[number] if number < len(names) else str(number)
            keep = np.flatnonzero(items.source == number)
            part = View(dataset, items.take(keep), keep, dataset.digest)
            try:
                own = self.inner.tasks(part, split, options)
            except DataError as error:
                raise DataError(*(replace(f, what=f"{name}: {f.what}") for f in error.faults)) from error
            made += [
                replace(
                    task,
                    name=f"{name}/{task.name}",
                    queries=_renumbered(task.queries, keep),
                    gallery=_renumbered(task.gallery, keep),
                )
                for task in own
            ]
        return tuple(made)

    def given(self, queries: Groups, gallery: Groups, options: Options) -> tuple[Retrieval, ...]:
        """Those of the protocol inside."""
        return self.inner.given(queries, gallery, options)

    def summary(self, rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """As the class says."""
        parts: dict[str, dict[str, Mapping[str, float]]] = {}
        for name, row in rows.items():
            source, slash, task = name.partition("/")
            if not slash:
                return self.inner.summary(rows)
            parts.setdefault(source, {})[task] = row
        sums = {source: self.inner.summary(part) for source, part in parts.items()}
        shared = set.intersection(*map(set, sums.values()))
        bare = [{k: v for k, v in row.items() if k in shared and "/" not in k} for row in sums.values()]
        return {**mean_of(bare), **flat(sums)}


def _renumbered(groups: Groups, keep: np.ndarray) -> Groups:
    """Groups of a source's items with the numbers that these have in the whole table."""
    whole = np.append(keep, ABSENT)  # the last place serves ABSENT
    return replace(groups, members={role: whole[column] for role, column in groups.members.items()})
