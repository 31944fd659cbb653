"""Image files of a data set: found, measured, kept inside their folder, and read as uint8 pixels."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal, final

import numpy as np
from PIL import Image, UnidentifiedImageError

from reid_lab.errors import DataError, Fault

CACHE_BYTES = 2 << 30
_SHOWN = 5
_THREADS = 8  # reading waits for disks; Pillow decodes and resizes outside Python's lock
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def measure(root: Path, folder: str, paths: Sequence[str]) -> dict[str, int]:
    """The size in bytes of every image file: path relative to `root/folder` -> bytes.

    Raises:
        DataError: files that are missing or empty, and paths that leave `root` (absolute, `..`, or over a
            symbolic link); one fault for each kind, with their number and the first few.
    """
    if not (root / folder).is_dir():
        raise DataError(f"{root}: there is no folder {folder}/ in it")
    base = os.path.realpath(root)
    inside: dict[Path, bool] = {}
    sizes: dict[str, int] = {}
    leaving, missing, empty = [], [], []
    for path in dict.fromkeys(paths):
        parts = PurePosixPath(path)
        file = root / folder / parts
        if parts.is_absolute() or ".." in parts.parts or not _within(file, base, inside):
            leaving.append(path)
        elif not os.path.isfile(file):
            missing.append(path)
        else:
            sizes[path] = os.path.getsize(file)
            if not sizes[path]:
                empty.append(path)
    where, count = str(root / folder), len(set(paths))
    kinds = ((leaving, f"lie outside {root}"), (missing, "are missing"), (empty, "are empty files"))
    faults = [Fault(f"{len(of)} of {count} images {what}: {_few(of)}", where) for of, what in kinds if of]
    if faults:
        raise DataError(*faults)
    return sizes


def _within(file: Path, base: str, known: dict[Path, bool]) -> bool:
    """Whether a file lies under `base` once symbolic links are followed; folders are looked up once."""
    if os.path.islink(file):
        return _under(file, base)
    if file.parent not in known:
        known[file.parent] = _under(file.parent, base)
    return known[file.parent]


def _under(path: Path, base: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(base)


def _few(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")


def common_size(folder: Path, paths: Sequence[str]) -> tuple[int, int]:
    """Height and width of all the images, as their headers state it.

    Raises:
        DataError: an image has another size than the first, or is no image.
    """
    first = _stated_size(folder / paths[0])
    for path in paths[1:]:
        size = _stated_size(folder / path)
        if size != first:
            what = f"the image is {size[0]}x{size[1]}, but {paths[0]} is {first[0]}x{first[1]}"
            raise DataError(Fault(f"{what}; set data.image_size to read all at one size", str(folder / path)))
    return first


def _stated_size(file: Path) -> tuple[int, int]:
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except _BROKEN as error:
        raise DataError(_unreadable(file, error)) from error


def _unreadable(file: Path, error: BaseException) -> Fault:
    what = "no image file" if isinstance(error, UnidentifiedImageError) else str(error)
    return Fault(f"the image cannot be read ({what})", str(file))


@final
class ImageFiles:
    """Reads image files with Pillow on a few threads, and keeps what was read up to `cache_bytes`."""

    def __init__(self, folder: Path, resample: str = "bilinear", cache_bytes: int = CACHE_BYTES) -> None:
        self.folder, self._resample = folder, _RESAMPLE[resample]
        self._pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
        self._cache: dict[tuple[str, str, tuple[int, int]], np.ndarray] = {}
        self._left = cache_bytes
        self._lock = threading.Lock()

    def read(self, paths: Sequence[str], mode: Literal["RGB", "L"], size: tuple[int, int]) -> np.ndarray:
        """The images as (n, C, height, width) uint8; an image of another size is resized.

        Raises:
            DataError: every file that cannot be read.
        """
        keys = [(path, mode, size) for path in paths]
        found = {key: self._cache[key] for key in dict.fromkeys(keys) if key in self._cache}
        wanted = [key for key in dict.fromkeys(keys) if key not in found]
        faults = []
        for key, pixels in zip(wanted, self._pool.map(lambda key: self._decode(*key), wanted), strict=True):
            if isinstance(pixels, Fault):
                faults.append(pixels)
            else:
                found[key] = pixels
                self._keep(key, pixels)
        if faults:
            raise DataError(*faults)
        return np.stack([found[key] for key in keys])

    def _keep(self, key: tuple[str, str, tuple[int, int]], pixels: np.ndarray) -> None:
        with self._lock:
            if key not in self._cache and pixels.nbytes <= self._left:
                self._cache[key] = pixels
                self._left -= pixels.nbytes

    def _decode(self, path: str, mode: Literal["RGB", "L"], size: tuple[int, int]) -> np.ndarray | Fault:
        height, width = size
        try:
            with Image.open(self.folder / path) as opened:
                image = opened.convert(mode)
            if image.size != (width, height):
                image = image.resize((width, height), self._resample)
        except _BROKEN as error:
            return _unreadable(self.folder / path, error)
        pixels = np.asarray(image)
        return pixels[None] if mode == "L" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
