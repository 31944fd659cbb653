"""Everything that is wrong with a data set's folder, what is unusual in it, and what it counts."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar, final

import numpy as np
from PIL import Image

from reid_lab.contracts import IMAGE_ROLES, ROLES
from reid_lab.data.decode import BROKEN, Window, framed, plain, unreadable
from reid_lab.data.folders import digest, inspect
from reid_lab.data.items import ABSENT, SIDES, SPLITS, Items
from reid_lab.data.reading import Counts, Faults, Reader, Reading, printable
from reid_lab.errors import DataError, Fault

Progress = Callable[[int, int], None]
"""Told after every image: (images done, images in all)."""

_THREADS = 8
_PORTION = 1024  # images that are handed to the threads at a time
_ORIENTATION = 0x0112  # the tag of EXIF; 1 is upright
_MODES = {
    "CMYK": "CMYK, read as rgb without its colour profile",
    "P": "a palette image, read as rgb",
    "1": "one bit a pixel, read as grey",
    "RGBA": "an alpha channel that is opaque throughout, left out",
    "LA": "an alpha channel that is opaque throughout, left out",
    "PA": "an alpha channel that is opaque throughout, left out",
}


@final
@dataclass(frozen=True)
class Report:
    """What `check` found.

    rows: as `head` says; the literature's count of items and of identities stands beside those found, `-` where
    it has none. A made folder has other counts: a difference is no fault. faults: all of them, those of one kind
    together. kinds: kind of fault -> number. notes: one line for each unusual file, and what is done with it.
    digest: of the data set as `Folder` would state it; empty when nothing could be read. contents: sha256 over
    the annotations and the sorted (path, sha256) of every image; empty when not asked for.
    """

    head: ClassVar[tuple[str, ...]] = (
        "split", "side", "role", "items", "(literature)", "identities", "(literature)", "cameras"
    )  # fmt: skip

    name: str
    source: str
    rows: tuple[tuple[str, ...], ...]
    faults: tuple[Fault, ...]
    kinds: Mapping[str, int]
    notes: tuple[str, ...]
    digest: str = ""
    contents: str = ""

    def told(self) -> list[str]:
        """What stands below the table: source, notes, hashes and the number of the faults, without the faults."""
        lines = [f"literature: {self.source}"] if self.source else []
        lines += self.notes
        lines += [f"digest {self.digest}"] if self.digest else []
        lines += [f"contents {self.contents}"] if self.contents else []
        found = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        return [*lines, f"faults: {found or 'none'}"]


def check(reader: Reader, root: Path, *, contents: bool = False, progress: Progress | None = None) -> Report:
    """Reads the annotations, looks for every file, decodes every image in full, and counts.

    Images are decoded one after the other on a few threads, and not kept.

    Args:
        reader: of the data set.
        root: its folder.
        contents: hash the content of every image as well.
        progress: is told after every image.
    """
    faults = Faults()
    try:
        if not os.path.isdir(root):
            raise DataError(Fault("is no folder" if os.path.exists(root) else "no such folder", str(root)))
        reading = reader.read(root, faults)
    except DataError as error:
        faults.include("unreadable data set", error)
        return Report(reader.name, reader.source, (), _grouped(faults), faults.counts(), ())
    found = inspect(reading, root, faults)
    notes, hashes = _opened(reading, root, found.sizes, faults, contents, progress)
    notes = [*reading.notes, *notes]
    empty = sum(not text.strip() for text in reading.items.caption.tolist() if text is not None)
    if empty:
        notes.append(f"captions without a word: {empty}")
    lines = "".join(f"{path}\t{sha}\n" for path, sha in sorted(hashes.items())).encode(errors="surrogatepass")
    return Report(
        name=reader.name,
        source=reader.source,
        rows=tuple(_counted(reading.items, reader.expected)),
        faults=_grouped(faults),
        kinds=faults.counts(),
        notes=tuple(notes),
        digest=digest(reading, found.sizes),
        contents=hashlib.sha256(reading.annotations + lines).hexdigest() if contents else "",
    )


def _grouped(faults: Faults) -> tuple[Fault, ...]:
    return tuple(fault for kind in faults.counts() for of, fault in faults.found if of == kind)


@dataclass(frozen=True)
class _Seen:
    """One image file: what is wrong with it or unusual about it, height and width, sha256 of its bytes or nothing."""

    fault: Fault | None
    note: str
    size: tuple[int, int] | None
    sha: str


def _opened(
    reading: Reading,
    root: Path,
    sizes: Mapping[str, int],
    faults: Faults,
    contents: bool,
    progress: Progress | None,
) -> tuple[list[str], dict[str, str]]:
    """Decodes the images that are there; returns notes, and the sha256 of each file when contents are asked for."""
    windows = _windows(reading)
    paths = [path for path, size in sizes.items() if size and os.path.isfile(root / path)]
    notes: list[str] = []
    hashes: dict[str, str] = {}
    shapes: set[tuple[int, int]] = set()
    with warnings.catch_warnings(), ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # Pillow's, on metadata that is not read anyway
        for start in range(0, len(paths), _PORTION):
            part = paths[start : start + _PORTION]
            looked = pool.map(lambda path: _look(root / path, windows.get(path, ()), contents), part)
            for done, (path, seen) in enumerate(zip(part, looked, strict=True), start=start + 1):
                if seen.fault is not None:
                    faults.add("unreadable image", seen.fault.what, seen.fault.where)
                if seen.note:
                    notes.append(printable(f"{root / path}: {seen.note}"))
                if seen.size is not None:
                    shapes.add(seen.size)
                if seen.sha:
                    hashes[path] = seen.sha
                if progress is not None:
                    progress(done, len(paths))
    if len(shapes) > 1:
        (h0, w0), (h1, w1) = (min(shapes), max(shapes))
        notes.append(f"images have {len(shapes)} sizes, from {h0}x{w0} to {h1}x{w1}: data.image_size must be set")
    return notes, hashes


def _windows(reading: Reading) -> dict[str, tuple[Window, ...]]:
    """The parts that are read of files which hold several roles: path -> windows."""
    if not reading.windows:
        return {}
    found: dict[str, tuple[Window, ...]] = {}
    for role, path in zip(reading.items.role.tolist(), reading.items.path.tolist(), strict=True):
        if path is not None and role in reading.windows:
            found[path] = (*found.get(path, ()), reading.windows[role])
    return found


def _look(file: Path, windows: tuple[Window, ...], contents: bool) -> _Seen:
    sha, note = "", ""
    try:
        raw = file.read_bytes()
        sha = hashlib.sha256(raw).hexdigest() if contents else ""
        with Image.open(BytesIO(raw)) as opened:
            note = _unusual(opened)
            image = plain(opened)
        for window in windows:
            framed(image, "RGB", window[:1:-1], window, Image.Resampling.BILINEAR)
    except BROKEN as error:
        return _Seen(unreadable(file, error), "", None, sha)
    return _Seen(None, note, None if windows else (image.height, image.width), sha)


def _unusual(image: Image.Image) -> str:
    """What is done with an image that is not 8 bits of grey or rgb in a single frame; else empty."""
    found = []
    if image.mode.startswith("I;16"):
        found.append("16 bits, of which the upper 8 are read")
    elif image.mode not in ("L", "RGB"):
        found.append(_MODES.get(image.mode, f"mode {image.mode}, read as rgb"))
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        found.append(f"{frames} frames, of which the first is read")
    with suppress(*BROKEN):
        if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
            found.append("EXIF says that it is turned, read as it is stored")
    return "; ".join(found)


def _counted(items: Items, expected: Mapping[str, Counts]) -> Iterator[tuple[str, ...]]:
    """Rows of `Report.head`; where the literature counts a split whose items have sides, rows for all of them."""
    for split in SPLITS:
        here = items.split == split
        sides = [side for side in SIDES if (here & (items.side == side)).any()]
        for side in sides:
            counts = expected.get(f"{split} {side}".strip(), Counts())
            yield from _rows(items, here & (items.side == side), split, side or "-", counts)
        if split in expected and sides not in ([], [""]):
            yield from _rows(items, here, split, "all", expected[split])


def _rows(items: Items, chosen: np.ndarray, split: str, side: str, counts: Counts) -> Iterator[tuple[str, ...]]:
    """A row for each role, and one for all images where several roles have some."""
    images = [role for role in IMAGE_ROLES if (chosen & (items.role == role)).any()]
    kinds = [(role, [role]) for role in ROLES]
    for name, roles in [("images", images), *kinds] if len(images) > 1 else kinds:
        own = chosen & np.isin(items.role, roles)
        if not own.any():
            continue
        whole = roles == images  # the literature counts the images of all roles together
        expected = counts.images if whole else counts.captions if name == "caption" else None
        people = counts.identities if whole or name == "caption" else None
        cameras = len(set(items.camid[own].tolist()) - {ABSENT})
        identities = len(set(items.pid[own].tolist()) - {ABSENT})
        yield (
            split, side, name, str(int(own.sum())), _stated(expected), str(identities), _stated(people),
            str(cameras) if cameras else "-",
        )  # fmt: skip


def _stated(count: int | None) -> str:
    return "-" if count is None else str(count)
