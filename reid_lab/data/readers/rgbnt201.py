"""RGBNT201 (Zheng et al., "Robust Multi-Modality Person Re-identification", AAAI 2021), as its authors lay it out.

A folder with `train_171/` and `test/`, each with `RGB/`, `NI/` and `TI/`, where the three images of one
moment have the same name, e.g. `000258_cam1_0_00.jpg`: the first six digits are the identity, the digit
behind `cam` is the camera, from 1. Every image of `test` is query and gallery, so `side` is empty. pids
are the authors' identities. (`train_141`, a part of `train_171`, is not read.)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import Row, tabulate
from reid_lab.data.readers.layouts import home, in_spectra
from reid_lab.data.reading import Counts, Faults, Reader, Reading

PARTS = {"train": "train_171", "test": "test"}
SPECTRA = {"rgb": "RGB", "nir": "NI", "tir": "TI"}
LAYOUT = "train_171/ and test/, each with RGB/, NI/ and TI/"
EXAMPLE = "000258_cam1_0_00.jpg (identity, camera from 1)"
_NAME = re.compile(r"(\d{6})[^_]*_[^_]{3}([1-9]).*", re.ASCII)


class Rgbnt201Spec(FolderSpec):
    """RGBNT201 in the folder `root`. With `missing: skip`, a moment goes without an image that is missing."""

    name: Literal["rgbnt201"] = "rgbnt201"


def read(root: Path, faults: Faults) -> Reading:
    """Items moment by moment in sorted order of the names, each in the order rgb, nir, tir."""
    place = home(root, tuple(PARTS.values()), ("RGBNT201",), LAYOUT)
    rows: list[Row] = []
    moment = 0
    for split, part in PARTS.items():
        for paths, match in in_spectra(root, f"{place}{part}", SPECTRA, _NAME, EXAMPLE, faults):
            pid, camera = int(match[1]), int(match[2]) - 1
            rows += [Row(split, role, pid, moment, path, camid=camera) for role, path in paths.items()]
            moment += 1
    # The files hold three channels in every spectrum, and the published codes feed all three to a trunk.
    return Reading(tabulate(rows), colour=tuple(SPECTRA))


def reader(spec: Rgbnt201Spec) -> Reader:
    """The reader of RGBNT201."""
    return Reader(
        name="rgbnt201",
        read=read,
        layout=LAYOUT,
        expected={"train": Counts(171, 3 * 3951), "test": Counts(30, 3 * 836)},
        source="Zheng et al., AAAI 2021; layout as in MambaPro's code; three images a moment",
    )
