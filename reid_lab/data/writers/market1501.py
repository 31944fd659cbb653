"""The layout of Market-1501: three folders of images whose names tell person, camera, recording and frame.

Val, which Market-1501 has not, gives the junk (-1) and the distractors (0000) of `bounding_box_test/`, taking turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer


@dataclass(frozen=True)
class Shot:
    """An rgb image of the world. number: of the image among the person's; outfit: of the person, from 0."""

    index: int
    split: str
    pid: int
    number: int
    camera: int
    outfit: int
    moment: int

    @property
    def asks(self) -> bool:
        """Whether it is a query of test; the others are gallery.

        Of four images the first and the last ask. No two of a person have one camera (the world sees to it),
        so a person is asked for once before each camera, as published; there is always a correct image before
        another camera, and of three images or more of two outfits one in the same clothes.
        """
        return self.number % 4 in (0, 3)


def shots(world: Synthetic) -> Iterator[Shot]:
    """The rgb images of the world in the order of its items: split by split, person by person."""
    items, seen = world.items, dict[int, int]()
    for index in np.flatnonzero(items.role == "rgb").tolist():
        pid = int(items.pid[index])
        seen[pid] = seen.get(pid, -1) + 1
        outfit = int(items.clothes[index]) % world.world.outfits
        yield Shot(
            index,
            str(items.split[index]),
            pid,
            seen[pid],
            int(items.camid[index]),
            outfit,
            int(items.image_id[index]),
        )


def pixels(world: Synthetic, shot: Shot) -> np.ndarray:
    """The pixels of one image: (3, height, width) uint8."""
    image: np.ndarray = world.images(np.array([shot.index]), None)[0]
    return image


def write(world: Synthetic, target: Target) -> None:
    """`0002_c1s1_000451_00.jpg`: the world's pid plus 1 (0 is the distractor), camera from 1, moment as frame."""
    others = 0
    for shot in shots(world):
        who, folder = f"{shot.pid + 1:04d}", "bounding_box_train"
        if shot.split == "test":
            folder = "query" if shot.asks else "bounding_box_test"
        elif shot.split == "val":
            who, folder = ("-1", "0000")[others % 2], "bounding_box_test"
            others += 1
        target.image(f"{folder}/{who}_c{shot.camera + 1}s1_{shot.moment:06d}_00.jpg", pixels(world, shot))


WRITER = Writer("market1501", write, roles=("rgb",), knobs={})
