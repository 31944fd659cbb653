"""RSTPReid (Zhu et al., "DSSL: Deep Surroundings-person Separation Learning for Text-based Person Retrieval",
ACM Multimedia 2021), as its authors lay it out.

A folder with `data_captions.json`, a list of {id, img_path, captions, split}, and `imgs/`, to which every
`img_path` is relative. ids count from 0; two captions an image; five images a person, by different cameras of
MSMT17's fifteen: `0000_c14_0031.jpg` was taken by camera 14 (camid 13). Scenes are not told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from reid_lab.data.items import ABSENT
from reid_lab.data.readers.captioned import IMAGES, CaptionedSpec, Style, counted_from, read_records
from reid_lab.data.reading import Counts, Faults, Reader, Reading, annotation_bytes

ANNOTATIONS = "data_captions.json"
LAYOUT = f"{ANNOTATIONS} and {IMAGES}/"
_CAMERA = re.compile(r"\d+_c(\d+)_")


class RstpReidSpec(CaptionedSpec):
    """RSTPReid in the folder `root`. Photographs differ in size: `image_size` is what they are resized to."""

    name: Literal["rstpreid"] = "rstpreid"


def _told(path: str) -> tuple[int, None]:
    """The camera, where the file's name tells it."""
    found = _CAMERA.match(PurePosixPath(path).name)
    return (max(int(found[1]) - 1, ABSENT) if found else ABSENT), None


STYLE = Style("img_path", _told, counted_from(0))


def read(root: Path, faults: Faults, aliases: Mapping[str, str], parts: str | None = None) -> Reading:
    """The records of `data_captions.json`; pids are ids."""
    path = root / ANNOTATIONS
    return read_records(annotation_bytes(path, LAYOUT), path, STYLE, faults, aliases, parts)


def reader(spec: RstpReidSpec) -> Reader:
    """The reader with the names of modalities that a spec adds, and its file of parts."""
    return Reader(
        name="rstpreid",
        read=partial(read, aliases=spec.aliases, parts=spec.parts),
        layout=LAYOUT,
        expected={
            "train": Counts(3701, 18505, 37010),
            "val": Counts(200, 1000, 2000),
            "test": Counts(200, 1000, 2000),
        },
        source="Zhu et al., ACM Multimedia 2021",
    )
