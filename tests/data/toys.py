"""A data set of a few items in memory, with pixels that tell which item they are."""

from __future__ import annotations

import numpy as np
import torch

from reid_lab.contracts import IMAGE_ROLES, InputSpec
from reid_lab.data.items import Dataset, Row, tabulate


class Toy(Dataset):
    """`rows`: (split, role, pid, image_id) of every item; captions are "caption NUMBER"."""

    name = "toy"
    digest = "0" * 64

    def __init__(self, rows, size=(6, 4)):
        split, role, pid, moment = zip(*rows, strict=True)
        self.size = size
        image = np.isin(role, IMAGE_ROLES)
        self.items = tabulate(
            [
                Row(
                    split[i],
                    role[i],
                    pid[i],
                    moment[i],
                    path=f"{i}.png" if image[i] else None,
                    caption=None if image[i] else f"caption {i}",
                    camid=i % 3,
                )
                for i in range(len(rows))
            ]
        )

    def images(self, index, size):
        height, width = size or self.size
        channels = 1 if self.items.role[index[0]] == "nir" else 3
        pixels = np.empty((len(index), channels, height, width), dtype=np.uint8)
        pixels[:] = np.asarray(index, dtype=np.uint8)[:, None, None, None]
        return pixels


def paired(train=(3, 1, 2), split="train"):
    """People with so many images each; every image has two captions."""
    rows, moment = [], 0
    for pid, count in enumerate(train):
        for _ in range(count):
            rows += [(split, "rgb", 10 * pid + 7, moment)] + [(split, "caption", 10 * pid + 7, moment)] * 2
            moment += 1
    return rows


def tokenize(captions):
    """The number in the caption, and its length."""
    return torch.tensor([[int(c.split()[1]), len(c)] for c in captions], dtype=torch.int64).view(-1, 2)


INPUTS = {"rgb": InputSpec(size=(6, 4)), "caption": InputSpec(tokenize=tokenize, max_length=2)}
