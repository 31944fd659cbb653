"""What is kept in memory, and how much may be."""

import numpy as np
import pytest

from reid_lab.data import cache
from reid_lab.data.cache import Cache, available, cache_limit

KIB = np.zeros(1024, dtype=np.uint8)


def filled(limit, count=10):
    kept = Cache(limit)
    for number in range(count):
        kept.keep(number, KIB)
    return kept


@pytest.mark.parametrize(("limit", "count"), [("all", 10), ("none", 0), (0, 0), (1024, 1), (5 * 1024 + 1023, 5)])
def test_a_limit_is_kept(limit, count):
    kept = filled(limit)
    assert (len(kept), kept.nbytes) == (count, count * 1024)
    assert [kept.get(number) is KIB for number in range(10)] == [number < count for number in range(10)]


def test_a_smaller_array_still_fits_under_a_number_of_bytes():
    kept = filled(1500)
    kept.keep("small", KIB[:400])
    assert kept.get("small") is not None
    kept.keep("small", KIB[:1])
    assert kept.nbytes == 1424  # kept once


def test_settings():
    assert cache_limit("auto") == "auto"
    assert cache_limit(1.5) == 3 << 29
    assert cache_limit(0) == 0


def test_auto_takes_half_of_what_would_be_free_and_measures_seldom(monkeypatch):
    monkeypatch.setattr(cache, "_PORTION", 4 * 1024)
    looks = []

    def free():
        looks.append(len(kept))
        return 64 * 1024 - kept.nbytes

    monkeypatch.setattr(cache, "available", free)
    kept = Cache("auto")
    for number in range(100):
        kept.keep(number, KIB)
    assert len(kept) == 32
    assert looks == [*range(0, 33, 4)]  # and not again once it was full


def test_processes_side_by_side_leave_room_for_each_other(monkeypatch):
    monkeypatch.setattr(cache, "_PORTION", 1024)
    caches = [Cache("auto") for _ in range(7)]
    monkeypatch.setattr(cache, "available", lambda: 64 * 1024 - sum(kept.nbytes for kept in caches))
    for number in range(100):
        for kept in caches:
            kept.keep(number, KIB)
    assert all(5 <= len(kept) <= 10 for kept in caches)
    assert cache.available() >= 64 * 1024 // 8 - 1024


def test_where_memory_is_not_told_a_fixed_amount_is_taken(monkeypatch):
    monkeypatch.setattr(cache, "available", lambda: None)
    monkeypatch.setattr(cache, "UNMEASURED", 3 * 1024)
    assert len(filled("auto")) == 3


FILES = {
    "/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n",
    "/proc/self/cgroup": "4:cpu,memory:/box\n0::/unit\n",
}

STAT = "anon 9\ninactive_file 700\nactive_file 5"


@pytest.mark.parametrize(
    ("groups", "wanted"),
    [
        ({}, 8000 * 1024),
        ({"/unit/memory.max": "max", "/memory.max": "max"}, 8000 * 1024),
        ({"/unit/memory.max": "5000", "/unit/memory.current": "3000", "/unit/memory.stat": STAT}, 2700),
        ({"/memory.max": "5000", "/memory.current": "6000"}, 0),
        ({"/memory/box/memory.limit_in_bytes": "5000", "/memory/box/memory.usage_in_bytes": "1000"}, 4000),
        ({"/memory/memory.limit_in_bytes": "9223372036854771712", "/memory/memory.usage_in_bytes": "1"}, 8000 * 1024),
    ],
)  # fmt: skip
def test_free_memory_is_that_of_the_machine_and_of_the_control_group(monkeypatch, groups, wanted):
    there = FILES | {"/sys/fs/cgroup" + place: text for place, text in groups.items()}
    monkeypatch.setattr(cache, "_lines", lambda path: there.get(path, "").splitlines())
    assert available() == wanted


def test_this_machine_tells_its_memory():
    free = available()
    assert free is None or 1 << 20 < free < 1 << 50
    assert cache._lines("/no/such/file") == []
