"""Merged data sets: every source by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reid_lab.data.items import grouped
from reid_lab.data.protocols import PROTOCOLS
from reid_lab.errors import DataError
from tests.data.protocols.tables import FIVE, MARKET, Table, gone, shot, tasks_of, triple


def merged():
    first = [shot(1, 0, 0, "query"), shot(1, 1, 1, "gallery"), shot(1, 5, 0, split="train")]
    second = [shot(5, 2, 3, source=1), shot(5, 3, 4, source=1), shot(5, 4, 4, source=1)]
    return Table([*second, *first], sources=("market1501", "mine"))


def test_every_source_is_measured_by_itself():
    found = tasks_of("image_to_image", merged())
    assert list(found) == ["market1501/image_to_image", "mine/image_to_image"]
    first, second = found.values()
    assert first.queries.members["rgb"].tolist() == [3]
    assert first.gallery.members["rgb"].tolist() == [4]
    assert second.queries.members["rgb"].tolist() == second.gallery.members["rgb"].tolist() == [0, 1, 2]
    assert gone(second) == {0: [0], 1: [1, 2], 2: [1, 2]}
    assert first.notes == ()
    assert second.notes


def test_members_that_are_absent_stay_absent_in_a_source():
    rows = [
        *triple(1, 0, 0),
        *triple(1, 1, 1)[1:],
        *(replace(r, source=1) for r in [*triple(7, 8, 0), *triple(7, 9, 1)]),
    ]
    found = tasks_of("multispectral", Table(rows))
    assert list(found) == ["0/multispectral", "1/multispectral"]  # sources without a name are numbered
    assert found["0/multispectral"].queries.members["rgb"].tolist() == [0, -1]
    assert found["1/multispectral"].queries.members["rgb"].tolist() == [5, 8]


def test_listed_queries_are_those_of_their_source():
    rows = [*FIVE, *(replace(row, pid=row.pid + 10, image_id=row.image_id + 10, source=1) for row in FIVE)]
    data = Table(rows, sources=("orbench", "other"))
    nir = data.items.select("test", "nir")
    data.listed = {"NIR": grouped(data.items, "test", {"nir": nir[:2]})}
    found = tasks_of("omni", data)
    assert found["orbench/NIR"].queries.members["nir"].tolist() == nir[:2].tolist()
    assert "orbench/TEXT" not in found
    assert found["other/NIR"].queries.members["nir"].tolist() == nir[3:].tolist()
    assert len(found) == 33


def test_sources_are_summed_up_by_their_protocol():
    rows = {f"{s}/{t}": {"mAP": v} for s, v in (("a", 1.0), ("b", 3.0)) for t in ("general", "CC", "SC")}
    rows["a/SC"] = {"mAP": 50.0}
    summed = PROTOCOLS["clothes_changing"].summary(rows)
    assert summed["mAP"] == 2.0
    assert (summed["a/mAP"], summed["b/mAP"], summed["a/SC/mAP"]) == (1.0, 3.0, 50.0)
    assert PROTOCOLS["image_to_image"].summary({"image_to_image": {"mAP": 4.0}}) == {"mAP": 4.0}


def test_a_source_that_cannot_serve_is_named():
    data = Table([*MARKET, *(replace(r, source=1) for r in triple(9, 50, 0)[1:])], sources=("market1501", "mine"))
    with pytest.raises(DataError, match=r"^mine: no rgb items in the split 'test'"):
        tasks_of("image_to_image", data)
