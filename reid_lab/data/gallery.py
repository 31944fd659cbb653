"""Images without labels: a folder of them, and their embeddings, kept from one search to the next.

An embedding is kept for a file's content. A file that has the size and time of the last search is not
opened again; one that was touched, moved or renamed is read and hashed, and embedded only when its
content is new. A file that was changed within the last seconds before it was embedded is hashed, too:
its time could not tell a later change.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np

from reid_lab.contracts import IMAGE_ROLES
from reid_lab.data.files import ImageFiles
from reid_lab.data.items import Dataset, Row, tabulate
from reid_lab.data.reading import IMAGE_SUFFIXES, entries
from reid_lab.errors import DataError, Fault

COLOUR = ("rgb", "cpencil")
_SETTLED = 2 * 10**9  # nanoseconds; coarser than the clock of any file system
_FIRST = 4096  # files that are embedded before the first are kept; each further portion is twice as large
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)

Embed = Callable[[Sequence[str]], np.ndarray]
"""Names of files -> (m, D) float32, a row of NaN where a file cannot be read."""


@final
class Loose(Dataset):
    """Image files and texts of which nothing is known but their role; paths are absolute, or relative to `root`."""

    name = "loose"
    digest = ""

    def __init__(self, rows: Sequence[Row], root: Path, size: tuple[int, int], resample: str = "bilinear") -> None:
        self.items = tabulate(rows)
        self._size = size
        self._files = ImageFiles(root, resample, cache="none")

    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels of image items of one role, (n, C, height, width) uint8; C is 3 in colour, else 1."""
        mode: Literal["RGB", "L"] = "RGB" if str(self.items.role[index[0]]) in COLOUR else "L"
        return self._files.read(self.items.path[index].tolist(), mode, size or self._size)


def image(path: str | Path, role: str) -> Row:
    """The item of an image of which only the role is known."""
    assert role in IMAGE_ROLES
    return Row("test", role, -1, -1, path=str(path))


def text(words: str, role: str) -> Row:
    """The item of a text."""
    return Row("test", role, -1, -1, caption=words)


def image_files(folder: Path) -> list[str]:
    """The image files in a folder and below, relative to it and sorted; hidden ones are left out.

    Raises:
        DataError: there is no such folder, it cannot be read, or no image is in it.
    """
    if not folder.is_dir():
        raise DataError(Fault("is no folder" if folder.exists() else "no such folder", str(folder)))
    found: list[str] = []
    seen: set[str] = set()  # links may lead back
    waiting = [""]
    while waiting:
        under = waiting.pop()
        real = os.path.realpath(folder / under)
        if real in seen:
            continue
        seen.add(real)
        found += [os.path.join(under, name) for name in entries(folder / under, "images")]
        waiting += [os.path.join(under, name) for name in entries(folder / under, "folders")]
    if not found:
        raise DataError(Fault(f"no images in it or below; read are {', '.join(IMAGE_SUFFIXES)}", str(folder)))
    return sorted(found)


@dataclass(frozen=True)
class Kept:
    """The embeddings (n, D) float32 of files; rows of NaN cannot be read. `fresh`: how many were embedded now."""

    vectors: np.ndarray
    fresh: int
    problem: str = ""  # why they could not be kept


@dataclass(frozen=True)
class _Store:
    """What a file holds: names, looks (n, 2) of size and time, digests (n,) and embeddings; when it was written."""

    names: list[str]
    looks: np.ndarray
    digests: np.ndarray
    vectors: np.ndarray
    written: int


def embedded(folder: Path, names: Sequence[str], store: Path, embed: Embed) -> Kept:
    """The embeddings of files of a folder; what `store` does not hold is embedded and written to it.

    A damaged store counts for nothing. One that cannot be written is a `problem`, no error.
    """
    held = _read(store)
    looks = np.array([_look(folder / name) for name in names], dtype=np.int64).reshape(-1, 2)
    place = np.full(len(names), -1)
    if held is not None:
        at = {name: k for k, name in enumerate(held.names)}
        place = np.array([at.get(name, -1) for name in names])
        same = (place >= 0) & (held.looks[place] == looks).all(axis=1) & (held.digests[place] != b"")
        same &= looks[:, 1] < held.written - _SETTLED
        if same.all():
            return Kept(held.vectors[place], 0)
        place[~same] = -1
    now = time.time_ns()
    digests = np.zeros(len(names), dtype="S64")
    unsure = np.flatnonzero(place < 0)
    if held is not None:
        digests[place >= 0] = held.digests[place[place >= 0]]
        known: Mapping[bytes, int] = {digest: k for k, digest in enumerate(held.digests.tolist()) if digest}
    else:
        known = {}
    for k in unsure.tolist():
        digests[k] = _digest(folder / names[k])
        place[k] = known.get(bytes(digests[k]), -1)
    new = np.flatnonzero(place < 0)
    vectors = None if held is None else held.vectors[place]
    done, portion, problem = 0, _FIRST, ""
    while True:
        part = new[done : done + portion]
        if len(part):
            found = embed([names[k] for k in part])
            if vectors is None:
                vectors = np.full((len(names), found.shape[1]), np.nan, dtype=np.float32)
            vectors[part] = found
        done, portion = done + len(part), 2 * portion
        assert vectors is not None
        ready = np.setdiff1d(np.arange(len(names)), new[done:], assume_unique=True)
        written = _Store([names[k] for k in ready], looks[ready], digests[ready], vectors[ready], now)
        try:
            _write(store, written)
        except OSError as error:
            problem = f"{store}: embeddings could not be kept ({error.strerror or error})"
        if done >= len(new):
            return Kept(vectors, len(new), problem)


def remembered(store: Path, compute: Callable[[], np.ndarray]) -> Kept:
    """The embeddings of a gallery that has one hash for all of it, from `store`, or computed and written to it."""
    held = _read(store)
    if held is not None:
        return Kept(held.vectors, 0)
    vectors = compute()
    none = np.zeros((0, 2), dtype=np.int64)
    try:
        _write(store, _Store([], none, np.zeros(0, dtype="S64"), vectors, time.time_ns()))
    except OSError as error:
        return Kept(vectors, len(vectors), f"{store}: embeddings could not be kept ({error.strerror or error})")
    return Kept(vectors, len(vectors))


def _look(file: Path) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _digest(file: Path) -> str:
    """The sha256 of a file's content; of a file that cannot be read, empty."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


def _read(store: Path) -> _Store | None:
    try:
        with np.load(store, allow_pickle=False) as held:
            names = held["names"].tobytes().decode("utf-8", "surrogateescape")
            read = _Store(
                names.split("\0") if names else [],
                held["looks"],
                held["digests"],
                held["vectors"],
                int(held["written"]),
            )
    except _DAMAGED:
        return None
    return read if len(read.names) == len(read.looks) == len(read.digests) else None


def _write(store: Path, content: _Store) -> None:
    """Whole or not at all."""
    store.parent.mkdir(parents=True, exist_ok=True)
    temporary = store.with_name(f".{store.name}.{os.getpid()}")
    names = "\0".join(content.names).encode("utf-8", "surrogateescape")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                names=np.frombuffer(names, dtype=np.uint8),
                looks=content.looks,
                digests=content.digests,
                vectors=content.vectors,
                written=np.int64(content.written),
            )
        temporary.replace(store)
    finally:
        temporary.unlink(missing_ok=True)
