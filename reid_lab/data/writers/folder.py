"""The layout of one's own data: `items.csv`, and images in a folder for each modality."""

from __future__ import annotations

import csv
import io

import numpy as np

from reid_lab.contracts import IMAGE_ROLES, ROLES, TEXT_ROLES
from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer

COLUMNS = ("path", "pid", "camid", "scene", "clothes", "split", "modality", *TEXT_ROLES, "moment")


def write(world: Synthetic, target: Target) -> None:
    """A row for each image, in the order of the items; the last image of a moment bears its captions."""
    items = world.items
    out = io.StringIO()
    rows = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    rows.writeheader()
    for moment in np.unique(items.image_id):
        here = np.flatnonzero(items.image_id == moment)
        images = [index for index in here.tolist() if items.role[index] in IMAGE_ROLES]
        texts = {str(items.role[index]): items.caption[index] for index in here.tolist() if index not in images}
        for index in images or here[:1].tolist():
            role, pid, camid = str(items.role[index]), int(items.pid[index]), int(items.camid[index])
            row = {
                "pid": pid,
                "camid": camid,
                "scene": int(items.scene[index]),
                "clothes": int(items.clothes[index]),
                "split": str(items.split[index]),
                "moment": int(moment),
            }
            if images:
                path = f"{role}/{pid:05d}_c{camid + 1}_{moment:06d}{target.suffix}"
                target.image(path, world.images(np.array([index]), None)[0])
                row |= {"path": path, "modality": role}
            rows.writerow({**row, **(texts if index == (images or here)[-1] or not images else {})})
    target.text("items.csv", out.getvalue())


WRITER = Writer("folder", write, roles=(), knobs={"roles": list(ROLES)})
