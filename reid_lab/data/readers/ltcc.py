"""LTCC (Qian et al., "Long-Term Cloth-Changing Person Re-identification", ACCV 2020), as its authors lay it out.

A folder `LTCC_ReID` (it, or the one that holds it) with `train/`, `query/` and `test/`, the gallery; of an
image `144_1_c11_011239.png` the name tells the person, the person's outfit, the camera (1 to 12) and the
frame. People are numbered from 0 through train and test, and keep their numbers. Clothes are the outfits of
all people (person and outfit, the text before `_c`), numbered in sorted order. All people are read, those
who change clothes and those who do not: `info/`, which lists them apart, is not needed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import Row, tabulate
from reid_lab.data.readers.layouts import home, named, present
from reid_lab.data.reading import Counts, Faults, Reader, Reading, ordered_numbers

LAYOUT = "train/, query/ and test/ (or LTCC_ReID/ with them)"
INSIDE = ("LTCC_ReID",)
EXAMPLE = "144_1_c11_011239.png (person, outfit, camera from 1)"
_FOLDERS = (("train", "train", ""), ("query", "test", "query"), ("test", "test", "gallery"))
_NAME = re.compile(r"(\d{1,9})_(\d{1,9})_c([1-9]\d{0,3})[._-].*", re.ASCII)


class LtccSpec(FolderSpec):
    """LTCC in the folder `root`. Photographs differ in size: `image_size` is what they are resized to."""

    name: Literal["ltcc"] = "ltcc"


def read(root: Path, faults: Faults) -> Reading:
    """Items folder by folder (train, query, gallery), in each by name; cameras from 0."""
    names = [folder for folder, _, _ in _FOLDERS]
    place = home(root, names, INSIDE, LAYOUT)
    there = present(root / place, names, faults, LAYOUT)
    found = [
        (split, side, path, int(match[1]), int(match[2]), int(match[3]) - 1)
        for folder, split, side in _FOLDERS
        if folder in there
        for path, match in named(root, f"{place}{folder}", _NAME, EXAMPLE, faults)
    ]
    clothes = ordered_numbers(_worn(pid, outfit) for _, _, _, pid, outfit, _ in found)
    return Reading(
        tabulate(
            [
                Row(split, "rgb", pid, moment, path, side=side, camid=camera, clothes=clothes[_worn(pid, outfit)])
                for moment, (split, side, path, pid, outfit, camera) in enumerate(found)
            ]
        )
    )


def _worn(pid: int, outfit: int) -> str:
    return f"{pid:09d}_{outfit:09d}"


def reader(spec: LtccSpec) -> Reader:
    """The reader; nothing of the spec matters to it."""
    return Reader(
        name=spec.name,
        read=read,
        layout=LAYOUT,
        expected={
            "train": Counts(77, 9576),
            "test query": Counts(75, 493),
            "test gallery": Counts(75, 7050),
        },
        source="Qian et al., ACCV 2020: 152 people, 17,119 images; counts by split as in CAMC-CCReID's reader",
    )
