"""The layout of ICFG-PEDES: `imgs/<train|test>/<person>/<file>` and `ICFG_PEDES.json`, in the order of the items."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np

from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.captioned import captions, record

_TIMES = ("0303morning", "0303noon", "0303afternoon")


def write(world: Synthetic, target: Target) -> None:
    """A record {split, captions, file_path, processed_tokens, id} for each rgb image; ids count from 0.

    The layout has no val split: the world's val people count as train. The times of day in the names mean nothing.
    """
    items = world.items
    told = captions(world)
    records, seen = [], Counter[int]()
    for index in np.flatnonzero(items.role == "rgb"):
        split = "test" if items.split[index] == "test" else "train"
        pid, camera, moment = int(items.pid[index]), int(items.camid[index]) + 1, int(items.image_id[index])
        number = seen[pid]
        seen[pid] += 1
        name = f"{pid:04d}_{number:03d}_{camera:02d}_{_TIMES[number % len(_TIMES)]}_{moment:04d}_0{target.suffix}"
        path = f"{split}/{pid:04d}/{name}"
        target.image(f"imgs/{path}", world.images(np.array([index]), None)[0])
        records.append(record(split, told[moment], path, pid))
    target.text("ICFG_PEDES.json", json.dumps(records))


WRITER = Writer("icfg_pedes", write, roles=("rgb", "caption"), knobs={})
