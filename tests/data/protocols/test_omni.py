"""The 32 kinds of query, formed and listed, and their averages."""

from __future__ import annotations

import numpy as np
import pytest

from reid_lab.data.items import grouped, tabulate
from reid_lab.data.omni import AVERAGES, KINDS, QUERY_KINDS
from reid_lab.data.protocols import PROTOCOLS, Options
from reid_lab.errors import DataError
from tests.data.protocols.tables import FIVE, Table, shot, tasks_of, text


def test_all_32_kinds_are_formed_in_published_order():
    data = Table(FIVE)
    found = tasks_of("omni", data)
    assert tuple(found) == QUERY_KINDS
    assert len(found) == 32
    for kind, task in found.items():
        anchor, *others = KINDS[kind]
        assert tuple(task.queries.members) == KINDS[kind]
        assert task.queries.members[anchor].tolist() == data.items.select("test", anchor).tolist()
        for role in others:
            items = task.queries.members[role]
            assert (data.items.role[items] == role).all()
            assert (data.items.pid[items] == task.queries.pids).all()
        assert task.gallery.members["rgb"].tolist() == [0, 7, 14]
        assert (task.removed, task.no_match) == ("nothing", "zero")
        assert task.notes == ("queries are formed from the items: the authors list none for test",)


def test_formed_queries_depend_on_the_own_identity_only():
    people = [(pid, 10 * pid + k) for pid in range(1, 6) for k in range(4)]
    rows = [shot(*who, role=role) for who in people for role in ("rgb", "nir", "sketch")]
    whole, part = tasks_of("omni", Table(rows)), tasks_of("omni", Table([row for row in rows if row.pid > 2]))
    assert list(whole) == ["NIR", "SK", "NIR+SK", "SK+NIR"]

    def partners(dataset, task):
        chosen = task.queries.pids > 2
        members = task.queries.take(np.flatnonzero(chosen)).members
        return {role: dataset.image_id[column].tolist() for role, column in members.items()}

    some = tabulate([row for row in rows if row.pid > 2])
    for kind in whole:
        assert partners(tabulate(rows), whole[kind]) == partners(some, part[kind])
    drawn = partners(tabulate(rows), whole["NIR+SK"])
    assert drawn["nir"] != drawn["sketch"], "partners are drawn by identity, not by moment"


def test_kinds_without_a_query_are_named():
    rows = [shot(1, 0), shot(1, 0, role="nir"), text(1, 0), shot(2, 1), text(2, 1)]
    found = tasks_of("omni", Table(rows))
    assert list(found) == ["NIR", "TEXT", "NIR+TEXT", "TEXT+NIR"]
    assert found["TEXT"].queries.pids.tolist() == [1, 2]
    assert found["TEXT+NIR"].queries.pids.tolist() == [1]  # person 2 has no infrared image
    assert "kinds without a query, left out of all averages: CP, SK, NIR+CP, " in found["NIR"].notes[1]


def test_nobody_unlabelled_asks_in_a_formed_query():
    rows = [shot(pid, pid + 1, role=role) for pid in (-1, 4) for role in ("rgb", "nir", "sketch")]
    for task in tasks_of("omni", Table(rows)).values():
        assert task.queries.pids.tolist() == [4]
        assert task.gallery.pids.tolist() == [-1, 4]


def test_listed_queries_are_taken_as_they_are():
    data = Table([*FIVE, shot(9, 90, split="val"), shot(9, 90, role="sketch", split="val")])
    items = data.items
    sketch, nir = items.select("test", "sketch"), items.select("test", "nir")
    data.listed = {
        "SK+NIR": grouped(items, "test", {"sketch": sketch[[2]], "nir": nir[[2]]}),
        "NIR": grouped(items, "test", {"nir": nir[[1, 0]]}),
    }
    found = tasks_of("omni", data)
    assert list(found) == ["NIR", "SK+NIR"]
    assert found["NIR"].queries.members["nir"].tolist() == nir[[1, 0]].tolist()
    assert found["NIR"].notes[0].startswith("kinds without a query")
    assert list(tasks_of("omni", data, "val")) == ["SK"]  # val is formed
    data.listed["NIR+RGB"] = data.listed["NIR"]
    with pytest.raises(DataError, match=r"omni: unknown kind of query 'NIR\+RGB'"):
        tasks_of("omni", data)


def test_omni_sums_up_in_rows_and_four_averages():
    values = {kind: float(number) for number, kind in enumerate(QUERY_KINDS)}
    summed = PROTOCOLS["omni"].summary({kind: {"mAP": value, "R1": 0.0} for kind, value in values.items()})
    assert list(summed) == [
        *("mAP", "R1"),
        *(f"{name}/{metric}" for name in (*AVERAGES, *QUERY_KINDS) for metric in ("mAP", "R1")),
    ]
    averages = [1.5, 9.5, 21.5, 29.5]
    assert [summed[f"{name}/mAP"] for name in ("ONE", "TWO", "THREE", "FOUR")] == averages
    assert summed["mAP"] == np.mean(averages) == 15.5
    few = PROTOCOLS["omni"].summary({"NIR": {"mAP": 1.0}, "TEXT": {"mAP": 2.0}, "NIR+TEXT": {"mAP": 4.0}})
    assert few == {
        "mAP": 2.75, "ONE/mAP": 1.5, "TWO/mAP": 4.0, "NIR/mAP": 1.0, "TEXT/mAP": 2.0, "NIR+TEXT/mAP": 4.0
    }  # fmt: skip


def test_omni_without_any_query_or_with_other_roles_is_refused():
    with pytest.raises(DataError, match="omni: 'test' has no query of any kind"):
        tasks_of("omni", Table([shot(1, 0), shot(1, 0, role="tir")]))
    for asked in (Options(queries=("nir",)), Options(gallery="nir")):
        with pytest.raises(DataError, match=r"eval\.(queries|gallery_role): omni has no such choice"):
            tasks_of("omni", Table(FIVE), options=asked)
