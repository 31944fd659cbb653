"""CUHK-PEDES (Li et al., "Person Search with Natural Language Description", CVPR 2017), as its authors lay it out.

A folder with `reid_raw.json`, a list of {split, captions, file_path, processed_tokens, id}, and `imgs/`,
to which every `file_path` is relative. ids count from 1 (a file that counts from 0 is read as well); cameras are
not told. Data of your own in this layout may name the `modality` of a record's image; without it, the image is rgb.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from reid_lab.data.items import ABSENT
from reid_lab.data.readers.captioned import IMAGES, CaptionedSpec, Style, counted_from, read_records
from reid_lab.data.reading import Counts, Faults, Reader, Reading, annotation_bytes

ANNOTATIONS = "reid_raw.json"
LAYOUT = f"{ANNOTATIONS} and {IMAGES}/"


class CuhkPedesSpec(CaptionedSpec):
    """CUHK-PEDES in the folder `root`. Photographs differ in size: `image_size` is what they are resized to."""

    name: Literal["cuhk_pedes"] = "cuhk_pedes"


def _told(path: str) -> tuple[int, str]:
    """No camera; the scene is the folder of the image (cam_a, CUHK01, …): the data set that it was taken from."""
    return ABSENT, str(PurePosixPath(path).parent)


STYLE = Style("file_path", _told, counted_from(1))


def read(root: Path, faults: Faults, aliases: Mapping[str, str], parts: str | None = None) -> Reading:
    """The records of `reid_raw.json`; pids are ids less 1."""
    path = root / ANNOTATIONS
    return read_records(annotation_bytes(path, LAYOUT), path, STYLE, faults, aliases, parts)


def reader(spec: CuhkPedesSpec) -> Reader:
    """The reader with the names of modalities that a spec adds, and its file of parts."""
    return Reader(
        name="cuhk_pedes",
        read=partial(read, aliases=spec.aliases, parts=spec.parts),
        layout=LAYOUT,
        expected={
            "train": Counts(11003, 34054, 68126),
            "val": Counts(1000, 3078, 6158),
            "test": Counts(1000, 3074, 6156),
        },
        source="Li et al., CVPR 2017; counts as in IRRA's code",
    )
