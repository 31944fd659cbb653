"""Market-1501 (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015), as its authors lay it out.

A folder with `bounding_box_train/`, `query/` and `bounding_box_test/`, as such or in `Market-1501-v15.09.15/`;
of an image `0002_c1s1_000451_03.jpg` the name tells the person, the camera (1 to 6), the recording of that
camera, the frame and the box. Persons keep their numbers: train and test share none. Person -1 is junk (a
box neither good nor bad) and is left out; person 0 stands for false detections: they stay in the gallery
with pid 0, where they match nobody. So 15,913 of the 19,732 files of `bounding_box_test/` remain: 13,115
images of 750 people and 2,798 distractors; 3,819 are junk. `gt_bbox/` and `gt_query/` are not read.

Much other data comes in this layout (DukeMTMC-reID: `0001_c2_f0046182.jpg`): further cameras, and names
without a recording, are read as well.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import ABSENT, Row, tabulate
from reid_lab.data.readers.layouts import home, named, present
from reid_lab.data.reading import Counts, Faults, Reader, Reading, ordered_numbers

LAYOUT = "bounding_box_train/, query/ and bounding_box_test/"
INSIDE = ("Market-1501-v15.09.15",)
EXAMPLE = "0002_c1s1_000451_03.jpg (person, camera from 1)"
_FOLDERS = (("bounding_box_train", "train", ""), ("query", "test", "query"), ("bounding_box_test", "test", "gallery"))
_NAME = re.compile(r"(-1|\d{1,9})_c([1-9]\d{0,3})(?:s(\d{1,4}))?[._-].*", re.ASCII)
_JUNK, _DISTRACTOR = -1, 0
_SEQUENCES = 10_000


class Market1501Spec(FolderSpec):
    """Market-1501 in the folder `root`. `image_size` null: as stored, 128 x 64."""

    name: Literal["market1501"] = "market1501"


def read(root: Path, faults: Faults) -> Reading:
    """Items folder by folder (train, query, gallery), in each by name; cameras from 0.

    `scene` numbers the recordings of all cameras, sorted by camera and recording; -1 where a name tells none.
    """
    names = [folder for folder, _, _ in _FOLDERS]
    place = home(root, names, INSIDE, LAYOUT)
    there = present(root / place, names, faults, LAYOUT)
    found, junk = [], 0
    for folder, split, side in _FOLDERS:
        for path, match in named(root, f"{place}{folder}", _NAME, EXAMPLE, faults) if folder in there else ():
            pid, camera = int(match[1]), int(match[2]) - 1
            if pid == _JUNK:
                junk += 1
                continue
            if pid == _DISTRACTOR and side != "gallery":
                what = "person 0 is a distractor, which only bounding_box_test/ holds; people count from 1"
                faults.add("distractor", what, root / path)
                continue
            recording = camera * _SEQUENCES + int(match[3]) if match[3] else ABSENT
            found.append((split, side, pid, camera, recording, path))
    scenes = {**ordered_numbers(row[4] for row in found if row[4] != ABSENT), ABSENT: ABSENT}
    return Reading(
        tabulate(
            [
                Row(split, "rgb", pid, moment, path=path, side=side, camid=camera, scene=scenes[recording])
                for moment, (split, side, pid, camera, recording, path) in enumerate(found)
            ]
        ),
        notes=(f"images of junk (person -1) that are left out: {junk}",) if junk else (),
    )


def reader(spec: Market1501Spec) -> Reader:
    """The reader; nothing of the spec matters to it. The distractors count as one identity of the gallery."""
    return Reader(
        name=spec.name,
        read=read,
        layout=LAYOUT,
        expected={
            "train": Counts(751, 12936),
            "test query": Counts(750, 3368),
            "test gallery": Counts(751, 15913),
        },
        source="Zheng et al., ICCV 2015; counts without junk, as in torchreid and fast-reid",
    )
