"""Other splits of the same items: a val split carved from train, none at all, or test left out."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from typing import Literal, final

import numpy as np

from reid_lab.data.items import Dataset, Items, kept, train_pids
from reid_lab.errors import DataError
from reid_lab.seeding import rng


@final
class View(Dataset):
    """Some items of a data set, possibly under other splits.

    `keep` (m,) holds the numbers that the items of the view have in `base`.
    """

    def __init__(self, base: Dataset, items: Items, keep: np.ndarray, digest: str) -> None:
        self.name, self.base, self.items, self.keep, self.digest = base.name, base, items, keep, digest
        self.sources, self.left_out = base.sources, base.left_out
        self.listed = kept(base.listed, keep, len(base.items))

    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels of image items, as `base` gives them."""
        return self.base.images(self.keep[index], size)


def only(dataset: Dataset, splits: Collection[str]) -> View:
    """The items of some splits: what training is handed, say, when it must not see test. Same digest."""
    keep = np.flatnonzero(np.isin(dataset.items.split, list(splits)))
    return View(dataset, dataset.items.take(keep), keep, dataset.digest)


def carve_val(items: Items, share: float, seed: int) -> Items:
    """Moves a share of the training identities, with all their items, to val.

    The choice depends on the set of training pids and on `seed` alone; at least one identity is taken
    and one left.

    Raises:
        DataError: there is a val split already, or fewer than two training identities.
    """
    if (items.split == "val").any():
        raise DataError("data.val: the authors have a val split; allowed: authors, none")
    pids = train_pids(items)
    if len(pids) < 2:
        raise DataError(f"data.val: a split needs two training identities or more; there are {len(pids)}")
    count = min(max(round(share * len(pids)), 1), len(pids) - 1)
    chosen = rng("val", seed).permutation(pids)[:count]
    moved = (items.split == "train") & np.isin(items.pid, chosen)
    return replace(items, split=np.where(moved, "val", items.split))


def merge_val(items: Items) -> Items:
    """Val becomes part of train."""
    return replace(items, split=np.where(items.split == "val", "train", items.split))


def apply_val(dataset: Dataset, val: Literal["authors", "none"] | tuple[float, int]) -> Dataset:
    """The data set with its authors' val split, without one, or with one carved by (share, seed).

    The digest of a carved or merged data set covers who is in val.

    Raises:
        DataError: `authors` where they have no val split, or a share where they have one.
    """
    if val == "authors":
        if "val" not in dataset.items.splits():
            raise DataError("data.val: the authors have no val split; allowed: {identities: SHARE, seed: N}, none")
        return dataset
    items = merge_val(dataset.items) if val == "none" else carve_val(dataset.items, *val)
    chosen = ",".join(map(str, np.unique(items.pid[items.split == "val"]).tolist()))
    digest = hashlib.sha256(f"{dataset.digest}/val:{chosen}".encode()).hexdigest()
    return View(dataset, items, np.arange(len(items)), digest)
