"""PRCC (Yang, Wu and Zheng, "Person Re-identification by Contour Sketch under Moderate Clothing Change",
IEEE TPAMI 43(6), 2021), as its authors lay it out.

A folder with `rgb/` (it, the one that holds it as `prcc/`, or `rgb/` itself): `train/<id>/` and `val/<id>/` with
images `A_cropped_rgb001.jpg`, whose first letter is the camera, and `test/{A,B,C}/<id>/cropped_rgb001.jpg`.
Cameras A, B and C are 0, 1 and 2. People wear the same clothes before A and B and others before C, so each
has two outfits, numbered in the order of the ids. A is the gallery, B and C are queries: B those without,
C those with a change of clothes. Their gallery of one image a person, drawn ten times, is the protocol's.

`val/` holds further images of the people of `train/`, not other people: a network that is chosen by them is
chosen by people it has learnt. Here they are part of train, and `data.val` carves val by people. (CAL reads
train/ alone: 17,896 of these 22,898 images.)

One numbering of people goes through train and test (001 to 328, with gaps): ids are kept, and an id in both is
a fault. `sketch/` is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import Row, tabulate
from reid_lab.data.readers.layouts import home, listing, named, present
from reid_lab.data.reading import Counts, Faults, Reader, Reading, ordered_numbers

LAYOUT = "rgb/ with train/, val/ and test/"
INSIDE = ("rgb", "prcc/rgb", "PRCC/rgb")
CAMERAS = "ABC"
EXAMPLE = "A_cropped_rgb001.jpg (camera A, B or C)"
_CHANGED, _GALLERY = "C", "A"
_LEARNT = re.compile(r"([ABC])_.*", re.ASCII)
_TESTED = re.compile(r".*", re.DOTALL)
_ID = re.compile(r"\d{1,9}", re.ASCII)


class PrccSpec(FolderSpec):
    """PRCC in the folder `root`. Photographs differ in size: `image_size` is what they are resized to."""

    name: Literal["prcc"] = "prcc"


def read(root: Path, faults: Faults) -> Reading:
    """Items folder by folder (train, val, A, B, C of test), in each by id and name."""
    place = home(root, ("train", "val", "test"), INSIDE, LAYOUT)
    found = []
    for folder in present(root / place, ("train", "val", "test"), faults, LAYOUT):
        if folder != "test":
            found += [
                ("train", "", pid, match[1], path)
                for pid, person in _people(root / place, folder, faults)
                for path, match in named(root, f"{place}{person}", _LEARNT, EXAMPLE, faults)
            ]
            continue
        for camera in present(root / place / folder, tuple(CAMERAS), faults, "rgb/test/ with A/, B/ and C/"):
            found += [
                ("test", "gallery" if camera == _GALLERY else "query", pid, camera, path)
                for pid, person in _people(root / place, f"{folder}/{camera}", faults)
                for path, _ in named(root, f"{place}{person}", _TESTED, "cropped_rgb001.jpg", faults)
            ]
    clothes = ordered_numbers(_worn(pid, camera) for _, _, pid, camera, _ in found)
    return Reading(
        tabulate(
            [
                Row(
                    split,
                    "rgb",
                    pid,
                    moment,
                    path,
                    side=side,
                    camid=CAMERAS.index(camera),
                    clothes=clothes[_worn(pid, camera)],
                )
                for moment, (split, side, pid, camera, path) in enumerate(found)
            ]
        ),
        notes=("the images of rgb/val/ are part of train",),
    )


def _worn(pid: int, camera: str) -> int:
    return 2 * pid + (camera == _CHANGED)


def _people(base: Path, folder: str, faults: Faults) -> Iterator[tuple[int, str]]:
    """The id and the folder of each person, in the order of the names."""
    for name in listing(base / folder, "folders", faults, "there are no folders of people in it"):
        if _ID.fullmatch(name):
            yield int(name), f"{folder}/{name}"
        else:
            shown = str(base / folder / name).encode(errors="backslashreplace").decode()
            faults.add("folder name", "the folder's name is no person's number, e.g. 001", shown)


def reader(spec: PrccSpec) -> Reader:
    """The reader; nothing of the spec matters to it."""
    return Reader(
        name=spec.name,
        read=read,
        layout=LAYOUT,
        expected={
            "train": Counts(150, 22898),
            "test": Counts(71, 10800),
        },
        source="Yang et al., TPAMI 2021: 221 people, 33,698 images; train is 17,896 of train/ and 5,002 of val/",
    )
