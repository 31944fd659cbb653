"""The layout of PRCC: `rgb/{train,val}/<id>/` with the camera in the name, `rgb/test/{A,B,C}/<id>/`.

The world's six cameras become three by need: a person's images in the first outfit are taken by A and B in
turn, those in the second by C; further outfits are left out. `rgb/val/` takes every tenth training image, as
the published one takes some of the training people's; the people of the world's val are left out.
"""

from __future__ import annotations

from collections import Counter

from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.shots import shots
from reid_lab.errors import DataError

_TENTH = 10


def write(world: Synthetic, target: Target) -> None:
    """ids are the world's pids plus 1, through train and test; `cropped_rgb` is followed by the moment.

    Raises:
        DataError: the world's people have one outfit, or too few images in test for all three cameras.
    """
    if world.world.outfits < 2 or world.world.images[2] < 3:
        raise DataError("prcc shows people in two outfits before three cameras: outfits: 2 and eval_images: 3, or more")
    first: Counter[int] = Counter()  # images of each person in the first outfit
    learnt = 0
    for shot in shots(world):
        if shot.split == "val" or shot.outfit > 1:
            continue
        camera = "C" if shot.outfit else "AB"[first[shot.pid] % 2]
        first[shot.pid] += shot.outfit == 0
        who, name = f"{shot.pid + 1:03d}", f"cropped_rgb{shot.moment:03d}.jpg"
        if shot.tested:
            path = f"test/{camera}/{who}/{name}"
        else:
            path = f"{'train' if learnt % _TENTH else 'val'}/{who}/{camera}_{name}"
            learnt += 1
        target.image(f"rgb/{path}", shot.pixels(world))


WRITER = Writer("prcc", write, roles=("rgb",), knobs={"outfits": 2, "eval_images": 4})
