"""Items without pixels, tasks of them, and small tables that several protocols are tested with."""

from __future__ import annotations

import numpy as np

from reid_lab.data.items import ABSENT, Dataset, Groups, Row, tabulate
from reid_lab.data.protocols import PROTOCOLS, Options

AS_PUBLISHED = Options()


class Table(Dataset):
    """Items without pixels."""

    name = "table"
    digest = "0" * 64

    def __init__(self, rows, listed=None, sources=()):
        self.items, self.listed = tabulate(rows), listed or {}
        self.sources = dict.fromkeys(sources, "0" * 64)

    def images(self, index, size):
        raise AssertionError("a protocol looks at no pixels")


def shot(pid, moment, camid=ABSENT, side="", role="rgb", split="test", **labels):
    return Row(split, role, pid, moment, path=f"{role}/{moment}.jpg", camid=camid, side=side, **labels)


def text(pid, moment, number=0, role="caption", split="test", **labels):
    return Row(split, role, pid, moment, caption=f"{role} {moment} {number}", number=number, **labels)


def tasks_of(name, dataset, split="test", options=AS_PUBLISHED):
    return {task.name: task for task in PROTOCOLS[name].tasks(dataset, split, options)}


def gone(task):
    """Query number -> gallery numbers that the task removes, among those of the query's pid."""
    found = {}
    for query, pid in enumerate(task.queries.pids.tolist()):
        own = np.flatnonzero(task.gallery.pids == pid)
        if task.rule.of is not None and len(own):
            own = own[task.rule.of(task.queries, task.gallery)(query, own)]
            found[query] = own.tolist()
        else:
            found[query] = []
    return found


def bare(pids, **labels):
    """Groups as features of other code have them."""
    n = len(pids)
    unknown = np.full(n, ABSENT, dtype=np.int64)
    columns = {name: np.array(values, dtype=np.int64) for name, values in labels.items()}
    camids, image_ids = columns.pop("camids", unknown), columns.pop("image_ids", unknown)
    return Groups({}, np.array(pids, dtype=np.int64), camids, image_ids, columns)


MARKET = [
    shot(1, 0, camid=0, side="query"),
    shot(2, 1, camid=1, side="query"),
    shot(3, 2, camid=1, side="query"),
    shot(1, 3, camid=0, side="gallery"),  # 0
    shot(1, 4, camid=1, side="gallery"),  # 1
    shot(2, 5, camid=0, side="gallery"),  # 2
    shot(2, 6, camid=1, side="gallery"),  # 3
    shot(0, 7, camid=1, side="gallery"),  # 4: a distractor
    shot(3, 8, camid=1, side="gallery"),  # 5: nothing else of 3
    shot(1, 9, camid=0, split="train"),
]


FIVE = [
    row
    for pid, moment in ((1, 0), (1, 1), (2, 2))
    for row in (
        *(shot(pid, moment, 0, role=role) for role in ("rgb", "nir", "tir", "sketch", "cpencil")),
        text(pid, moment),
        text(pid, moment, role="cloth_caption"),
    )
]


def triple(pid, moment, camid, side="", **labels):
    return [shot(pid, moment, camid, side, role, **labels) for role in ("rgb", "nir", "tir")]
