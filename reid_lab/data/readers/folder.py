"""Your own data: a folder of images, and one CSV or Parquet file in it that describes them.

`items.csv`, in UTF-8 and separated by commas, has a row for each image or caption:

    path,pid,camid,split,side,modality,caption
    train/7_1.jpg,anna,gate,train,,rgb,a woman in a red coat with a backpack
    train/7_1.jpg,anna,gate,train,,rgb,she wears black trousers and carries a bag
    train/7_2.png,anna,yard,train,,nir,
    test/9_1.jpg,ben,gate,test,gallery,rgb,
    ,ben,,test,query,,a tall man with a grey cap
    test/x.jpg,,yard,test,query,rgb,

Required are `pid`, `split` (train, val, test), and `path` (relative to the folder) or `caption`; the other columns
may be left out, and so may their cells:

* `pid`, `camid`, `scene`, `clothes`: integers from 0 are kept; a column that holds anything else is numbered in
  sorted order. A query of test may do without a pid (it has rankings, but no part in the metrics).
* `side`: query or gallery; empty where the protocol decides. `modality`: a role or an alias; empty for rgb.
* `caption`, `id_caption`, `cloth_caption`: what is said of the image, of the body alone, of the clothes alone. A row
  that repeats a path adds a caption to that image; its other cells are as before, or empty. A caption without a
  path is a text of its own, unless a `moment` ties it to images.
* `moment`: rows of one moment share it, e.g. rgb, nir and tir of one shot. What is said of it twice counts once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from reid_lab.contracts import IMAGE_ROLES, TEXT_ROLES
from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import ABSENT, SIDES, SPLITS, Row, resolve_modality, tabulate
from reid_lab.data.readers.tables import Line, csv_lines, parquet_lines
from reid_lab.data.reading import Faults, Reader, Reading, annotation_bytes, ordered_numbers
from reid_lab.errors import DataError, Fault, unknown

COLUMNS = ("path", "pid", "camid", "scene", "clothes", "split", "side", "modality", *TEXT_ROLES, "moment")
REQUIRED = ("pid", "split")
_READERS = {".csv": csv_lines, ".parquet": parquet_lines, ".pq": parquet_lines}
_LABELS = ("pid", "camid", "scene", "clothes")
_OF_IMAGE = (*_LABELS, "split", "side", "modality", "moment")  # what must not change where a path is repeated
_LARGEST = 2**31
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", re.IGNORECASE)


class OwnSpec(FolderSpec):
    """Your own data in the folder `root`; `index` is the path of its CSV or Parquet file, relative to `root`."""

    name: Literal["folder"] = "folder"
    index: str = "items.csv"


def read(root: Path, faults: Faults, index: str, aliases: Mapping[str, str]) -> Reading:
    """Items in the order of the rows: an image where its path comes first, then what is said of it.

    `image_id` numbers the moments (an image without one is its own) as they come; a caption without image has none.
    """
    path = root / index
    if PurePosixPath(index).is_absolute() or ".." in PurePosixPath(index).parts:
        raise DataError(Fault(f"data.index lies outside {root}", index))
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(Fault(unknown("suffix", suffix, _READERS), str(path)))
    raw = annotation_bytes(path, f"{index} (data.index) and the images that it lists")
    columns, lines = _READERS[suffix](raw, path, faults)
    _check_columns(columns, path)
    good = [line for line in lines if not _told(line, aliases, faults)]
    numbers = {name: _numbers({line.cells.get(name, "") for line in good}) for name in _LABELS}
    items = _Items(numbers, aliases, faults)
    for line in good:
        items.add(line)
    return Reading(tabulate(items.rows), raw)


def _check_columns(columns: list[str], path: Path) -> None:
    wrong = [unknown("column", name, COLUMNS) for name in columns if name not in COLUMNS]
    wrong += [f"the column {name} stands there twice" for name in dict.fromkeys(columns) if columns.count(name) > 1]
    wrong += [f"no column {name}" for name in REQUIRED if name not in columns]
    if not {"path", *TEXT_ROLES} & set(columns):
        wrong.append("no column path")
    if wrong:
        where = f"{path}:1" if path.suffix.lower() == ".csv" else path
        raise DataError(*(Fault(what, str(where)) for what in wrong))


def _told(line: Line, aliases: Mapping[str, str], faults: Faults) -> bool:
    """Whether something is wrong with a row by itself; faults are told of it."""
    cells = line.cells
    wrong = []
    if not any(cells.get(name) for name in ("path", *TEXT_ROLES)):
        wrong.append("neither path nor caption")
    if "\0" in cells.get("path", ""):
        wrong.append(f"path {cells['path']!r} is no path")
    split, side = cells.get("split", ""), cells.get("side", "")
    if split not in SPLITS:
        wrong.append(unknown("split", split, SPLITS) if split else f"split is empty; allowed: {', '.join(SPLITS)}")
    if side not in SIDES:
        wrong.append(unknown("side", side, [name for name in SIDES if name]))
    asks = split == "test" and (side == "query" or not (side or cells.get("path")))
    if cells.get("pid", "") in ("", "-1") and not asks:
        wrong.append("pid is empty; only queries of test may do without")
    for name in _LABELS:
        value = cells.get(name, "")
        if _INTEGER.fullmatch(value) and not -1 <= int(value) <= _LARGEST:
            wrong.append(f"{name} must lie between 0 and {_LARGEST}, not {value}")
    wrong += [
        f"{name} must be text, not the number {cells[name]}"
        for name in TEXT_ROLES
        if _NUMBER.fullmatch(cells.get(name, "").strip())
    ]
    try:
        role = resolve_modality(cells.get("modality") or ("rgb" if cells.get("path") else "caption"), aliases)
        if cells.get("path") and role not in IMAGE_ROLES:
            wrong.append(f"modality '{cells['modality']}' is no image, and the row has a path")
        elif not cells.get("path") and role not in TEXT_ROLES:
            wrong.append(f"modality '{cells['modality']}' is an image, and the row has no path")
    except DataError as error:
        wrong.append(str(error))
    for what in wrong:
        faults.add("row", what, line.where)
    return bool(wrong)


def _numbers(values: set[str]) -> dict[str, int]:
    """Label -> number: integers as they are, or else places in sorted order; nothing and -1 are unknown."""
    labels = values - {"", "-1"}
    if all(_INTEGER.fullmatch(label) for label in labels):
        found = {label: int(label) for label in labels}
    else:
        found = ordered_numbers(labels)
    return found | {"": ABSENT, "-1": ABSENT}


@dataclass
class _Items:
    """The rows of the table of items, as the lines of the file come."""

    numbers: Mapping[str, Mapping[str, int]]
    aliases: Mapping[str, str]
    faults: Faults
    rows: list[Row] = field(default_factory=list)
    _images: dict[str, tuple[Line, Row]] = field(default_factory=dict)  # path -> where it came first
    _moments: dict[str, tuple[Line, int]] = field(default_factory=dict)
    _shown: dict[tuple[int, str], Line] = field(default_factory=dict)  # image_id and role
    _said: dict[int, list[tuple[str, ...]]] = field(default_factory=dict)  # image_id -> texts, in their order
    _seen: dict[tuple[str, ...], Line] = field(default_factory=dict)
    _count: int = 0

    def add(self, line: Line) -> None:
        """The items of one line, or a fault."""
        cells = line.cells
        said = tuple(cells.get(name, "").strip() for name in TEXT_ROLES)
        before = self._seen.setdefault((cells.get("path", ""), *said, *self._alone(cells)), line)
        if before is not line:
            self.faults.add("duplicate row", f"the same stands in {before.place}", line.where)
        elif cells.get("path"):
            image = self._image(line)
            if image is not None:
                self._say(image, said)
        else:
            self._say(self._row(line, "caption", self._moment(line)), said)

    def _alone(self, cells: Mapping[str, str]) -> tuple[str, ...]:
        """What tells texts without a path apart."""
        return () if cells.get("path") else tuple(cells.get(name, "") for name in _OF_IMAGE)

    def _image(self, line: Line) -> Row | None:
        path = str(PurePosixPath(line.cells["path"]))
        if path in self._images:
            first, row = self._images[path]
            for name in _OF_IMAGE:
                old, new = first.cells.get(name, ""), line.cells.get(name, "")
                if new and new != old:
                    what = f"{name} of {path} is '{new}', but '{old}' in {first.place}"
                    self.faults.add("row", what, line.where)
                    return None
            return row
        moment = self._moment(line)
        role = resolve_modality(line.cells.get("modality") or "rgb", self.aliases)
        if moment != ABSENT:
            before = self._shown.setdefault((moment, role), line)
            if before is not line:
                what = f"the moment {line.cells['moment']} has another {role} image in {before.place}"
                self.faults.add("row", what, line.where)
        row = self._row(line, role, self._new() if moment == ABSENT else moment, path)
        self._images[path] = line, row
        self.rows.append(row)
        return row

    def _row(self, line: Line, role: str, image_id: int, path: str | None = None) -> Row:
        pid, camid, scene, clothes = (self.numbers[name][line.cells.get(name, "")] for name in _LABELS)
        split, side = line.cells["split"], line.cells.get("side", "")
        return Row(split, role, pid, image_id, path, side=side, camid=camid, scene=scene, clothes=clothes)

    def _moment(self, line: Line) -> int:
        """The number of the line's moment; -1 where it names none."""
        name = line.cells.get("moment", "")
        if not name:
            return ABSENT
        if name not in self._moments:
            self._moments[name] = line, self._new()
        first, number = self._moments[name]
        for column in ("pid", "split"):
            old, new = first.cells.get(column, ""), line.cells.get(column, "")
            if new != old:
                what = f"{column} of the moment {name} is '{new}', but '{old}' in {first.place}"
                self.faults.add("row", what, line.where)
        return number

    def _new(self) -> int:
        self._count += 1
        return self._count - 1

    def _say(self, about: Row, said: tuple[str, ...]) -> None:
        if not any(said):
            return
        number = 0
        if about.image_id != ABSENT:
            known = self._said.setdefault(about.image_id, [])
            if said in known:
                return
            known.append(said)
            number = len(known) - 1
        for role, text in zip(TEXT_ROLES, said, strict=True):
            if text:
                self.rows.append(
                    Row(
                        about.split, role, about.pid, about.image_id, caption=text, side=about.side,
                        camid=about.camid, scene=about.scene, clothes=about.clothes, number=number,
                    )
                )  # fmt: skip


def reader(spec: OwnSpec) -> Reader:
    """The reader of the file that a spec names, with its names of modalities."""
    return Reader(
        name="folder",
        read=partial(read, index=spec.index, aliases=spec.aliases),
        layout=f"{spec.index} and the images that it lists",
        expected={},
        source="",
    )
