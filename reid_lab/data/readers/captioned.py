"""What the text–image data sets have in common: a JSON list of records, each an image with its captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from reid_lab.contracts import IMAGE_ROLES
from reid_lab.data.captions.sidefile import read_parts
from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import ABSENT, SPLITS, Row, resolve_modality, tabulate
from reid_lab.data.reading import Faults, Reading, json_of, kind_of, ordered_numbers, record_faults, valid_text
from reid_lab.errors import DataError, Fault, unknown
from reid_lab.spec.section import LOCAL

IMAGES = "imgs"  # the folder of the images
_LARGEST_ID = 2**31

Record = Mapping[str, Any]


class CaptionedSpec(FolderSpec):
    """A text–image data set. `parts` names a side file with the identity and clothes part of every caption."""

    parts: Annotated[str | None, LOCAL] = None  # where it lies is no part of the identity; what it says is


@dataclass(frozen=True)
class Numbering:
    """The pid of every record; what ids count from; what was done to the ids, where that must be known."""

    pids: Sequence[int]
    first_id: int = 0
    note: str = ""


def counted_from(first: int) -> Callable[[Sequence[Record]], Numbering]:
    """pids that are ids less `first`, or less the lowest id of a file that goes below."""

    def pids(records: Sequence[Record]) -> Numbering:
        start = min([first, *(record["id"] for record in records)])
        return Numbering([record["id"] - start for record in records], start)

    return pids


@dataclass(frozen=True)
class Style:
    """How a data set writes its records.

    path_key: the key of the image's path, relative to `imgs/`. told: that path -> the camera, from 0, and the name
    of the scene, as far as the path tells them (else -1, None). pids: the good records -> the pid of each.
    joined: several records may show one image of one person; their captions are joined.
    """

    path_key: str
    told: Callable[[str], tuple[int, str | None]]
    pids: Callable[[Sequence[Record]], Numbering]
    splits: tuple[str, ...] = SPLITS
    joined: bool = False


def read_records(
    raw: bytes, path: Path, style: Style, faults: Faults, aliases: Mapping[str, str], parts: str | None = None
) -> Reading:
    """Items in the order of the records: each image, then its captions, each caption followed by its parts.

    `scene` numbers the scenes' names in sorted order; captions share camera and scene with their image.

    Args:
        raw: the bytes of the annotation file.
        path: where it lies; for messages.
        style: how its records are written.
        faults: is told of every record that cannot be used; those are left out.
        aliases: further names of modalities.
        parts: the side file; a part that it does not have is no item. Its paths may begin with `imgs/` or not.

    Raises:
        DataError: the annotation is no list of records.
    """
    records = _good(json_of(raw, path), path, style, faults, aliases)
    numbering = style.pids(records)
    told = [style.told(record[style.path_key]) for record in records]
    scenes = ordered_numbers(scene for _, scene in told if scene is not None)
    shots: dict[object, list[Row]] = {}
    for place, (record, pid, (camid, scene)) in enumerate(zip(records, numbering.pids, told, strict=True)):
        split, role = record["split"], resolve_modality(record.get("modality", "rgb"), aliases)
        file = str(PurePosixPath(IMAGES) / record[style.path_key])
        image = Row(split, role, pid, len(shots), file, camid=camid, scene=ABSENT if scene is None else scenes[scene])
        shown = shots.setdefault((file, role, split, pid) if style.joined else place, [image])
        shown += [
            replace(shown[0], role="caption", path=None, caption=caption, number=number)
            for number, caption in enumerate(record["captions"], start=len(shown) - 1)
        ]
    again = len(records) - len(shots)
    notes = [f"records of an image that an earlier record shows (captions joined): {again}"] if again else []
    notes += [numbering.note] if numbering.note else []
    rows = [row for shown in shots.values() for row in shown]
    if parts is not None:
        rows, digest = _with_parts(rows, Path(parts), faults)
        raw += digest
    return Reading(tabulate(rows), raw, first_id=numbering.first_id, notes=tuple(notes))


def _with_parts(rows: Sequence[Row], path: Path, faults: Faults) -> tuple[list[Row], bytes]:
    """The rows, each caption followed by the parts that the side file has of it; the digest of that file."""
    try:
        table = read_parts(path)
    except DataError as error:
        faults.include("parts", error)
        return list(rows), b""
    whole = not faults  # else a row may cite a record that was left out
    out: list[Row] = []
    known: set[tuple[str, int]] = set()
    shown = ""
    for row in rows:
        out.append(row)
        shown = row.path or shown
        if row.role == "caption":
            names = dict.fromkeys((shown, shown.removeprefix(f"{IMAGES}/")))
            known |= {(name, row.number) for name in names}
            found = (table.lookup(name, row.number) for name in names)
            identity, clothes = next((pair for pair in found if pair != (None, None)), (None, None))
            out += [replace(row, role="id_caption", caption=identity)] if identity is not None else []
            out += [replace(row, role="cloth_caption", caption=clothes)] if clothes is not None else []
    for name, number in table.unmatched(known) if whole else ():
        faults.add("parts", f"the data set has no caption {number} of {name}", path)
    return out, table.digest.encode()


def _good(records: Any, path: Path, style: Style, faults: Faults, aliases: Mapping[str, str]) -> list[Record]:
    """The records that can be used; the others are told of."""
    if not isinstance(records, list) or not records:
        raise DataError(Fault("a list of records is expected", str(path)))
    good = []
    for number, record in enumerate(records):
        wrong = list(_wrong(record, style, aliases))
        for what in wrong:
            faults.add("record", what, f"{path}: record {number}")
        if not wrong:
            good.append(record)
    return good


def _wrong(record: Any, style: Style, aliases: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with one record."""
    basic = record_faults(record, {"split": str, "captions": list, style.path_key: str, "id": int})
    if basic:
        yield from basic
        return
    if record["split"] not in style.splits:
        yield unknown("split", record["split"], style.splits)
    for number, caption in enumerate(record["captions"]):
        if not isinstance(caption, str):
            yield f"captions[{number}] must be a string, not {kind_of(caption)}"
        elif not valid_text(caption):
            yield f"captions[{number}] is not valid Unicode"
    name = record[style.path_key]
    if not name or "\0" in name or not valid_text(name):
        yield f"{style.path_key} {name!r} is no path"
    if not 0 <= record["id"] <= _LARGEST_ID:
        yield f"id must lie between 0 and {_LARGEST_ID}, not {record['id']}"
    try:
        if resolve_modality(str(record.get("modality", "rgb")), aliases) not in IMAGE_ROLES:
            yield f"modality '{record['modality']}' is no image"
    except DataError as error:
        yield str(error)
