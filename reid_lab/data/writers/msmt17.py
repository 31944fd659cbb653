"""The layout of MSMT17 (first version): `train/`, `test/`, and four lists of paths and people.

`list_val.txt` takes every tenth training image, as the published one takes some of the training people's; the
people of the world's val are left out.
"""

from __future__ import annotations

from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.shots import shots

_SLOTS = ("0113morning", "0302noon", "0303afternoon")  # by the number of a person's image
_LISTS = ("train", "val", "query", "gallery")
_TENTH = 10


def write(world: Synthetic, target: Target) -> None:
    """`0000/0000_000_01_0303morning_0015_0.jpg`: people from 0 in train and again in test, cameras from 01."""
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    learnt = 0
    for shot in shots(world):
        if shot.split == "val":
            continue
        if shot.split == "train":
            name = "train" if learnt % _TENTH else "val"
            learnt += 1
        else:
            name = "query" if shot.asks else "gallery"
        pid, slot = shot.pid - world.world.first_pid(shot.split), _SLOTS[shot.number % len(_SLOTS)]
        path = f"{pid:04d}/{pid:04d}_{shot.number:03d}_{shot.camid + 1:02d}_{slot}_{shot.moment:04d}_0.jpg"
        target.image(f"{shot.split}/{path}", shot.pixels(world))
        lists[name].append(f"{path} {pid}\n")
    for name, lines in lists.items():
        target.text(f"list_{name}.txt", "".join(lines))


WRITER = Writer("msmt17", write, roles=("rgb",), knobs={})
