"""What `reid-lab data` does: open, count, check, write and split the captions of data sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from reid_lab.catalogue import cache_folder, load_data
from reid_lab.console import progress_bar
from reid_lab.contracts import IMAGE_ROLES
from reid_lab.data import DATASETS
from reid_lab.data.captions import split_all, write_parts
from reid_lab.data.check import Report, check
from reid_lab.data.items import SPLITS, Dataset
from reid_lab.data.readers.captioned import IMAGES
from reid_lab.data.reading import Faults, Reader
from reid_lab.data.synthetic import Synthetic, SyntheticSpec, open_synthetic
from reid_lab.data.writers import writer
from reid_lab.data.writers.base import refuse, write
from reid_lab.errors import DataError, Fault, SpecError


def open_data(name: str, sets: Sequence[str] = (), folder: Path | None = None) -> Dataset:
    """A data set opened by its name and overrides. Raises `SpecError` and the data set's own `DataError`.

    folder: `data.root`. A data set without a val split of its authors' is opened as it is.
    """
    spec = load_data(name, [*sets, *_rooted(folder)])
    written = any(text.replace(" ", "").startswith(("val=", "val.")) for text in sets)
    return DATASETS[name].open(spec, cache_folder()) if written else DATASETS[name].as_it_is(spec, cache_folder())


def _rooted(folder: Path | None) -> list[str]:
    return [] if folder is None else [f"root={json.dumps(str(folder))}"]


def _reader(name: str, folder: Path, sets: Sequence[str]) -> Reader:
    spec = load_data(name, [*sets, *_rooted(folder)])
    reader = DATASETS[name].reader(spec)
    if reader is None:
        each = "; name each of its sources by itself" if name == "merged" else ""
        raise SpecError(f"'{name}' is no data set in a folder{each}")
    return reader


def check_folder(name: str, folder: Path, sets: Sequence[str] = (), *, contents: bool = False) -> Report:
    """What is in a data set's folder and everything that is wrong with it; `contents`: hash the files' contents."""
    reader = _reader(name, folder, sets)
    with progress_bar("images") as progress:
        return check(reader, folder, contents=contents, progress=progress)


def write_layout(name: str, folder: Path, pixels: Literal["jpeg", "png"] = "jpeg", sets: Sequence[str] = ()) -> None:
    """Writes the embedded world in the layout of a data set; `sets` say how it is drawn. Raises `UserError`s."""
    how = writer(name)
    refuse(folder)
    knobs = {"roles": list(how.roles), **how.knobs}
    write(how, open_world("synthetic", [*(f"{k}={json.dumps(v)}" for k, v in knobs.items()), *sets]), folder, pixels)


def split_captions(
    name: str, folder: Path, target: Path, sets: Sequence[str] = (), *, replace: bool = False
) -> list[tuple[str, ...]]:
    """Writes a side file with the identity and clothes parts of a data set's captions.

    Its paths are those of the data set's own annotations. Returns the coverage as rows: what, how many, share.
    Raises `DataError` for a data set without captions, or that takes no side file, with faults, or a target that
    exists (unless `replace`).
    """
    reader, faults = _reader(name, folder, sets), Faults()
    if "parts" not in DATASETS[name].spec.model_fields:
        own = "; its captions' parts are the columns id_caption and cloth_caption" if name == "folder" else ""
        takers = [key for key, entry in DATASETS.items() if not entry.opener and "parts" in entry.spec.model_fields]
        raise DataError(f"{name} takes no side file (data.parts){own}; those that do: {', '.join(takers)}")
    if target.exists() and not replace:
        raise DataError(Fault("exists already; name a new file (--out) or write over it (--replace)", str(target)))
    items = reader.read(folder, faults).items
    faults.settle()
    images = np.isin(items.role, IMAGE_ROLES)
    file_of = dict(zip(items.image_id[images].tolist(), items.path[images].tolist(), strict=True))
    told = [
        (str(file_of[moment]).removeprefix(f"{IMAGES}/"), number, text)
        for role, moment, number, text in zip(
            items.role.tolist(), items.image_id.tolist(), items.number.tolist(), items.caption.tolist(), strict=True
        )
        if role == "caption" and moment in file_of
    ]
    if not told:
        raise DataError(Fault(f"{name} has no captions to split", str(folder)))
    rows, coverage = split_all(told)
    write_parts(target, rows, overwrite=replace)
    return [(what, str(count), share) for what, count, share in coverage.rows()]


def open_world(name: str, sets: Sequence[str] = ()) -> Synthetic:
    """The embedded benchmark, the one data set that can be drawn. Raises `SpecError` for any other name."""
    spec = load_data(name, sets)
    if not isinstance(spec, SyntheticSpec):
        raise SpecError(f"'{name}' is read from files; only synthetic can be drawn")
    return open_synthetic(spec, cache_folder())


COUNT_COLUMNS = ("split", "side", "role", "items", "identities", "cameras")
CAMERA_COLUMNS = ("split", "camera", "role", "items", "identities")


def counts(dataset: Dataset) -> list[tuple[str, ...]]:
    """Per split, side and role, in the order of `COUNT_COLUMNS`; `-` where sides or cameras are unknown."""
    items = dataset.items
    rows: list[tuple[str, ...]] = []
    for split, side, role in dict.fromkeys(
        zip(items.split.tolist(), items.side.tolist(), items.role.tolist(), strict=True)
    ):
        here = (items.split == split) & (items.side == side) & (items.role == role)
        cameras = set(items.camid[here].tolist()) - {-1}
        identities = len(set(items.pid[here].tolist()))
        rows.append((split, side or "-", role, str(int(here.sum())), str(identities), str(len(cameras) or "-")))
    return rows


def camera_counts(dataset: Dataset) -> list[tuple[str, ...]]:
    """Per split, camera and image role, in the order of `CAMERA_COLUMNS`; empty where cameras are unknown."""
    items = dataset.items
    known = (items.camid >= 0) & np.isin(items.role, IMAGE_ROLES)
    keys = sorted(
        set(zip(items.split[known].tolist(), items.camid[known].tolist(), items.role[known].tolist(), strict=True)),
        key=lambda key: (SPLITS.index(key[0]), key[1], IMAGE_ROLES.index(key[2])),
    )
    rows: list[tuple[str, ...]] = []
    for split, camera, role in keys:
        here = known & (items.split == split) & (items.camid == camera) & (items.role == role)
        rows.append((split, str(camera), role, str(int(here.sum())), str(len(set(items.pid[here].tolist())))))
    return rows
