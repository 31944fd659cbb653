"""The layout of Market-1501: three folders of images whose names tell person, camera, recording and frame.

Val, which Market-1501 has not, gives the junk (-1) and the distractors (0000) of `bounding_box_test/`, taking turns.
"""

from __future__ import annotations

from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.shots import shots


def write(world: Synthetic, target: Target) -> None:
    """`0002_c1s1_000451_00.jpg`: the world's pid plus 1 (0 is the distractor), camera from 1, moment as frame."""
    others = 0
    for shot in shots(world):
        who, folder = f"{shot.pid + 1:04d}", "bounding_box_train"
        if shot.tested:
            folder = "query" if shot.asks else "bounding_box_test"
        elif shot.split == "val":
            who, folder = ("-1", "0000")[others % 2], "bounding_box_test"
            others += 1
        target.image(f"{folder}/{who}_c{shot.camid + 1}s1_{shot.moment:06d}_00.jpg", shot.pixels(world))


WRITER = Writer("market1501", write, roles=("rgb",), knobs={})
