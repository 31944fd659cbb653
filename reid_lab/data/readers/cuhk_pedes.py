"""CUHK-PEDES (Li et al., "Person Search with Natural Language Description", CVPR 2017), as its authors lay it out.

A folder with `reid_raw.json`, a list of {split, captions, file_path, processed_tokens, id}, and `imgs/`,
to which every `file_path` is relative. ids count from 1; cameras are not told. Data of your own in this
layout may name the `modality` of a record's image; without it, the image is rgb.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from reid_lab.contracts import IMAGE_ROLES
from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import SPLITS, Row, resolve_modality, tabulate
from reid_lab.data.reading import (
    Counts,
    Faults,
    Reader,
    Reading,
    annotation_bytes,
    json_of,
    kind_of,
    ordered_numbers,
    record_faults,
    valid_text,
)
from reid_lab.errors import DataError, Fault, unknown

ANNOTATIONS, IMAGES = "reid_raw.json", "imgs"
LAYOUT = f"{ANNOTATIONS} and {IMAGES}/"
_KEYS: dict[str, type] = {"split": str, "captions": list, "file_path": str, "id": int}
_LARGEST_ID = 2**31


class CuhkPedesSpec(FolderSpec):
    """CUHK-PEDES in the folder `root`. Photographs differ in size: `image_size` is what they are resized to."""

    name: Literal["cuhk_pedes"] = "cuhk_pedes"


def read(root: Path, faults: Faults, aliases: Mapping[str, str]) -> Reading:
    """Items in the order of the records: each image, then its captions; pids are ids less 1.

    `scene` numbers the folders of the images (cam_a, CUHK01, …) in sorted order.
    """
    path = root / ANNOTATIONS
    raw = annotation_bytes(path, LAYOUT)
    records = json_of(raw, path)
    if not isinstance(records, list) or not records:
        raise DataError(Fault("a list of records is expected", str(path)))
    good = []
    for number, record in enumerate(records):
        wrong = list(_wrong(record, aliases))
        for what in wrong:
            faults.add("record", what, f"{path}: record {number}")
        if not wrong:
            good.append(record)
    scenes = ordered_numbers(_folder(record) for record in good)
    rows = []
    for moment, record in enumerate(good):
        split, pid, scene = record["split"], record["id"] - 1, scenes[_folder(record)]
        role = resolve_modality(record.get("modality", "rgb"), aliases)
        rows.append(Row(split, role, pid, moment, path=f"{IMAGES}/{record['file_path']}", scene=scene))
        rows += [
            Row(split, "caption", pid, moment, caption=caption, scene=scene, number=number)
            for number, caption in enumerate(record["captions"])
        ]
    return Reading(tabulate(rows), raw, first_id=1)


def _folder(record: dict[str, Any]) -> str:
    return str(PurePosixPath(record["file_path"]).parent)


def _wrong(record: Any, aliases: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with one record."""
    basic = record_faults(record, _KEYS)
    if basic:
        yield from basic
        return
    if record["split"] not in SPLITS:
        yield unknown("split", record["split"], SPLITS)
    for number, caption in enumerate(record["captions"]):
        if not isinstance(caption, str):
            yield f"captions[{number}] must be a string, not {kind_of(caption)}"
        elif not valid_text(caption):
            yield f"captions[{number}] is not valid Unicode"
    name = record["file_path"]
    if not name or "\0" in name or not valid_text(name):
        yield f"file_path {name!r} is no path"
    if not 1 <= record["id"] <= _LARGEST_ID:
        yield f"id must lie between 1 and {_LARGEST_ID}, not {record['id']}"
    try:
        if resolve_modality(str(record.get("modality", "rgb")), aliases) not in IMAGE_ROLES:
            yield f"modality '{record['modality']}' is no image"
    except DataError as error:
        yield str(error)


def reader(spec: CuhkPedesSpec) -> Reader:
    """The reader with the names of modalities that a spec adds."""
    return Reader(
        name="cuhk_pedes",
        read=partial(read, aliases=spec.aliases),
        layout=LAYOUT,
        expected={
            "train": Counts(11003, 34054, 68126),
            "val": Counts(1000, 3078, 6158),
            "test": Counts(1000, 3074, 6156),
        },
        source="Li et al., CVPR 2017; counts as in IRRA's code",
    )
