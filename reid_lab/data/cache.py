"""Decoded images in memory, as many as a limit or the machine allows."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from pathlib import Path
from typing import Literal, final

import numpy as np

CacheLimit = int | Literal["auto", "all", "none"]
"""Bytes; `auto`: a share of the memory that is free; `all`; `none`."""

SHARE = 0.5  # of the memory that would be free without the cache
UNMEASURED = 2 << 30  # what `auto` takes where the free memory is not told
_PORTION = 64 << 20  # bytes that are kept before the memory is measured again


def cache_limit(setting: float | Literal["auto", "all", "none"]) -> CacheLimit:
    """The limit that `data.cache` asks for: a word, or a number of GiB."""
    return setting if isinstance(setting, str) else int(setting * 2**30)


def available() -> int | None:
    """Bytes that programs may still take, of the machine and of the control group; None where it is not told."""
    found = [value for value in (_machine(), _unified_group(), _memory_group()) if value is not None]
    return min(found, default=None)


def _machine() -> int | None:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _unified_group() -> int | None:
    """Control groups, version 2: this process's own group; within a container it is the root."""
    own = next((line[3:] for line in _lines("/proc/self/cgroup") if line.startswith("0::")), "/")
    return _group(("/sys/fs/cgroup" + own, "/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file")


def _memory_group() -> int | None:
    """Control groups, version 1."""
    named = (line.split(":", 2) for line in _lines("/proc/self/cgroup"))
    own = next((parts[2] for parts in named if "memory" in parts[1].split(",")), "/")
    places = ("/sys/fs/cgroup/memory" + own, "/sys/fs/cgroup/memory")
    return _group(places, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _group(places: tuple[str, ...], most: str, now: str, reclaimable: str) -> int | None:
    """What a control group may still take; pages of files that can be dropped are free."""
    for place in places:
        bounds = _lines(f"{place}/{most}")
        if bounds and bounds[0].isdigit():
            used = int((_lines(f"{place}/{now}") or ["0"])[0])
            cached = [line.split()[1] for line in _lines(f"{place}/memory.stat") if line.startswith(reclaimable + " ")]
            return max(0, int(bounds[0]) - used + int((cached or ["0"])[0]))
    return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


@final
class Cache:
    """Keeps arrays under their keys until the limit is reached; nothing is dropped again.

    Training reads every image once a pass: of a data set that does not fit, those that came first are
    found in each pass, where dropping the oldest would find none. `auto` keeps as much as is free besides
    (`SHARE`), so that all is kept where it fits; the memory is measured again after every 64 MiB, and
    processes that fill their caches side by side leave room for each other. May be used by several threads.
    """

    def __init__(self, limit: CacheLimit = "auto") -> None:
        self.limit = limit
        self.nbytes = 0
        self._arrays: dict[Hashable, np.ndarray] = {}
        self._lock = threading.Lock()
        self._granted = limit if isinstance(limit, int) else 0
        self._full = limit == "none"

    def __len__(self) -> int:
        """Number of arrays that are kept."""
        return len(self._arrays)

    def get(self, key: Hashable) -> np.ndarray | None:
        """The array of a key, if it was kept; it is not to be written into."""
        return self._arrays.get(key)

    def keep(self, key: Hashable, array: np.ndarray) -> None:
        """Keeps the array, or a contiguous copy of it, if there is room."""
        with self._lock:
            if key not in self._arrays and self._room(array.nbytes):
                self._arrays[key] = np.ascontiguousarray(array)
                self.nbytes += array.nbytes

    def _room(self, nbytes: int) -> bool:
        if self.limit == "auto" and not self._full and self.nbytes + nbytes > self._granted:
            free = available()
            most = UNMEASURED if free is None else int(SHARE * (free + self.nbytes))
            self._granted = min(most, self.nbytes + max(_PORTION, nbytes))
            self._full = self.nbytes + nbytes > self._granted  # measured no more: a miss must not cost a look
        return not self._full and (self.limit == "all" or self.nbytes + nbytes <= self._granted)
