"""MSMT17 (Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification", CVPR 2018),
as its authors lay it out.

A folder (it, or the one that holds it as `MSMT17_V1/` or `MSMT17_V2/`) with `list_train.txt`, `list_val.txt`,
`list_query.txt` and `list_gallery.txt`, whose lines are `0000/0000_000_01_0303morning_0015_0.jpg 0`, a path
and a person, and `train/` and `test/`, which the paths are relative to (`mask_train_v2/` and `mask_test_v2/`
in the second version, whose faces are blurred). The file's name tells the person, the number of the image,
the camera (1 to 15), the day with its part, and the frame.

`list_val.txt` holds further images of the people of `list_train.txt`, not other people: they are part of
train, as in CLIP-ReID (32,621 images; torchreid and fast-reid train on list_train.txt alone
unless told to combine), and `data.val` carves val by people. People count from 0 in train and again in test:
those of test are moved up by the largest number of train plus 1 (published: 1041).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import ABSENT, Row, tabulate
from reid_lab.data.readers.layouts import home
from reid_lab.data.reading import Counts, Faults, Reader, Reading, annotation_bytes, ordered_numbers
from reid_lab.errors import DataError

LAYOUT = "list_train.txt, list_val.txt, list_query.txt, list_gallery.txt, train/ and test/"
INSIDE = ("MSMT17_V1", "MSMT17_V2", "MSMT17", "msmt17")
_LISTS = (("train", "train", ""), ("val", "train", ""), ("query", "test", "query"), ("gallery", "test", "gallery"))
_FOLDERS = {"train": ("train", "mask_train_v2"), "test": ("test", "mask_test_v2")}
_LINE = re.compile(r"(?P<path>\S(?:.*\S)?)\s+(?P<pid>\d{1,9})", re.ASCII)
_NAME = re.compile(r"(?:.*/)?\d+_\d+_(?P<camera>\d{1,4})(?:_(?P<slot>[!-~]+?))?(?:_.*|\.\w+)", re.ASCII)
_EXAMPLE = "0000/0000_000_01_0303morning_0015_0.jpg 0"


class Msmt17Spec(FolderSpec):
    """MSMT17 in the folder `root`. Photographs differ in size: `image_size` is what they are resized to."""

    name: Literal["msmt17"] = "msmt17"


@dataclass(frozen=True)
class _Line:
    split: str
    side: str
    path: str
    pid: int
    camera: int
    slot: str


def read(root: Path, faults: Faults) -> Reading:
    """Items in the order of the lists (train, val, query, gallery) and their lines; cameras from 0.

    `scene` numbers the parts of days (`0303morning`, …) in sorted order; -1 where a name tells none.
    """
    place = home(root, [*(f"list_{name}.txt" for name, _, _ in _LISTS), *_FOLDERS], INSIDE, LAYOUT)
    base = root / place
    lines: list[_Line] = []
    raw = []
    folders = {split: _folder(base, split, faults) for split in _FOLDERS}
    for name, split, side in _LISTS:
        path = base / f"list_{name}.txt"
        try:
            raw.append(annotation_bytes(path, LAYOUT))
        except DataError as error:
            for fault in error.faults:
                faults.add("list", fault.what, fault.where)
            continue
        found = list(_lines(raw[-1], path, split, side, faults))
        if folders[split] is not None:
            lines += found
    moved = max((line.pid for line in lines if line.split == "train"), default=-1) + 1
    slots = {**ordered_numbers(line.slot for line in lines if line.slot), "": ABSENT}
    rows = [
        Row(
            line.split,
            "rgb",
            line.pid + (moved if line.split == "test" else 0),
            moment,
            f"{place}{folders[line.split]}/{line.path}",
            side=line.side,
            camid=line.camera,
            scene=slots[line.slot],
        )
        for moment, line in enumerate(lines)
    ]
    notes = ("the images of list_val.txt are part of train", f"people of test are moved up by {moved}")
    return Reading(tabulate(rows), b"\0".join(raw), notes=notes)


def _folder(base: Path, split: str, faults: Faults) -> str | None:
    """The folder of a split's images; None, with a fault, where neither version's is there."""
    for name in _FOLDERS[split]:
        if os.path.isdir(base / name):
            return name
    first, second = _FOLDERS[split]
    faults.add("missing folder", f"no such folder, nor {second}/; data.root must hold {LAYOUT}", base / first)
    return None


def _lines(raw: bytes, path: Path, split: str, side: str, faults: Faults) -> Iterator[_Line]:
    """The lines of one list that can be used; the others are faults."""
    empty = True
    for number, line in enumerate(raw.decode("utf-8-sig", errors="replace").split("\n"), start=1):
        if not line.strip():
            continue
        empty, where = False, f"{path}:{number}"
        parts = _LINE.fullmatch(line.strip())
        if parts is None:
            faults.add(
                "line",
                f"a path and a person's number are expected, as in '{_EXAMPLE}', not {line.strip()!r:.80}",
                where,
            )
            continue
        name = _NAME.fullmatch(parts["path"])
        if name is None or not int(name["camera"]):
            what = "the third part of the file's name must be a camera, 01 or above, as in"
            faults.add("file name", f"{what} '{_EXAMPLE}', not {parts['path']!r:.80}", where)
            continue
        yield _Line(split, side, parts["path"], int(parts["pid"]), int(name["camera"]) - 1, name["slot"] or "")
    if empty:
        faults.add("list", "the list is empty", path)


def reader(spec: Msmt17Spec) -> Reader:
    """The reader; nothing of the spec matters to it."""
    return Reader(
        name=spec.name,
        read=read,
        layout=LAYOUT,
        expected={
            "train": Counts(1041, 32621),
            "test query": Counts(3060, 11659),
            "test gallery": Counts(3060, 82161),
        },
        source="Wei et al., CVPR 2018; counts as in torchreid, fast-reid and CLIP-ReID, val being part of train",
    )
