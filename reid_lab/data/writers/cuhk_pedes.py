"""The layout of CUHK-PEDES: `imgs/<folder>/<file>` and `reid_raw.json`, in the order of the items."""

from __future__ import annotations

import json

import numpy as np

from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.captioned import captions, record

_FOLDERS = ("cam_a", "cam_b", "CUHK01", "CUHK03", "Market")  # cameras 0 to 4; the last camera's depends on the split


def write(world: Synthetic, target: Target) -> None:
    """A record {split, captions, file_path, processed_tokens, id} for each rgb image; ids count from 1.

    Real CUHK-PEDES numbers its people through train, val and test, as here.
    """
    items = world.items
    told = captions(world)
    records = []
    for index in np.flatnonzero(items.role == "rgb"):
        split, camera, pid = str(items.split[index]), int(items.camid[index]), int(items.pid[index]) + 1
        moment = int(items.image_id[index])
        folder = _FOLDERS[camera] if camera < len(_FOLDERS) else _last(split)
        path = f"{folder}/{pid:05d}_c{camera + 1}_{moment:06d}{target.suffix}"
        target.image(f"imgs/{path}", world.images(np.array([index]), None)[0])
        records.append(record(split, told[moment], path, pid))
    target.text("reid_raw.json", json.dumps(records))


def _last(split: str) -> str:
    return "test_query" if split == "test" else "train_query"


WRITER = Writer("cuhk_pedes", write, roles=("rgb", "caption"), knobs={})
