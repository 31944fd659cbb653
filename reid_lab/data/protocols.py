"""Protocols: which items query which gallery, what is removed from it, and what happens without a match.

A protocol cuts a split into one retrieval task or several (omni: one for every kind of query), and sums
their metrics up. What it removes from a query's ranking always shares the query's identity, so that the
metrics look for it among the correct items only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from reid_lab.data.items import Dataset, Groups, singles
from reid_lab.metrics.retrieval import NoMatch, Removed


@dataclass(frozen=True)
class Rule:
    """What is taken out of a query's ranking, in words, and as a function of queries and gallery; None: nothing."""

    words: str
    of: Callable[[Groups, Groups], Removed] | None = None


NOTHING = Rule("nothing")

RULES: dict[str, Rule] = {"nothing": NOTHING}
"""What `eval.removed` may name."""


@dataclass(frozen=True)
class Retrieval:
    """One retrieval task: every query group ranks all gallery groups.

    name: of its row in tables. no_match: a query without a correct gallery item is skipped, counted as a
    miss (`zero`), or an error. draws: for galleries that are drawn several times, the numbers of the
    gallery groups of each draw; metrics are means over the draws. Empty: the whole gallery, once.
    """

    name: str
    queries: Groups
    gallery: Groups
    rule: Rule
    no_match: NoMatch
    draws: tuple[np.ndarray, ...] = ()

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
        """The tasks over queries and a gallery that are cut already (features of other code); raises `DataError`."""

    def summary(self, rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """All metrics under flat names: those of a single task bare; of several `task/metric`, and means of them bare.

        rows: task -> metric -> value, in the order of the tasks.
        """
        if len(rows) == 1:
            return dict(*rows.values())
        return {**mean_of(rows.values()), **{f"{task}/{k}": v for task, row in rows.items() for k, v in row.items()}}


def mean_of(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The unweighted mean of every metric of rows that have the same ones."""
    listed = list(rows)
    return {name: float(np.mean([row[name] for row in listed])) for name in listed[0]}


def with_options(task: Retrieval, options: Options) -> Retrieval:
    """The task with the rule and treatment of unmatched queries that the options ask for."""
    rule = task.rule if options.removed is None else RULES[options.removed]
    return replace(task, rule=rule, no_match=options.no_match or task.no_match)


@final
class TextToImage(Protocol):
    """Text-to-image retrieval as IRRA and its peers measure it."""

    doc = "every caption by itself is a query, every rgb image is in the gallery; nothing is removed"

    def tasks(self, dataset: Dataset, split: str, options: Options) -> tuple[Retrieval, ...]:
        """The captions and the images of the split; a caption without a match counts as a miss."""
        queries, gallery = singles(dataset.items, split, "caption"), singles(dataset.items, split, "rgb")
        return self.given(queries, gallery, options)

    def given(self, queries: Groups, gallery: Groups, options: Options) -> tuple[Retrieval, ...]:
        """As `tasks`."""
        return (with_options(Retrieval("text_to_image", queries, gallery, NOTHING, "zero"), options),)


PROTOCOLS: dict[str, Protocol] = {"text_to_image": TextToImage()}
