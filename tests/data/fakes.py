"""A data set of a few items, whose pixels tell which item they are."""

import numpy as np

from reid_lab.data.items import Dataset, Items


def table(rows):
    """Items from (split, role, pid, image_id, caption) rows; the camera is the image_id modulo 3."""
    split, role, pid, image_id, caption = (list(column) for column in zip(*rows, strict=True))
    moments = np.array(image_id, dtype=np.int64)
    unknown = np.full(len(rows), -1, dtype=np.int64)
    return Items(
        split=np.array(split),
        role=np.array(role),
        pid=np.array(pid, dtype=np.int64),
        camid=moments % 3,
        scene=unknown,
        clothes=unknown,
        image_id=moments,
        path=np.full(len(rows), None, dtype=object),
        caption=np.array(caption, dtype=object),
    )


def people(split, pids, images, captions=2):
    """Rows of people with some rgb images each and some captions of each image."""
    rows = []
    for pid in pids:
        for k in range(images):
            moment = 100 * pid + k
            rows.append((split, "rgb", pid, moment, None))
            rows += [(split, "caption", pid, moment, f"caption {c} of {moment}") for c in range(captions)]
    return rows


class Fake(Dataset):
    """Every pixel of an image is its item number modulo 256, plus the row; nir has one channel."""

    name = "fake"
    digest = "0" * 64

    def __init__(self, rows, size=(6, 4)):
        self.items = table(rows)
        self.size = size
        self.asked = []

    def images(self, index, size):
        self.asked.append((tuple(index.tolist()), size))
        channels = 1 if self.items.role[index[0]] == "nir" else 3
        height, width = size or self.size
        pixels = (index[:, None, None, None] + np.arange(height)[None, None, :, None]) % 256
        return np.broadcast_to(pixels, (len(index), channels, height, width)).astype(np.uint8)
