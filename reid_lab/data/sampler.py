"""Which groups make up each batch, as pure functions of the seed and the pass over the data.

Samplers disagree about what an epoch is: a P×K pass ends when fewer than P identities remain, so its
length depends on the draw. Here training reads the batches of pass 0, 1, 2, … one after the other,
each pass exactly as published, and an epoch (of schedules and evaluations) is as long as pass 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from functools import lru_cache
from itertools import islice
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


def _identities(pids: np.ndarray, wanted: int, instances: int) -> tuple[np.ndarray, np.ndarray]:
    """The identity of every group, counted from 0, and how many groups each has; at least `wanted` identities."""
    people, label, counts = np.unique(pids, return_inverse=True, return_counts=True)
    if len(people) < wanted:
        what = f"{wanted} identities x {instances} are wanted in a batch; train has {len(people)} identities"
        raise DataError(what)
    return label, counts


def _in_batches(draw: np.random.Generator, chunks: np.ndarray, owned: np.ndarray, identities: int) -> list[np.ndarray]:
    """Batches of a chunk of each of so many random identities, until fewer than these have one left.

    chunks: (m, K), identity by identity. owned: (p,) how many each identity has.
    """
    first = np.cumsum(owned) - owned
    left, used = np.arange(len(owned)), np.zeros_like(owned)
    batches = []
    while len(left) >= identities:
        chosen = draw.choice(len(left), identities, replace=False)
        people = left[chosen]
        batches.append(chunks[first[people] + used[people]].reshape(-1))
        used[people] += 1
        left = np.delete(left, chosen[used[people] == owned[people]])
    return batches


@final
class IdentitySampler(Sampler):
    """P identities × K groups of each (TransReID, CLIP-ReID, IRRA's `identity`).

    Each identity's groups are shuffled and cut into chunks of K; one with fewer than K is drawn with
    replacement up to K, and what is left over after the last whole chunk is dropped. A batch takes a
    chunk of each of P random identities that still have one; the pass ends when fewer than P do.
    """

    def __init__(self, pids: np.ndarray, size: int, instances: int) -> None:
        self.identities, self.instances = size // instances, instances
        self._label, self._counts = _identities(pids, self.identities, instances)
        self._starts = np.cumsum(self._counts) - self._counts
        self._chunks = np.maximum(self._counts // instances, 1)
        self._first = np.cumsum(self._chunks) - self._chunks
        owner = np.repeat(np.arange(len(self._counts)), self._chunks)
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
        return _in_batches(draw, shuffled[places], self._chunks, self.identities)


@final
class CameraBalancedSampler(Sampler):
    """P identities × K groups, the K from as many cameras as the identity has, as evenly as its groups allow.

    Batches and the length of a pass are those of `IdentitySampler`; the chunks of K are drawn otherwise.
    An identity's cameras deal their shuffled groups in turn, in an order that is drawn for each chunk, and a
    group that was dealt goes under its camera's pile. So a chunk shows min(K, cameras) cameras; no camera
    gives two more than another that still has groups; a group comes twice only where the identity has fewer
    than K. The groups of a rare camera come more than once in a pass, at the cost of those of a frequent one.
    fast-reid's `BalancedIdentitySampler` is the field's name for it: it takes K - 1 groups from cameras
    other than the first one's, at most one of each where these suffice, and draws each identity once a pass.

    pids, camids: (n,) int64; an unknown camera (-1) counts as one camera.
    """

    def __init__(self, pids: np.ndarray, camids: np.ndarray, size: int, instances: int) -> None:
        self.identities, self.instances = size // instances, instances
        if len(camids) and camids.max() < 0:
            raise DataError("camera_balanced needs cameras, and the data set tells of none (allowed: identity)")
        self._label, counts = _identities(pids, self.identities, instances)
        self._camids, self._chunks = camids, np.maximum(counts // instances, 1)

    def batches(self, seed: int, number: int) -> list[np.ndarray]:
        """As in `Sampler`."""
        draw = rng(seed, "camera balanced sampler", number)
        shuffled = np.lexsort((draw.random(len(self._label)), self._camids, self._label))
        label, camera = self._label[shuffled], self._camids[shuffled]
        starts = np.flatnonzero(np.append(True, (label[1:] != label[:-1]) | (camera[1:] != camera[:-1]))).tolist()
        groups, piles = shuffled.tolist(), [list[deque[int]]() for _ in self._chunks]
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            piles[label[start]].append(deque(groups[start:end]))
        owners = [own for own, chunks in zip(piles, self._chunks.tolist(), strict=True) for _ in range(chunks)]
        orders = draw.random((len(owners), max(map(len, piles)))).argsort(axis=1).tolist()
        chunks = [self._chunk(own, order) for own, order in zip(owners, orders, strict=True)]
        return _in_batches(draw, np.array(chunks), self._chunks, self.identities)

    def _chunk(self, piles: list[deque[int]], order: list[int]) -> list[int]:
        """K groups of one identity, whose piles, one per camera, are turned on; `order` numbers them and maybe more."""
        ordered = [piles[place] for place in order if place < len(piles)]
        rounds = ((pile, pile[turn]) for turn in range(self.instances) for pile in ordered if turn < len(pile))
        dealt = list(islice(rounds, self.instances))
        for pile, _ in dealt:
            pile.rotate(-1)
        return [dealt[place % len(dealt)][1] for place in range(self.instances)]


@final
class MatchedPairSampler(Sampler):
    """Batches in which every group is of another identity, so that what does not match is no match.

    Contrastive losses take every other group of a batch for a negative; with two captions of one person
    in it, as `RandomSampler` allows, some are not. A pass has as many batches of `size` as can be filled
    so, B; no identity gives it more than B groups, and no group comes twice. Where no identity has more
    than B groups, fewer than `size` groups are left out; else the frequent ones' surplus is, by draw.
    The partner of a group in a modality that it lacks is drawn by `partners.Partners`.
    """

    def __init__(self, pids: np.ndarray, size: int) -> None:
        self.size = size
        self._label, self._counts = _identities(pids, size, 1)
        low, high = 1, len(pids) // size
        while low < high:  # the largest number of batches that can be filled
            middle = (low + high + 1) // 2
            fits = np.minimum(self._counts, middle).sum() >= middle * size
            low, high = (middle, high) if fits else (low, middle - 1)
        self._many = low

    def batches(self, seed: int, number: int) -> list[np.ndarray]:
        """As in `Sampler`."""
        draw = rng(seed, "matched pair sampler", number)
        turn = draw.permutation(len(self._counts))[self._label]  # identities in random order
        order = np.lexsort((draw.random(len(self._label)), turn))
        ahead = turn[order]
        place = np.arange(len(order)) - np.searchsorted(ahead, ahead)  # within its identity
        usable = order[place < self._many]
        chosen = np.sort(draw.permutation(len(usable))[: self._many * self.size])
        # Neighbours go to different batches: an identity has at most as many groups as there are batches.
        dealt = usable[chosen].reshape(self.size, self._many).T
        return list(draw.permuted(dealt, axis=1)[draw.permutation(self._many)])


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
