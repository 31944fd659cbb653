"""MSVR310 (Zheng et al., "Multi-spectral Vehicle Re-identification with Cross-directional Consistency Network
and a High-quality Benchmark", 2022), as its authors lay it out.

A folder with `bounding_box_train/`, `query3/` and `bounding_box_test/`; in each a folder per vehicle with
`vis/`, `ni/` and `th/`, where the three images of one moment have the same name, e.g. `0002_s002_v0_000.jpg`:
vehicle, scene, and camera from 0. Scenes tell times and places apart: the protocol removes gallery images
of the query's vehicle and scene. The queries are also in the gallery. pids are the authors' identities.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import Row, tabulate
from reid_lab.data.readers.layouts import home, in_spectra, listing
from reid_lab.data.reading import Counts, Faults, Reader, Reading

PARTS = (("train", "", "bounding_box_train"), ("test", "query", "query3"), ("test", "gallery", "bounding_box_test"))
SPECTRA = {"rgb": "vis", "nir": "ni", "tir": "th"}
LAYOUT = "bounding_box_train/, query3/ and bounding_box_test/, each with <vehicle>/{vis,ni,th}/"
_NAME = r"(?={vehicle}_)(\d{{4}})_s(\d{{3}})_v(\d).*"  # the vehicle is the folder's


class Msvr310Spec(FolderSpec):
    """MSVR310 in the folder `root`. With `missing: skip`, a moment goes without an image that is missing."""

    name: Literal["msvr310"] = "msvr310"


def read(root: Path, faults: Faults) -> Reading:
    """Items in sorted order of vehicles and names (train, query, gallery), each moment in the order rgb, nir, tir."""
    place = home(root, tuple(part for _, _, part in PARTS), ("MSVR310", "msvr310"), LAYOUT)
    rows: list[Row] = []
    moment = 0
    for split, side, part in PARTS:
        for vehicle in listing(root / place / part, "folders", faults, "no vehicles in it, or no such folder"):
            number = vehicle.rjust(4, "0")
            pattern = re.compile(_NAME.format(vehicle=re.escape(number)), re.ASCII)
            example = f"{number}_s002_v0_000.jpg (vehicle, scene, camera)"
            for paths, match in in_spectra(root, f"{place}{part}/{vehicle}", SPECTRA, pattern, example, faults):
                pid, scene, camera = (int(digits) for digits in match.groups())
                rows += [Row(split, role, pid, moment, path, None, side, camera, scene) for role, path in paths.items()]
                moment += 1
    # The files hold three channels in every spectrum, and the published codes feed all three to a trunk.
    return Reading(tabulate(rows), colour=tuple(SPECTRA))


def reader(spec: Msvr310Spec) -> Reader:
    """The reader of MSVR310."""
    return Reader(
        name="msvr310",
        read=read,
        layout=LAYOUT,
        expected={
            "train": Counts(155, 3 * 1032),
            "test query": Counts(52, 3 * 591),
            "test gallery": Counts(155, 3 * 1055),
        },
        source="Zheng et al., 2022; layout as in MambaPro's code; three images a moment",
    )
