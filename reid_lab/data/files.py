"""Image files of a data set, read as uint8 pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, final

import numpy as np
from PIL import Image

from reid_lab.data.cache import Cache, CacheLimit
from reid_lab.data.decode import BROKEN, Mode, Window, framed, named_decoder, unreadable
from reid_lab.errors import DataError, Fault

_THREADS = 8  # reading waits for disks; Pillow decodes and resizes outside Python's lock
_PARTS = 2  # of what is read at once, for each thread
_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


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
    except BROKEN as error:
        raise DataError(unreadable(file, error)) from error


_Key = tuple[str, Mode, tuple[int, int], Window | None]


@final
class ImageFiles:
    """Reads image files on a few threads, and keeps what was read as far as the cache allows.

    resample: Pillow's filter, which smooths where it makes smaller. cache: bytes, or a word (`cache.CacheLimit`).
    decoder: `simplejpeg` reads JPEG faster than `pillow`, with the same bits, where it is installed.
    """

    def __init__(
        self,
        folder: Path,
        resample: str = "bilinear",
        cache: CacheLimit = "auto",
        decoder: Literal["pillow", "simplejpeg"] = "pillow",
    ) -> None:
        self.folder, self.cache, self._resample = folder, Cache(cache), _RESAMPLE[resample]
        self._open = named_decoder(decoder)
        self._threads = min(_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads)

    def read(
        self,
        paths: Sequence[str],
        mode: Mode,
        size: tuple[int, int],
        windows: Sequence[Window | None] | None = None,
    ) -> np.ndarray:
        """The images as (n, C, height, width) uint8; an image of another size is resized.

        windows: of each path left, top, width and height in pixels of the file, or None for all of it (RGBNT100
        keeps three modalities side by side in one file). A file is decoded once for all its windows.

        Raises:
            DataError: every file that cannot be read, and every window that leaves its image.
        """
        asked = [None] * len(paths) if windows is None else windows
        frames = [None if window is None else _window(window) for window in asked]
        keys: list[_Key] = [(path, mode, size, frame) for path, frame in zip(paths, frames, strict=True)]
        found: dict[_Key, np.ndarray] = {}
        wanted: dict[str, list[_Key]] = {}
        for key in dict.fromkeys(keys):
            kept = self.cache.get(key)
            if kept is None:
                wanted.setdefault(key[0], []).append(key)
            else:
                found[key] = kept
        faults: list[Fault] = []
        for decoded, wrong in self._pool.map(self._decode, self._parts(list(wanted.values()))):
            found |= decoded
            faults += wrong
            for key, pixels in decoded.items():
                self.cache.keep(key, pixels)
        if faults:
            raise DataError(*faults)
        return np.stack([found[key] for key in keys])

    def _parts(self, files: list[list[_Key]]) -> list[list[list[_Key]]]:
        """The files, a few at a time: to hand over each by itself costs a tenth of reading it."""
        many = -(-len(files) // (_PARTS * self._threads)) or 1
        return [files[start : start + many] for start in range(0, len(files), many)]

    def _decode(self, files: list[list[_Key]]) -> tuple[dict[_Key, np.ndarray], list[Fault]]:
        """The pixels of the keys of some files, and what is wrong with these."""
        pixels: dict[_Key, np.ndarray] = {}
        faults: list[Fault] = []
        for keys in files:
            file = self.folder / keys[0][0]
            try:
                image = self._open(file)
            except BROKEN as error:
                faults.append(unreadable(file, error))
                continue
            for key in keys:
                try:
                    pixels[key] = framed(image, *key[1:], self._resample)
                except BROKEN as error:
                    faults.append(unreadable(file, error))
        return pixels, faults


def _window(window: Window) -> Window:
    """The window as plain integers, however it was stored."""
    left, top, width, height = window
    return int(left), int(top), int(width), int(height)
