"""What protocols agree on: the retrieval task, what may be asked of a protocol, and the protocol itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from reid_lab.data.items import Dataset, Groups
from reid_lab.data.protocols.rules import Rule
from reid_lab.metrics.retrieval import NoMatch


@dataclass(frozen=True)
class Retrieval:
    """One retrieval task: every query group ranks all gallery groups.

    name: of its row in tables. no_match: a query without a correct gallery item is skipped, counted as a
    miss (`zero`), or an error. draws: for galleries that are drawn several times, the numbers of the
    gallery groups of each draw, ascending; metrics are means over the draws. Empty: the whole gallery, once.
    notes: what a result must tell besides, a sentence each.
    """

    name: str
    queries: Groups
    gallery: Groups
    rule: Rule
    no_match: NoMatch
    draws: tuple[np.ndarray, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def removed(self) -> str:
        """What is taken out of a query's ranking, in words."""
        return self.rule.words


@dataclass(frozen=True)
class Shots:
    """A gallery of `shots` images of each identity (in each camera, where cameras are known), drawn `trials` times."""

    shots: int
    trials: int
    seed: int


@dataclass(frozen=True)
class Dropped:
    """Modalities that are missing at test time: each named role is absent from a `share` of the groups of a side."""

    roles: tuple[str, ...]
    share: float
    side: str  # query, gallery or both
    seed: int


@dataclass(frozen=True)
class Options:
    """What an experiment may ask of a protocol; None: as the protocol's authors do it.

    queries: roles that ask. gallery: the role that answers. removed: a name of `RULES`.
    """

    queries: tuple[str, ...] | None = None
    gallery: str | None = None
    removed: str | None = None
    no_match: NoMatch | None = None
    shots: Shots | None = None
    dropped: Dropped | None = None


class Protocol(ABC):
    """Cuts a split into queries and gallery."""

    doc: str

    @abstractmethod
    def tasks(self, dataset: Dataset, split: str, options: Options) -> tuple[Retrieval, ...]:
        """The retrieval tasks of a split, in the order of tables; raises `DataError` when it cannot serve them."""

    @abstractmethod
    def given(self, queries: Groups, gallery: Groups, options: Options) -> tuple[Retrieval, ...]:
        """The tasks over queries and a gallery that are cut already (features of other code); raises `DataError`.

        What is not known of the groups is -1, `image_ids` too: both sides number the moments alike or not at all.
        """

    def summary(self, rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """All metrics under flat names: those of a single task bare; of several `task/metric`, and means of them bare.

        rows: task -> metric -> value, in the order of the tasks.
        """
        if len(rows) == 1:
            return dict(*rows.values())
        return {**mean_of(rows.values()), **flat(rows)}


def flat(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Every metric of every row as `row/metric`."""
    return {f"{name}/{metric}": value for name, row in rows.items() for metric, value in row.items()}


def mean_of(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The unweighted mean of every metric of rows that have the same ones."""
    listed = list(rows)
    return {name: float(np.mean([row[name] for row in listed])) for name in listed[0]}
