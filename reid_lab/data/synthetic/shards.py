"""The shards: one memory-mapped uint8 array per split and role, rendered once and kept under a content hash.

A shard appears in its folder whole or not at all (written under another name, then renamed), so that two
processes may build the same one at the same time. Large shards are rendered by several worker processes,
each of which fills its own rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import reid_lab
from reid_lab.data.synthetic.sensors import CHANNELS, render
from reid_lab.data.synthetic.world import World
from reid_lab.errors import DataError

_WORTH_A_PROCESS = 600  # images; below, starting a worker takes longer than rendering
_WORKER = "from reid_lab.data.synthetic.shards import work; work()"


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
    """Renders one shard into `path`, atomically; `workers` null: as many processes as it is worth, at most one per core.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    total = world.count(split)
    workers = workers or max(1, min(os.cpu_count() or 1, total // _WORTH_A_PROCESS))
    with _reserved(path, shape(world, split, role)) as part:
        jobs = [
            {"path": str(part), "world": world.plain(), "split": split, "role": role, "rows": [start, stop]}
            for start, stop in _ranges(total, workers)
        ]
        if len(jobs) == 1:
            fill(**jobs[0])
        else:
            _in_processes(jobs)


def fill(path: str, world: dict[str, Any], split: str, role: str, rows: list[int]) -> None:
    """Renders rows start..stop of a shard that already has its size."""
    made = {k: tuple(v) if isinstance(v, list) else v for k, v in world.items()}
    settings = World(**made)
    each = settings.images[("train", "val", "test").index(split)]
    shard = np.load(path, mmap_mode="r+")
    for row in range(*rows):
        shard[row] = render(settings, split, row // each, row % each, role)
    shard.flush()


def work() -> None:
    """The main function of a worker process: one job as JSON on stdin."""
    fill(**json.load(sys.stdin))


def _ranges(total: int, parts: int) -> list[tuple[int, int]]:
    bounds = [total * k // parts for k in range(parts + 1)]
    return [(a, b) for a, b in zip(bounds, bounds[1:], strict=False) if b > a]


def _in_processes(jobs: list[dict[str, Any]]) -> None:
    """One fresh interpreter per job: safe beside threads, and independent of how this process was started."""
    package = str(Path(reid_lab.__file__).parent.parent)
    paths = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH")) if p)
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    processes = []
    try:
        for job in jobs:
            process = subprocess.Popen(
                [sys.executable, "-c", _WORKER], env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE
            )
            processes.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
            process.stdin = None
        for process in processes:
            _, message = process.communicate()
            if process.returncode != 0:
                last = message.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
                raise DataError(f"rendering failed in a worker process: {last[0]}")
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


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
    """A temporary array of the given size on disk that becomes `path` in the end.

    The blocks are allocated beforehand, so that a full disk is an error here and not a signal in a worker.
    """
    with _replacing(path) as part:
        np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=size).flush()
        with open(part, "r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
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
