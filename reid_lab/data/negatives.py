"""Training pairs whose clothes caption is somebody else's (T2IReID).

The list of training groups is doubled: each group once as it is (`is_matched` 1), once with its image, its identity
caption and the clothes caption of another person (0). As published the others are drawn once, before training.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, final

import numpy as np
from torch import Tensor

from reid_lab.data.items import ABSENT, Groups, Items, train_pids
from reid_lab.data.partners import Filler
from reid_lab.errors import DataError
from reid_lab.seeding import rng, uniform

Kind = Literal["as_published", "redrawn", "similar_clothes"]
ROLE = "cloth_caption"
NEAREST = 10  # captions that a similar negative is drawn from
POOL = 4096  # captions that are compared: where there are more, so many of them, drawn by the seed


def doubled(groups: Groups) -> Groups:
    """Every group, then those that have a clothes caption a second time, not yet with another's.

    Labels: `is_matched` 1 or 0; `cloth_pids`, whose clothes the caption tells of, -1 where there is none.
    """
    has = groups.members[ROLE] != ABSENT
    again = np.flatnonzero(has)
    both = groups.take(np.concatenate([np.arange(len(groups)), again]))
    matched = np.repeat(np.array([1, 0], dtype=np.int64), [len(groups), len(again)])
    owners = np.where(both.members[ROLE] != ABSENT, both.pids, ABSENT)
    return both.with_labels({"is_matched": matched, "cloth_pids": owners})


@final
class Negatives:
    """Gives the unmatched groups of a batch another person's clothes caption, drawn from each sample's key.

    choices: for each clothes caption of train (by `rank`) the captions to draw from, (m, k) item numbers, of which
    the first `counts` (m,) count; None: all captions of all other people, each as likely.
    inner: what fills the groups before.
    """

    def __init__(
        self,
        captions: np.ndarray,
        pids: np.ndarray,
        inner: Filler | None = None,
        choices: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        order = np.argsort(pids, kind="stable")
        self._items, self._pids = captions[order], pids[order]
        if len(np.unique(pids)) < 2:
            raise DataError(f"train.pairs draws other people's clothes captions; {ROLE} tells of fewer than 2 people")
        self._inner, self._choices = inner, choices
        self._rank = np.full(int(captions.max()) + 1, ABSENT, dtype=np.int64)
        self._rank[captions] = np.arange(len(captions))
        self._owner = np.full(len(self._rank), ABSENT, dtype=np.int64)
        self._owner[captions] = pids

    def fill(self, groups: Groups, keys: Tensor) -> Groups:
        """The groups with their negatives drawn; `keys` (n,) int64 are those of the samples."""
        groups = groups if self._inner is None else self._inner.fill(groups, keys)
        return self.draw(groups, uniform(keys, "negative clothes", 1)[:, 0].numpy().astype(np.float64))

    def draw(self, groups: Groups, luck: np.ndarray) -> Groups:
        """The groups whose unmatched captions are those that `luck` (n,), in [0, 1), falls on."""
        wanted = np.flatnonzero(groups.labels["is_matched"] == 0)
        if not len(wanted):
            return groups
        told, owners = groups.members[ROLE].copy(), groups.labels["cloth_pids"].copy()
        chosen = self._any(groups.pids[wanted], luck[wanted])
        if self._choices is not None:
            near, counts = self._choices
            rank = self._rank[told[wanted]]
            chosen = near[rank, (luck[wanted] * counts[rank]).astype(np.int64)]
        told[wanted], owners[wanted] = chosen, self._owner[chosen]
        members = {**groups.members, ROLE: told}
        return replace(groups, members=members, labels={**groups.labels, "cloth_pids": owners})

    def _any(self, pids: np.ndarray, luck: np.ndarray) -> np.ndarray:
        """A caption of anyone else: places are counted over those before and behind the own ones."""
        first, end = np.searchsorted(self._pids, pids), np.searchsorted(self._pids, pids, side="right")
        place = (luck * (len(self._pids) - (end - first))).astype(np.int64)
        found: np.ndarray = self._items[np.where(place < first, place, place + end - first)]
        return found


def negatives(
    groups: Groups, items: Items, kind: Kind, seed: int, inner: Filler | None = None
) -> tuple[Groups, Filler | None]:
    """The doubled training groups of a data set, and what fills them batch by batch.

    as_published: drawn once, from `seed`, among all captions of other people. redrawn: likewise, anew each time that
    a group comes up. similar_clothes: anew each time, among the captions of others that share most words with it.

    Raises:
        DataError: the groups have no clothes captions, or those of one person only.
    """
    if ROLE not in groups.members or not (groups.members[ROLE] != ABSENT).any():
        there = ", ".join(groups.members)
        raise DataError(f"train.pairs: {kind} needs training groups with {ROLE}; they have {there} (allowed: null)")
    captions = items.select("train", ROLE)
    pids = np.searchsorted(train_pids(items), items.pid[captions])
    both = doubled(groups)
    if kind == "as_published":
        luck = rng(seed, "negative clothes").random(len(both))
        return Negatives(captions, pids).draw(both, luck), inner
    choices = similar(items.caption[captions].tolist(), pids, captions, seed) if kind == "similar_clothes" else None
    return both, Negatives(captions, pids, inner, choices)


def similar(texts: Sequence[str], pids: np.ndarray, numbers: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For each caption the `NEAREST` of other people by shared words (Jaccard), as item numbers, and how many count.

    Words that more than half of the captions have tell nothing and are left out. A caption of the very same words is
    no negative: it comes last, and counts only where there is no other. Ties go to the earlier caption.
    """
    bags, width = _bags(texts)
    pool = np.arange(len(texts))
    if len(pool) > POOL:
        pool = np.sort(rng(seed, "similar clothes").permutation(len(texts))[:POOL])
    against = _table(bags, pool, width)
    sizes = against.sum(axis=1)
    near, counts = [], []
    for start in range(0, len(texts), 1024):
        rows = np.arange(start, min(start + 1024, len(texts)))
        own = _table(bags, rows, width)
        shared = own @ against.T
        union = own.sum(axis=1)[:, None] + sizes[None, :] - shared
        scores = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        scores[shared == union] = -1.0  # the same words, or none at all
        scores[pids[rows][:, None] == pids[pool][None, :]] = -2.0
        best = np.argsort(-scores, axis=1, kind="stable")[:, :NEAREST]
        found = np.take_along_axis(scores, best, axis=1)
        least = np.where(found[:, :1] >= 0, 0.0, -1.0)
        counts.append((found >= least).sum(axis=1))
        near.append(numbers[pool[best]])
    return np.concatenate(near), np.concatenate(counts)


def _bags(texts: Sequence[str]) -> tuple[list[list[int]], int]:
    """The telling words of each text, numbered, and how many there are."""
    words = [set(re.findall(r"[a-z0-9]+", text.lower())) for text in texts]
    often: dict[str, int] = {}
    for bag in words:
        for word in bag:
            often[word] = often.get(word, 0) + 1
    number = {word: k for k, word in enumerate(sorted(w for w, n in often.items() if 2 * n <= len(texts)))}
    return [[number[word] for word in bag if word in number] for bag in words], len(number)


def _table(bags: list[list[int]], rows: np.ndarray, width: int) -> np.ndarray:
    """(rows, words) of 0 and 1, float32: products of such tables are exact counts."""
    table = np.zeros((len(rows), width), dtype=np.float32)
    for place, row in enumerate(rows.tolist()):
        table[place, bags[row]] = 1.0
    return table
