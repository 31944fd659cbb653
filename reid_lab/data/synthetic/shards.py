"""The shards: one memory-mapped uint8 array per split and role, rendered once and kept under a content hash.

A shard appears in its folder whole or not at all (written under another name, then renamed), so that two
processes may build the same one at the same time. Large shards are rendered by several worker processes,
each of which fills its own rows.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from reid_lab.data.synthetic.sensors import CHANNELS, render
from reid_lab.data.synthetic.world import SPLITS, World
from reid_lab.errors import DataError

_WORTH_A_PROCESS = 300  # images
# Workers only draw with numpy and Pillow, which start no threads and hold no locks here; a fork spares them
# the seconds that a fresh interpreter takes to import torch.
_START = "fork" if sys.platform == "linux" else "spawn"


def shape(world: World, split: str, role: str) -> tuple[int, int, int, int]:
    """The shape of a shard: (scenes, channels, height, width)."""
    return world.count(split), CHANNELS[role], *world.image_size


def open_shard(folder: Path, world: World, split: str, role: str) -> np.ndarray:
    """The shard of a split and role, read-only and memory-mapped; rendered first when it is not there.

    Raises:
        DataError: the folder cannot be written, or the file in it is damaged.
    """
    path = folder / f"{split}-{role}.npy"
    if not path.exists():
        build(path, world, split, role)
    try:
        shard: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged shard ({error}); delete it, and it is rendered again") from error
    if shard.shape != shape(world, split, role) or shard.dtype != np.uint8:
        raise DataError(f"{path}: damaged shard ({shard.dtype} {shard.shape}); delete it, and it is rendered again")
    return shard


def build(path: Path, world: World, split: str, role: str, workers: int | None = None) -> None:
    """Renders one shard into `path`, atomically; `workers` null: as many processes as pay, at most one per core.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    total = world.count(split)
    workers = workers or max(1, min(os.cpu_count() or 1, total // _WORTH_A_PROCESS))
    with _reserved(path, shape(world, split, role)) as part:
        if workers == 1:
            fill(part, world, split, role, 0, total)
            return
        with ProcessPoolExecutor(workers, mp_context=get_context(_START)) as pool:
            parts = [
                pool.submit(fill, part, world, split, role, start, stop) for start, stop in _ranges(total, 4 * workers)
            ]
            for done in parts:
                done.result()


def fill(path: Path, world: World, split: str, role: str, start: int, stop: int) -> None:
    """Renders rows start..stop of a shard that already has its size."""
    each = world.images[SPLITS.index(split)]
    row_bytes = math.prod(shape(world, split, role)[1:])
    with open(path, "r+b") as file:
        file.seek((start - world.count(split)) * row_bytes, os.SEEK_END)
        for row in range(start, stop):
            file.write(render(world, split, row // each, row % each, role).tobytes())


def _ranges(total: int, parts: int) -> list[tuple[int, int]]:
    bounds = [total * k // parts for k in range(parts + 1)]
    return [(a, b) for a, b in pairwise(bounds) if b > a]


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a small file whole or not at all.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    with _replacing(path) as part, open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _reserved(path: Path, size: tuple[int, ...]) -> Iterator[Path]:
    """A temporary array of the given size on disk that becomes `path` in the end."""
    with _replacing(path) as part:
        np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=size).flush()
        yield part
        with open(part, "r+b") as file:
            os.fsync(file.fileno())


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """An empty temporary file that is renamed to `path` in the end, and removed after a failure."""
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        part = Path(name)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise DataError(f"{path}: cannot write the rendered data ({error.strerror or error})") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
