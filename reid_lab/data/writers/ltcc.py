"""The layout of LTCC: `LTCC_ReID/{train,query,test}/` and `info/`, which lists the people who change clothes.

The world has six of LTCC's twelve cameras. The people of the world's val are left out: LTCC has no val.
"""

from __future__ import annotations

from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.shots import shots


def write(world: Synthetic, target: Target) -> None:
    """`144_1_c11_011239.png`: the world's pid, the outfit from 1, the camera from 1, the moment as frame."""
    worn: dict[str, dict[int, set[int]]] = {"train": {}, "test": {}}
    for shot in shots(world):
        if shot.split == "val":
            continue
        worn[shot.split].setdefault(shot.pid, set()).add(shot.outfit)
        folder = "query" if shot.asks else shot.split
        name = f"{shot.pid:03d}_{shot.outfit + 1}_c{shot.camid + 1}_{shot.moment:06d}.png"
        target.image(f"LTCC_ReID/{folder}/{name}", shot.pixels(world))
    for split, people in worn.items():
        for word, changes in (("change", True), ("unchange", False)):
            chosen = [pid for pid, outfits in people.items() if (len(outfits) > 1) == changes]
            target.text(f"LTCC_ReID/info/cloth-{word}_id_{split}.txt", "".join(f"{pid}\n" for pid in chosen))


WRITER = Writer("ltcc", write, roles=("rgb",), knobs={"outfits": 2})
