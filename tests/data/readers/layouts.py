"""What the tests of layouts share: the world that they are written from, and folders that are opened or refused."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from reid_lab.data import DATASETS
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.data.writers import writer
from reid_lab.data.writers.base import write
from reid_lab.errors import DataError

SMALL = SyntheticSpec(
    preset="smoke",
    roles=("rgb",),
    train_identities=6,
    val_identities=2,
    test_identities=4,
    train_images=4,
    eval_images=4,
    outfits=2,
    image_size=(32, 16),
)


def small(cache):
    """The embedded world that the layouts are written from."""
    return open_synthetic(SMALL, cache)


def written(name, world, root):
    """The world as real files, bit by bit."""
    write(writer(name), world, root, "png")
    return root


def opened(name, folder, **fields):
    entry = DATASETS[name]
    return entry.open(entry.spec(root=str(folder), **{"val": "none", **fields}), folder)


def told(name, folder, **fields):
    """What a folder is refused for."""
    with pytest.raises(DataError) as caught:
        opened(name, folder, **fields)
    return [str(fault) for fault in caught.value.faults]


def column(items, name):
    return getattr(items, name).tolist()


def same_pixels(dataset, world, moments):
    """Whether each item shows the image of the world's moment with its number."""
    places = {moment: index for index, moment in enumerate(world.items.image_id.tolist())}
    of = np.array([places[moment] for moment in moments])
    return np.array_equal(dataset.images(np.arange(len(of)), None), world.images(of, None))


def carved(name, folder):
    """Asserts that val is carved by people, the same on every call; gives the data set."""
    dataset = opened(name, folder, val={"identities": 0.2, "seed": 0})
    items, whole = dataset.items, opened(name, folder).items
    people = {split: set(items.pid[items.split == split].tolist()) for split in ("train", "val", "test")}
    assert len(people["val"]) == 1
    assert people["train"] | people["val"] == set(whole.pid[whole.split == "train"].tolist())
    assert sum(map(len, people.values())) == len(set.union(*people.values()))
    assert column(items, "path") == column(whole, "path")
    assert set(items.side[items.split == "val"].tolist()) == {""}
    again = opened(name, folder, val={"identities": 0.2, "seed": 0})
    assert again.digest == dataset.digest != opened(name, folder).digest
    return dataset


def valid(task):
    """The cameras of those queries of a task that have a match left in the gallery."""
    removed, left = task.rule.of(task.queries, task.gallery), []
    for query, pid in enumerate(task.queries.pids.tolist()):
        same = np.flatnonzero(task.gallery.pids == pid)
        if not np.all(removed(query, same)):
            left.append(int(task.queries.camids[query]))
    return left


class Backwards:
    """`os.scandir`, in the other order."""

    def __init__(self, path=".", real=os.scandir):
        with real(path) as found:
            self.found = sorted(found, key=lambda entry: entry.name, reverse=True)

    def __iter__(self):
        return iter(self.found)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def same_in_any_order(name, folder, monkeypatch):
    """Asserts that the order in which a file system lists a folder changes nothing."""
    first = opened(name, folder)
    monkeypatch.setattr(os, "scandir", Backwards)
    second = opened(name, folder)
    assert first.digest == second.digest
    for label in ("path", "pid", "camid", "clothes", "image_id", "side", "scene"):
        assert column(first.items, label) == column(second.items, label), label


def photograph(path, size=(16, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 30)).save(path, format="png")


def fill(root, names):
    for name in names:
        photograph(root / name)
    return root
