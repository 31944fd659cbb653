"""MSVR310 (Zheng et al., "Multi-spectral Vehicle Re-identification with Cross-directional Consistency Network
and a High-quality Benchmark", 2022), as its authors lay it out.

A folder with `bounding_box_train/`, `query3/` and `bounding_box_test/`; in each a folder per vehicle with
`vis/`, `ni/` and `th/`, where the three images of one moment have the same name, e.g. `0002_s002_v0_000.jpg`:
vehicle, scene, and camera from 0. Scenes tell times and places apart: the protocol removes gallery images
of the query's vehicle and scene. The queries are also in the gallery. pids are the authors' identities.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import Row, tabulate
from reid_lab.data.readers.layouts import base_of, listing
from reid_lab.data.reading import Counts, Faults, Reader, Reading

PARTS = (("train", "", "bounding_box_train"), ("test", "query", "query3"), ("test", "gallery", "bounding_box_test"))
SPECTRA = {"rgb": "vis", "nir": "ni", "tir": "th"}
LAYOUT = "bounding_box_train/, query3/ and bounding_box_test/, each with <vehicle>/{vis,ni,th}/"
_NAME = re.compile(r"(\d{4})_s(\d{3})_v(\d)", re.ASCII)


class Msvr310Spec(FolderSpec):
    """MSVR310 in the folder `root`. With `missing: skip`, a moment goes without an image that is missing."""

    name: Literal["msvr310"] = "msvr310"


def read(root: Path, faults: Faults) -> Reading:
    """Items in sorted order of vehicles and names (train, query, gallery), each moment in the order rgb, nir, tir.

    The published set is complete, so a name that one spectrum has is expected of all three: what is missing
    is told as a missing image, like one that an annotation cites.
    """
    base = base_of(root, tuple(part for _, _, part in PARTS), ("MSVR310", "msvr310"), LAYOUT)
    rows: list[Row] = []
    moment = 0
    for split, side, part in PARTS:
        for vehicle in listing(root / base / part, "folders", faults, "no vehicles in it, or no such folder"):
            folders = {role: f"{base}{part}/{vehicle}/{spectrum}" for role, spectrum in SPECTRA.items()}
            before = len(faults.found)
            names = sorted({name for folder in folders.values() for name in listing(root / folder, "images", faults)})
            if not names and len(faults.found) == before:
                what = f"no images in its folders {', '.join(SPECTRA.values())}"
                faults.add("missing folder", what, root / base / part / vehicle)
            for name in names:
                told = _NAME.match(name)
                if told is None or vehicle.lstrip("0") != told[1].lstrip("0"):
                    where = next(root / at / name for at in folders.values() if os.path.lexists(root / at / name))
                    what = f"the name must look like {vehicle:>04}_s002_v0_000.jpg (vehicle, scene, camera)"
                    faults.add("file name", what, where)
                    continue
                pid, scene, camera = (int(number) for number in told.groups())
                rows += [
                    Row(split, role, pid, moment, f"{folders[role]}/{name}", None, side, camera, scene)
                    for role in SPECTRA
                ]
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
