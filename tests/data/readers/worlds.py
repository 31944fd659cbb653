"""A small world, drawn once for all tests of readers and writers, and folders made of it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest

from reid_lab.data import DATASETS
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.data.writers import writer
from reid_lab.data.writers.base import write
from reid_lab.errors import DataError

TEXTS = ("caption", "id_caption", "cloth_caption")


@functools.cache
def world(roles=("rgb", *TEXTS)):
    spec = SyntheticSpec(
        preset="smoke",
        roles=roles,
        train_identities=4,
        val_identities=2,
        test_identities=2,
        train_images=2,
        eval_images=2,
        image_size=(32, 16),
    )
    return open_synthetic(spec, Path(tempfile.mkdtemp(prefix="world")))


def written(name, folder, pixels="png", roles=("rgb", *TEXTS)):
    write(writer(name), world(roles), folder, pixels)
    return folder


def opened(name, folder, **fields):
    entry = DATASETS[name]
    return entry.as_it_is(entry.spec(root=str(folder), **fields), folder)


def faults(name, folder, **fields):
    with pytest.raises(DataError) as caught:
        opened(name, folder, **fields)
    return [str(fault) for fault in caught.value.faults]


def of_role(dataset, role):
    return np.flatnonzero(dataset.items.role == role)
