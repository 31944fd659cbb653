"""What rules remove, against brute force; metrics against the published way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lab.data.items import Groups, Row
from reid_lab.data.protocols import RULES
from reid_lab.metrics.retrieval import from_similarity
from reid_lab.seeding import rng
from tests.data.protocols.tables import Table, tasks_of


def _groups(rows):
    pids, camids, scenes, clothes, moments = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return Groups({}, pids, camids, moments, {"scenes": scenes, "clothes": clothes})


def _brute(name, query, item):
    """(pid, camid, scene, clothes, moment) of a query and of a gallery item of its identity."""
    _, camera, scene, clothes, moment = query
    _, camera2, scene2, clothes2, moment2 = item
    own = moment == moment2 >= 0
    seen = camera == camera2 >= 0
    return {
        "nothing": False,
        "moment": own,
        "camera": own or seen,
        "scene": own or scene == scene2 >= 0,
        "clothes": own or seen or clothes == clothes2 >= 0,
        "other_clothes": own or seen or (clothes != clothes2 and clothes >= 0 and clothes2 >= 0),
    }[name]


_ROW = st.tuples(*[st.integers(-1, 2)] * 5)


@settings(max_examples=60, deadline=None)
@given(st.lists(_ROW, min_size=1, max_size=6), st.lists(_ROW, min_size=1, max_size=8))
def test_rules_remove_what_their_words_say(queries, gallery):
    asking, there = _groups(queries), _groups(gallery)
    for name, rule in RULES.items():
        if rule.of is None:
            assert name == "nothing"
            continue
        removed = rule.of(asking, there)
        for number, query in enumerate(queries):
            own = np.flatnonzero(there.pids == query[0])
            wanted = [_brute(name, query, gallery[item]) for item in own]
            assert removed(number, own).tolist() == wanted, (name, number)


def _published(similarity, queries, gallery, same):
    """mAP in percent, query by query with a sort of the whole gallery, as the published codes do it.

    same: (query row, gallery rows) -> which of the query's identity are left out.
    """
    found = []
    for number, query in enumerate(queries):
        order = np.argsort(-similarity[number], kind="stable")
        ranked = [gallery[place] for place in order]
        ranked = [item for item in ranked if not (item.pid == query.pid and same(query, item))]
        hits = np.array([item.pid == query.pid for item in ranked])
        if hits.any():
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            found.append(precision[hits].mean())
    return 100 * np.mean(found)


_PUBLISHED = {
    "image_to_image": lambda q, g: q.camid == g.camid,
    "general": lambda q, g: q.camid == g.camid,
    "CC": lambda q, g: q.camid == g.camid or q.clothes == g.clothes,
    "SC": lambda q, g: q.camid == g.camid or q.clothes != g.clothes,
    "multispectral": lambda q, g: q.scene == g.scene,
}


@pytest.mark.parametrize(
    ("protocol", "task"),
    [("image_to_image",) * 2, ("multispectral",) * 2]
    + [("clothes_changing", name) for name in ("general", "CC", "SC")],
)
def test_metrics_are_those_of_the_published_codes(protocol, task):
    draw = rng("protocols against published codes")
    labels = draw.integers([6, 3, 4, 3], size=(60, 4)).tolist()
    rows = [
        Row("test", role, pid, moment, "", side="query" if moment < 15 else "gallery", camid=c, scene=s, clothes=w)
        for moment, (pid, c, s, w) in enumerate(labels)
        for role in ("rgb", "nir")
    ]
    found = tasks_of(protocol, Table(rows))[task]
    one = [row for row in rows if row.role == "rgb"]
    queries, gallery = one[:15], one[15:]
    similarity = draw.integers(0, 9, size=(15, 45)).astype(np.float32)  # with ties
    removed = found.rule.of(found.queries, found.gallery)
    pids = found.queries.pids, found.gallery.pids
    ours = from_similarity(torch.from_numpy(similarity), *pids, removed=removed, no_match=found.no_match)
    assert ours.metrics["mAP"] == pytest.approx(_published(similarity, queries, gallery, _PUBLISHED[task]), abs=1e-9)
