"""What every reader of a folder agrees on: `Reader`, `Reading`, and the list of what is wrong.

A reader turns a folder, as its authors lay it out, into items; it opens annotations and lists folders,
but no image. Everything that is wrong is gathered in `Faults`, so that opening a data set can refuse with
all of it, and `reid-lab data check` can print all of it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from reid_lab.data.items import Groups, Items
from reid_lab.errors import DataError, Fault, nearest

SHOWN = 5  # faults of one kind that an error lists; the others are counted

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@final
class Faults:
    """What is wrong with a data set, in the order found; kinds keep faults of one sort together."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Fault]] = []

    def add(self, kind: str, what: str, where: str | Path = "") -> None:
        """One fault. kind: a few words for the sort, the same for all of it, e.g. `missing image`.

        Line ends and other letters that do not print are escaped: a fault is one line, whatever a file holds.
        """
        self.found.append((kind, Fault(printable(what), printable(str(where)))))

    def include(self, kind: str, error: DataError) -> None:
        """All faults of an error."""
        for fault in error.faults:
            self.add(kind, fault.what, fault.where)

    def __bool__(self) -> bool:
        return bool(self.found)

    def counts(self) -> dict[str, int]:
        """Faults of each kind, in the order in which the kinds were first found."""
        return dict(Counter(kind for kind, _ in self.found))

    def settle(self) -> None:
        """Raises `DataError` when anything was found: the first faults of every kind, and the number of the others."""
        if not self.found:
            return
        lines: list[Fault | str] = []
        for kind, count in self.counts().items():
            own = [fault for of, fault in self.found if of == kind]
            lines += own[:SHOWN]
            if count > SHOWN:
                lines.append(f"… and {count - SHOWN} more of this kind ({kind})")
        raise DataError(*lines)


@dataclass(frozen=True)
class Counts:
    """What the literature counts in a split; None where it says nothing, or counts differently.

    images: of all image roles together.
    """

    identities: int | None = None
    images: int | None = None
    captions: int | None = None


@dataclass(frozen=True)
class Reading:
    """What a reader found.

    items: `path` is relative to the data set's folder (the root itself, so `imgs/cam_a/1.jpg`), in POSIX form.
    annotations: the bytes of the files that were read (in a fixed order); part of the digest.
    listed: queries that the authors list (`Dataset.listed`).
    windows: role -> (left, top, width, height) of its part of a file, where one file holds several roles.
    colour: the roles that are read with three channels; the others have one.
    first_id: what the authors count identities from, where pids are their ids less this; for messages.
    notes: what a reader did that its user should know, one line each; no faults.
    """

    items: Items
    annotations: bytes = b""
    listed: Mapping[str, Groups] = field(default_factory=dict)
    windows: Mapping[str, tuple[int, int, int, int]] = field(default_factory=dict)
    colour: Collection[str] = ("rgb", "cpencil")
    first_id: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """One data set as its authors ship it.

    read: (root, faults) -> what is there; it adds to `faults` whatever is wrong and goes on as far as it
        can (a record that cannot be used is left out). It raises `DataError` only where nothing can be read.
    layout: what the folder holds, for the message when it does not, e.g. `reid_raw.json and imgs/`.
    expected: counts of the literature, by split (`train`, `val`, `test`, or `test query`, `test gallery`).
    source: where layout and counts are from.
    """

    name: str
    read: Callable[[Path, Faults], Reading]
    layout: str
    expected: Mapping[str, Counts]
    source: str


def entries(folder: Path, kind: Literal["files", "folders", "images"] = "files") -> list[str]:
    """The names in a folder in sorted order (hidden ones left out); none where there is no such folder.

    Sorting makes numbering the same on every machine: file systems list in any order.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            names = [e.name for e in found if not e.name.startswith(".") and _of_kind(e, kind)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(Fault(f"the folder cannot be read ({error.strerror or error})", str(folder))) from None
    return sorted(names)


def _of_kind(entry: os.DirEntry[str], kind: str) -> bool:
    try:
        folder = entry.is_dir()
    except OSError:  # a loop of links: the image itself is reported where images are looked for
        folder = False
    if kind == "folders":
        return folder
    return not folder and (kind == "files" or entry.name.lower().endswith(IMAGE_SUFFIXES))


def ordered_numbers(values: Iterable[int | str]) -> dict[Any, int]:
    """Each distinct value with its place in sorted order: relabelling that is the same on every machine."""
    return {value: number for number, value in enumerate(sorted(set(values)))}


def annotation_bytes(path: Path, layout: str) -> bytes:
    """The bytes of an annotation file.

    Raises:
        DataError: it is missing (`layout` says what the folder must hold) or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(Fault(f"no such file; data.root must hold {layout}", str(path))) from None
    except OSError as error:
        raise DataError(Fault(f"cannot be read ({error.strerror or error})", str(path))) from None


def json_of(raw: bytes, path: Path) -> Any:
    """What a JSON file holds. Raises `DataError` with line and column where it is no JSON."""
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        raise DataError(Fault(f"no JSON ({error.msg})", f"{path}:{error.lineno}:{error.colno}")) from None
    except (ValueError, RecursionError) as error:
        raise DataError(Fault(f"no JSON ({error})", str(path))) from None


_WORDS = {str: "a string", list: "a list", int: "an integer", float: "a number", dict: "an object"}


def kind_of(value: Any) -> str:
    """What a value of a JSON file is, in words."""
    return json.dumps(value) if value is None or isinstance(value, bool) else _WORDS[type(value)]


def record_faults(record: Any, keys: Mapping[str, type]) -> list[str]:
    """What is wrong with the keys of one JSON record, in words: missing ones (with the nearest), wrong types."""
    if not isinstance(record, dict):
        return [f"an object is expected, not {kind_of(record)}"]
    wrong = []
    for key, kind in keys.items():
        if key not in record:
            near = nearest(key, [k for k in record if k not in keys])
            wrong.append(f"no key '{key}'" + (f"; is '{near}' meant?" if near else ""))
        elif not isinstance(record[key], kind) or isinstance(record[key], bool):
            wrong.append(f"{key} must be {_WORDS[kind]}, not {kind_of(record[key])}")
    return wrong


def printable(text: str) -> str:
    """The text with an escape, such as \\n, for every letter that does not print."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def valid_text(text: str) -> bool:
    """Whether a string is valid Unicode: JSON may hold halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
