"""The layout of RSTPReid: `imgs/<file>` and `data_captions.json`, in the order of the items."""

from __future__ import annotations

import json

import numpy as np

from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.captioned import captions


def write(world: Synthetic, target: Target) -> None:
    """A record {id, img_path, captions, split} for each rgb image; ids count from 0.

    The second caption is what a second witness says of the body, and a third of the clothes.
    """
    items = world.items
    texts = {role: captions(world, role) for role in ("caption", "id_caption", "cloth_caption")}
    records = []
    for index in np.flatnonzero(items.role == "rgb"):
        pid, camera, moment = int(items.pid[index]), int(items.camid[index]) + 1, int(items.image_id[index])
        name = f"{pid:04d}_c{camera}_{moment:04d}{target.suffix}"
        target.image(f"imgs/{name}", world.images(np.array([index]), None)[0])
        second = f"{texts['id_caption'][moment]} {texts['cloth_caption'][moment]}"
        both = [texts["caption"][moment], second]
        records.append({"id": pid, "img_path": name, "captions": both, "split": str(items.split[index])})
    target.text("data_captions.json", json.dumps(records))


WRITER = Writer("rstpreid", write, roles=("rgb", "caption", "id_caption", "cloth_caption"), knobs={})
