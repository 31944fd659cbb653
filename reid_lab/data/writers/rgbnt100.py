"""The layout of RGBNT100: `rgbir/{bounding_box_train,query,bounding_box_test}/`, three crops side by side in a file."""

from __future__ import annotations

import numpy as np

from reid_lab.data.readers.rgbnt100 import WINDOWS
from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.shots import shots

_SIZE = (128, 256)  # height and width of a crop


def write(world: Synthetic, target: Target) -> None:
    """`0502_c0001_000.jpg`: identity from 1, camera from 1, and the moments of one identity counted from 0.

    The first moment of every identity of test is its query, and as in the real set it is in the gallery
    too. The layout has no val split: the world's val people stand among those of train.
    """
    for shot in shots(world, tuple(WINDOWS)):
        crops = [np.broadcast_to(shot.pixels(world, role, _SIZE), (3, *_SIZE)) for role in WINDOWS]
        parts = ["bounding_box_test"] if shot.tested else ["bounding_box_train"]
        parts += ["query"] if shot.tested and shot.number == 0 else []
        for part in parts:
            name = f"{shot.pid + 1:04d}_c{shot.camid + 1:04d}_{shot.number:03d}.jpg"
            target.image(f"rgbir/{part}/{name}", np.concatenate(crops, axis=2))


WRITER = Writer("rgbnt100", write, roles=tuple(WINDOWS), knobs={})
