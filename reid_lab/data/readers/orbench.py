"""ORBench (Zuo et al., "ReID5o: Achieving Omni Multi-modal Person Re-identification in a Single Model",
NeurIPS 2025), as its authors lay it out.

A folder with `vis/`, `nir/`, `cp/` and `sk/`, in each a folder per person (`0001` to `1000`); `train_annos.json`, a
list of {id, file_path, caption}; `test_gallery_and_queries.json`, whose `RGB_GALLERY` lists [pid, path] and whose
32 further keys (`omni.QUERY_KINDS`) list queries, [pid, item, …] in the order of the key, a TEXT item being
the caption itself. Infrared, colour pencil and sketch are paired with a photograph by the person only.
The ids of the two files need not mean the same: a person is known by the number of its folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from reid_lab.data.folders import FolderSpec
from reid_lab.data.items import Groups, Row, grouped, tabulate
from reid_lab.data.omni import KINDS
from reid_lab.data.readers.layouts import home, listing
from reid_lab.data.reading import (
    Faults,
    Reader,
    Reading,
    annotation_bytes,
    json_of,
    kind_of,
    record_faults,
    valid_text,
)
from reid_lab.errors import DataError, Fault, nearest

TRAIN, TEST = "train_annos.json", "test_gallery_and_queries.json"
GALLERY = "RGB_GALLERY"
FOLDERS = {"rgb": "vis", "nir": "nir", "cpencil": "cp", "sketch": "sk"}
LAYOUT = f"{TRAIN}, {TEST}, vis/, nir/, cp/ and sk/"
_KEYS: dict[str, type] = {"id": int, "file_path": str, "caption": str}
_LARGEST = 10**9


class OrBenchSpec(FolderSpec):
    """ORBench in the folder `root`. With `missing: skip`, people of train may lack a modality."""

    name: Literal["orbench"] = "orbench"


def read(root: Path, faults: Faults, *, partial_people: bool = False) -> Reading:
    """The items of train and test, and the authors' queries.

    Train: each photograph with its caption in the order of the records, then the other images of the same
    people, listed from their folders; no moment is shared between modalities. Test: the gallery, then what
    the queries name, each image once, and each caption once per person; captions tell no moment. pids are
    the numbers of the folders less 1.
    """
    base = home(root, (TRAIN, TEST), ("ORBench",), LAYOUT)
    (train, train_raw), (test, test_raw) = _opened(root / base)
    table = _Table(base, faults)
    people = _train(train, root / base / TRAIN, table)
    _partners(people, root / base, table, partial_people)
    pids = _gallery(test, root / base / TEST, table)
    members = _queries(test, root / base / TEST, table, pids)
    items = tabulate(table.rows)
    listed: dict[str, Groups] = {}
    for kind, rows in members.items():
        columns = np.array(rows, dtype=np.int64).reshape(-1, len(KINDS[kind])).T
        listed[kind] = grouped(items, "test", dict(zip(KINDS[kind], columns, strict=True)))
    # The published code reads all four with three channels: each has its own copy of a trunk's patch embedding.
    return Reading(items, train_raw + test_raw, listed, colour=tuple(FOLDERS), first_id=1)


@final
class _Table:
    """The rows found so far, and the faults. Images of queries are held once per path, captions once per person."""

    def __init__(self, base: str, faults: Faults) -> None:
        self.rows: list[Row] = []
        self.faults = faults
        self._base, self._moments = base, 0
        self._known: dict[tuple[str, int, str], int] = {}

    def image(self, split: str, role: str, pid: int, path: str, side: str = "") -> int:
        """A new image, of a moment of its own; the number of the moment."""
        self.rows.append(Row(split, role, pid, self._moments, f"{self._base}{path}", side=side))
        self._moments += 1
        return self._moments - 1

    def query(self, role: str, pid: int, value: str) -> int | str:
        """The row of an item of a query, or what is wrong with it."""
        key = (role, pid, value)
        if key not in self._known:
            if role == "caption":
                if not valid_text(value):
                    return "the caption is not valid Unicode"
                self.rows.append(Row("test", role, pid, -1, caption=value, side="query", number=0))
            else:
                person = _person(value, role)
                if isinstance(person, str):
                    return person
                if person != pid:
                    return f"{value} shows another person than the query's, whose folder is {pid + 1:04d}"
                self.image("test", role, pid, value, "query")
            self._known[key] = len(self.rows) - 1
        return self._known[key]


def _opened(folder: Path) -> list[tuple[Any, bytes]]:
    """What the two annotation files hold, and their bytes; a DataError tells what is wrong with both."""
    found: list[tuple[Any, bytes]] = []
    wrong: list[Fault] = []
    for name, kind, words in ((TRAIN, list, "a list of records"), (TEST, dict, "an object of lists")):
        try:
            raw = annotation_bytes(folder / name, LAYOUT)
            content = json_of(raw, folder / name)
            if not isinstance(content, kind) or not content:
                raise DataError(Fault(f"{words} is expected", str(folder / name)))
            found.append((content, raw))
        except DataError as error:
            wrong += error.faults
    if wrong:
        raise DataError(*wrong)
    return found


def _person(path: str, role: str) -> int | str:
    """The number of the person whose folder holds an image, less 1; or what is wrong with the path."""
    parts = path.split("/")
    plain = len(parts) == 3 and parts[0] == FOLDERS[role] and parts[2] not in ("", "..") and valid_text(path)
    number = parts[1] if plain and "\0" not in path else ""
    if not (number.isascii() and number.isdigit() and 1 <= int(number[:10]) <= _LARGEST):
        return f"the path must look like {FOLDERS[role]}/0001/x.jpg, not {path!r:.80}"
    return int(number) - 1


def _train(records: list[Any], path: Path, table: _Table) -> dict[str, int]:
    """Photographs and captions; returns folder -> pid, in sorted order."""
    people: dict[str, int] = {}
    pairs = _Pairs(table.faults, path, "id")
    for number, record in enumerate(records):
        wrong = record_faults(record, _KEYS)
        if not wrong:
            person = _person(record["file_path"], "rgb")
            if isinstance(person, str):
                wrong.append(f"file_path: {person}")
            if not valid_text(record["caption"]):
                wrong.append("caption is not valid Unicode")
        for what in wrong:
            table.faults.add("record", what, f"{path}: record {number}")
        if wrong or not isinstance(person, int):
            continue
        pairs.add(record["id"], person)
        people[record["file_path"].split("/")[1]] = person
        moment = table.image("train", "rgb", person, record["file_path"])
        table.rows.append(Row("train", "caption", person, moment, caption=record["caption"], number=0))
    pairs.tell()
    return dict(sorted(people.items()))


def _partners(people: Mapping[str, int], folder: Path, table: _Table, partial_people: bool) -> None:
    """The other images of the people of train. The published set has every modality of every person."""
    for role, name in list(FOLDERS.items())[1:]:
        if not os.path.isdir(folder / name):
            if not partial_people:
                table.faults.add("missing folder", f"the folder is missing; it should hold all {role}", folder / name)
            continue
        for person, pid in people.items():
            there = os.path.isdir(folder / name / person)
            empty = f"no images in it, but the person is in {TRAIN}" if there else "the folder is missing"
            empty = "" if partial_people else empty
            for image in listing(folder / name / person, "images", table.faults, empty):
                table.image("train", role, pid, f"{name}/{person}/{image}")


def _gallery(content: Mapping[str, Any], path: Path, table: _Table) -> dict[int, int]:
    """The gallery's photographs; returns the file's id -> pid."""
    pairs = _Pairs(table.faults, path, "pid")
    if content.get(GALLERY) == []:
        table.faults.add("key", f"{GALLERY} is empty", path)
    for number, record in _records(content, GALLERY, 1, path, table.faults):
        person = _person(record[1], "rgb")
        if isinstance(person, str):
            table.faults.add("record", person, f"{path}: {GALLERY}: record {number}")
            continue
        pairs.add(record[0], person)
        table.image("test", "rgb", person, record[1], "gallery")
    pairs.tell()
    return pairs.first


def _queries(
    content: Mapping[str, Any], path: Path, table: _Table, pids: Mapping[int, int]
) -> dict[str, list[list[int]]]:
    """Kind -> the rows of each query, in the order of the kind's roles; kinds in published order."""
    strange = [key for key in content if key not in KINDS and key != GALLERY]
    for key in strange:
        near = nearest(key, [kind for kind in (GALLERY, *KINDS) if kind not in content])
        table.faults.add("key", f"unknown key {key!r:.60}" + (f"; is '{near}' meant?" if near else ""), path)
    members: dict[str, list[list[int]]] = {}
    for kind, roles in KINDS.items():
        members[kind] = []
        for number, (pid, *values) in _records(content, kind, len(roles), path, table.faults):
            if pid not in pids:
                found: list[int | str] = [f"pid {pid} is not in {GALLERY}"]
            else:
                found = [table.query(role, pids[pid], value) for role, value in zip(roles, values, strict=True)]
            wrong = [what for what in found if isinstance(what, str)]
            for what in wrong if pids else ():
                table.faults.add("record", what, f"{path}: {kind}: record {number}")
            if not wrong:
                members[kind].append([row for row in found if isinstance(row, int)])
    return members


def _records(
    content: Mapping[str, Any], key: str, items: int, path: Path, faults: Faults
) -> Iterator[tuple[int, list[Any]]]:
    """The records [pid, item, …] of a key that have the right shape, with their numbers; the others are told."""
    if key not in content:
        faults.add("key", f"no key '{key}'", path)
        return
    if not isinstance(content[key], list):
        faults.add("key", f"{key} must be a list, not {kind_of(content[key])}", path)
        return
    for number, record in enumerate(content[key]):
        what = _misshapen(record, items)
        if what:
            faults.add("record", what, f"{path}: {key}: record {number}")
        else:
            yield number, record


def _misshapen(record: Any, items: int) -> str:
    if not isinstance(record, list):
        return f"a list is expected, not {kind_of(record)}"
    if len(record) != items + 1:
        return f"pid and {items} {'item' if items == 1 else 'items'} are expected, not {len(record)} values"
    if not isinstance(record[0], int) or isinstance(record[0], bool):
        return f"pid must be an integer, not {kind_of(record[0])}"
    for place, value in enumerate(record[1:], 1):
        if not isinstance(value, str):
            return f"item {place} must be a string, not {kind_of(value)}"
    return ""


@final
class _Pairs:
    """That an id of a file means one person, and a person has one id. `first`: id -> the person first met with it."""

    def __init__(self, faults: Faults, path: Path, name: str) -> None:
        self.first: dict[int, int] = {}
        self._of: dict[int, int] = {}
        self._wrong: dict[str, None] = {}
        self._faults, self._path, self._name = faults, path, name

    def add(self, number: int, person: int) -> None:
        """One record: the id in the file, and the person of the folder."""
        before, other = self.first.setdefault(number, person), self._of.setdefault(person, number)
        if before != person:
            self._wrong[f"{self._name} {number} stands for two folders: {before + 1:04d} and {person + 1:04d}"] = None
        elif other != number:
            self._wrong[f"folder {person + 1:04d} has two values of {self._name}: {other} and {number}"] = None

    def tell(self) -> None:
        """Adds what contradicts itself to the faults, each contradiction once."""
        for what in self._wrong:
            self._faults.add("identity", what, self._path)


def reader(spec: OrBenchSpec) -> Reader:
    """The reader of ORBench. The literature counts train and test together, so the counts stand in `source`."""
    return Reader(
        name="orbench",
        read=partial(read, partial_people=spec.missing == "skip"),
        layout=LAYOUT,
        expected={},
        source="Zuo et al., NeurIPS 2025, layout as in ReID5o's code; train and test together: 1000 people, 45113 rgb, "
        "26071 nir, 18000 cpencil and 18000 sketch images, 45113 captions",
    )
