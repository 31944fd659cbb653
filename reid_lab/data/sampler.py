"""Which groups make up each batch, as pure functions of the seed and the pass over the data.

Samplers disagree about what an epoch is: a P×K pass ends when fewer than P identities remain, so its
length depends on the draw. Here training reads the batches of pass 0, 1, 2, … one after the other,
each pass exactly as published, and an epoch (of schedules and evaluations) is as long as pass 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from functools import lru_cache
from typing import final

import numpy as np

from reid_lab.errors import DataError
from reid_lab.seeding import rng


class Sampler(ABC):
    """Lists the batches of a pass: each an array of group numbers."""

    @abstractmethod
    def batches(self, seed: int, number: int) -> list[np.ndarray]:
        """The batches of pass `number` under `seed`, in order; the same on every machine."""


@final
class RandomSampler(Sampler):
    """A permutation of all groups, cut into batches; the last one may be smaller (IRRA's default)."""

    def __init__(self, groups: int, size: int, *, drop_last: bool = False) -> None:
        self.groups, self.size, self.drop_last = groups, size, drop_last
        if groups == 0 or (drop_last and groups < size):
            raise DataError(f"{groups} training groups do not fill one batch of {size}")

    def batches(self, seed: int, number: int) -> list[np.ndarray]:
        """As in `Sampler`."""
        order = rng(seed, "random sampler", number).permutation(self.groups)
        end = self.groups - self.groups % self.size if self.drop_last else self.groups
        return [order[start : start + self.size] for start in range(0, end, self.size)]


@final
class IdentitySampler(Sampler):
    """P identities × K groups of each (TransReID, CLIP-ReID, IRRA's `identity`).

    Each identity's groups are shuffled and cut into chunks of K; one with fewer than K is drawn with
    replacement up to K, and what is left over after the last whole chunk is dropped. A batch takes a
    chunk of each of P random identities that still have one; the pass ends when fewer than P do.
    """

    def __init__(self, pids: np.ndarray, size: int, instances: int) -> None:
        people, self._label, self._counts = np.unique(pids, return_inverse=True, return_counts=True)
        self.identities, self.instances = size // instances, instances
        if len(people) < self.identities:
            what = f"{self.identities} identities x {instances} are wanted in a batch; train has {len(people)}"
            raise DataError(f"{what} identities")
        self._starts = np.cumsum(self._counts) - self._counts
        self._chunks = np.maximum(self._counts // instances, 1)
        self._first = np.cumsum(self._chunks) - self._chunks
        owner = np.repeat(np.arange(len(people)), self._chunks)
        number = np.arange(len(owner)) - self._first[owner]
        self._places = (self._starts[owner] + number * instances)[:, None] + np.arange(instances)
        self._short = np.flatnonzero(self._counts < instances)

    def batches(self, seed: int, number: int) -> list[np.ndarray]:
        """As in `Sampler`."""
        draw = rng(seed, "identity sampler", number)
        shuffled = np.lexsort((draw.random(len(self._label)), self._label))  # identity by identity
        picks = (draw.random((len(self._short), self.instances)) * self._counts[self._short, None]).astype(np.int64)
        places = self._places.copy()
        places[self._first[self._short]] = self._starts[self._short, None] + picks
        chunks = shuffled[places]
        left, used = np.arange(len(self._counts)), np.zeros_like(self._counts)
        batches = []
        while len(left) >= self.identities:
            chosen = draw.choice(len(left), self.identities, replace=False)
            people = left[chosen]
            batches.append(chunks[self._first[people] + used[people]].reshape(-1))
            used[people] += 1
            left = np.delete(left, chosen[used[people] == self._chunks[people]])
        return batches


@final
class Schedule:
    """The endless sequence of batches of a sampler: `at(step)` is a pure function."""

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self._pass = lru_cache(maxsize=2)(lambda number: sampler.batches(seed, number))
        self._ends = [len(self._pass(0))]

    @property
    def steps_per_epoch(self) -> int:
        """Batches of pass 0."""
        return self._ends[0]

    def at(self, step: int) -> tuple[int, int, np.ndarray]:
        """The pass, the position of the batch's first sample in it, and the batch's group numbers."""
        while self._ends[-1] <= step:
            self._ends.append(self._ends[-1] + len(self._pass(len(self._ends))))
        number = bisect_right(self._ends, step)
        batches = self._pass(number)
        index = step - (self._ends[number - 1] if number else 0)
        return number, sum(map(len, batches[:index])), batches[index]
