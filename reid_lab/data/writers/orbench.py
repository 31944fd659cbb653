"""The layout of ORBench: a folder per modality and person, `train_annos.json`, `test_gallery_and_queries.json`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from reid_lab.data.omni import KINDS
from reid_lab.data.readers.orbench import FOLDERS, GALLERY, TEST, TRAIN
from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.captioned import captions
from reid_lab.seeding import rng


def write(world: Synthetic, target: Target) -> None:
    """Files `vis/0001/0001_c03_s000002_vis.jpg`: person and camera from 1, the world's moment; ids count from 1.

    Every test item of a kind's first modality is a query of that kind; its partners are drawn among the same
    person's items of the other modalities, always the same ones for one world. The layout has no val split: the
    world's val people stand among those of train.
    """
    items = world.items
    paths: dict[int, str] = {}
    of_person: dict[tuple[int, str], list[int]] = {}
    for index, role in enumerate(items.role.tolist()):
        of_person.setdefault((int(items.pid[index]), role), []).append(index)
        if role in FOLDERS:
            paths[index] = _written(world, target, index)
    told = captions(world)
    photographs = np.flatnonzero(items.role == "rgb")
    train = [
        {
            "id": int(items.pid[index]) + 1,
            "file_path": paths[index],
            "caption": told[int(items.image_id[index])],
        }
        for index in photographs[items.split[photographs] != "test"]
    ]
    target.text(TRAIN, json.dumps(train))
    test: dict[str, list[list[Any]]] = {
        GALLERY: [
            [int(items.pid[index]) + 1, paths[index]] for index in photographs[items.split[photographs] == "test"]
        ]
    }
    for kind, roles in KINDS.items():
        test[kind] = []
        for index in items.select("test", roles[0]).tolist():
            pid, chosen = int(items.pid[index]), [index]
            drawn = rng("orbench", kind, world.spec.seed, index)
            for role in roles[1:]:
                chosen.append(int(drawn.choice(of_person[pid, role])))
            test[kind].append([pid + 1, *(paths.get(item, items.caption[item]) for item in chosen)])
    target.text(TEST, json.dumps(test))


def _written(world: Synthetic, target: Target, index: int) -> str:
    """Writes one image; its path."""
    items = world.items
    folder, person = FOLDERS[str(items.role[index])], f"{items.pid[index] + 1:04d}"
    name = f"{person}_c{items.camid[index] + 1:02d}_s{items.image_id[index]:06d}_{folder}.jpg"
    target.image(f"{folder}/{person}/{name}", world.images(np.array([index]), None)[0])
    return f"{folder}/{person}/{name}"


WRITER = Writer("orbench", write, roles=(*FOLDERS, "caption"), knobs={})
