"""RGBNT100 (Li et al., "Multi-Spectral Vehicle Re-Identification: A Challenge", AAAI 2020), as its authors lay it out.

A folder `rgbir/` with `bounding_box_train/`, `query/` and `bounding_box_test/`, whose files are named like
`0502_c0001_000.jpg`: vehicle, and camera from 1 to 8. One file holds three crops of 256 x 128 pixels (width x
height) side by side: rgb, near infrared, thermal infrared; it makes three items of one path. The queries
are also in the gallery, where the protocol's camera filter removes them. pids are the authors' identities.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import Row, tabulate
from reid_lab.data.readers.layouts import home, named, present
from reid_lab.data.reading import Counts, Faults, Reader, Reading

PARTS = (("train", "", "bounding_box_train"), ("test", "query", "query"), ("test", "gallery", "bounding_box_test"))
WINDOWS = {"rgb": (0, 0, 256, 128), "nir": (256, 0, 256, 128), "tir": (512, 0, 256, 128)}
CAMERAS = 8
LAYOUT = "rgbir/ with bounding_box_train/, query/ and bounding_box_test/"
EXAMPLE = f"0502_c0001_000.jpg (vehicle, camera from 1 to {CAMERAS})"
_NAME = re.compile(rf"(\d{{1,9}})_c(0{{0,8}}[1-{CAMERAS}])(?!\d).*", re.ASCII)


class Rgbnt100Spec(FolderSpec):
    """RGBNT100 in the folder `root` (the one with `rgbir/`, or `rgbir/` itself)."""

    name: Literal["rgbnt100"] = "rgbnt100"


def read(root: Path, faults: Faults) -> Reading:
    """Items file by file in sorted order of the names (train, query, gallery), each in the order rgb, nir, tir."""
    names = tuple(part for _, _, part in PARTS)
    place = home(root, names, ("rgbir", "RGBNT100/rgbir"), LAYOUT)
    there = present(root / place, names, faults, LAYOUT)
    rows: list[Row] = []
    moment = 0
    for split, side, part in PARTS:
        for path, match in named(root, f"{place}{part}", _NAME, EXAMPLE, faults) if part in there else ():
            pid, camera = int(match[1]), int(match[2]) - 1
            rows += [Row(split, role, pid, moment, path, None, side, camera) for role in WINDOWS]
            moment += 1
    # The crops are parts of one colour file; the published codes feed all three channels of each to a trunk.
    return Reading(tabulate(rows), windows=WINDOWS, colour=tuple(WINDOWS))


def reader(spec: Rgbnt100Spec) -> Reader:
    """The reader of RGBNT100."""
    return Reader(
        name="rgbnt100",
        read=read,
        layout=LAYOUT,
        expected={
            "train": Counts(50, 3 * 8675),
            "test query": Counts(50, 3 * 1715),
            "test gallery": Counts(50, 3 * 8575),
        },
        source="Li et al., AAAI 2020; layout as in MambaPro's code; three images a file",
    )
