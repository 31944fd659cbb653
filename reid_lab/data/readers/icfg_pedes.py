"""ICFG-PEDES (Ding et al., "Semantically Self-Aligned Network for Text-to-Image Part-aware Person
Re-identification", arXiv:2107.12666), as its authors lay it out.

A folder with `ICFG_PEDES.json` (`ICFG-PEDES.json` is the same file), a list of {split, captions, file_path,
processed_tokens, id}, and `imgs/{train,test}`, to which every `file_path` is relative. ids count from 0; there is
no val split. The images are MSMT17's and keep its folders, so a training image may lie under `test/`, and its
names: `0627_010_05_0303afternoon_1591_0.jpg` was taken by camera 5 (camid 4) on the afternoon of 3 March.

Two irregularities are read as they are meant: an image of train that two records show becomes one image
with two captions (there are 34,673 files for 34,674 captions), and where test counts its people from 0 anew, as the
folders show, they are numbered after those of train.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from reid_lab.data.items import ABSENT
from reid_lab.data.readers.captioned import IMAGES, CaptionedSpec, Numbering, Record, Style, read_records
from reid_lab.data.reading import Counts, Faults, Reader, Reading, annotation_bytes
from reid_lab.errors import DataError, Fault

ANNOTATIONS = ("ICFG_PEDES.json", "ICFG-PEDES.json")
LAYOUT = f"{ANNOTATIONS[0]} and {IMAGES}/"
_MSMT17 = re.compile(r"\d+_\d+_(\d+)_([^_]+)_")


class IcfgPedesSpec(CaptionedSpec):
    """ICFG-PEDES in the folder `root`; the authors have no val split, so `val` carves one or is `none`."""

    name: Literal["icfg_pedes"] = "icfg_pedes"


def _told(path: str) -> tuple[int, str | None]:
    """Camera and time of day, where the file's name is one of MSMT17."""
    found = _MSMT17.match(PurePosixPath(path).name)
    return (max(int(found[1]) - 1, ABSENT), found[2]) if found else (ABSENT, None)


def _numbered(records: Sequence[Record]) -> Numbering:
    """ids as they are; where test counts anew, its ids are moved behind those of the other splits."""
    folders: dict[int, tuple[set[str], set[str]]] = {}
    for record in records:
        people = folders.setdefault(record["id"], (set(), set()))
        people[record["split"] == "test"].add(str(PurePosixPath(record["file_path"]).parent))
    shared = [people for people in folders.values() if all(people)]
    anew = shared and all(not train & test and all("/" in folder for folder in train | test) for train, test in shared)
    if not anew:
        return Numbering([record["id"] for record in records])
    ids = [record["id"] for record in records if record["split"] != "test"]
    behind = max(ids) + 1
    pids = [record["id"] + behind * (record["split"] == "test") for record in records]
    return Numbering(pids, note=f"test counts its people anew: {behind} was added to their ids")


STYLE = Style("file_path", _told, _numbered, joined=True)


def read(root: Path, faults: Faults, aliases: Mapping[str, str], parts: str | None = None) -> Reading:
    """The records of the annotation under either name; two files that differ are refused. pids are ids."""
    there = [root / name for name in ANNOTATIONS if (root / name).is_file()]
    path = there[0] if there else root / ANNOTATIONS[0]
    raw = annotation_bytes(path, LAYOUT)
    if len(there) > 1 and annotation_bytes(there[1], LAYOUT) != raw:
        raise DataError(Fault(f"differs from {ANNOTATIONS[0]} beside it; remove one of the two", str(there[1])))
    return read_records(raw, path, STYLE, faults, aliases, parts)


def reader(spec: IcfgPedesSpec) -> Reader:
    """The reader with the names of modalities that a spec adds, and its file of parts."""
    return Reader(
        name="icfg_pedes",
        read=partial(read, aliases=spec.aliases, parts=spec.parts),
        layout=LAYOUT,
        expected={"train": Counts(3102, 34674, 34674), "test": Counts(1000, 19848, 19848)},
        source="Ding et al., arXiv:2107.12666 (its records: one image each)",
    )
