"""Who queries whom, what is removed, and what a result says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lab.data import DATASETS
from reid_lab.data.items import ABSENT, Dataset, Groups, Row, grouped, joint, tabulate
from reid_lab.data.omni import AVERAGES, KINDS, QUERY_KINDS
from reid_lab.data.protocols import PROTOCOLS, RULES, Dropped, Options, Shots
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.data.writers import writer
from reid_lab.data.writers.base import write
from reid_lab.errors import DataError
from reid_lab.metrics.retrieval import from_similarity
from reid_lab.seeding import rng
from reid_lab.spec.run import ValSpec
from tests.data.toys import Toy, paired

AS_PUBLISHED = Options()


class Table(Dataset):
    """Items without pixels."""

    name = "table"
    digest = "0" * 64

    def __init__(self, rows, listed=None, sources=()):
        self.items, self.listed = tabulate(rows), listed or {}
        self.sources = dict.fromkeys(sources, "0" * 64)

    def images(self, index, size):
        raise AssertionError("a protocol looks at no pixels")


def shot(pid, moment, camid=ABSENT, side="", role="rgb", split="test", **labels):
    return Row(split, role, pid, moment, path=f"{role}/{moment}.jpg", camid=camid, side=side, **labels)


def text(pid, moment, number=0, role="caption", split="test", **labels):
    return Row(split, role, pid, moment, caption=f"{role} {moment} {number}", number=number, **labels)


def tasks_of(name, dataset, split="test", options=AS_PUBLISHED):
    return {task.name: task for task in PROTOCOLS[name].tasks(dataset, split, options)}


def gone(task):
    """Query number -> gallery numbers that the task removes, among those of the query's pid."""
    found = {}
    for query, pid in enumerate(task.queries.pids.tolist()):
        own = np.flatnonzero(task.gallery.pids == pid)
        if task.rule.of is not None and len(own):
            own = own[task.rule.of(task.queries, task.gallery)(query, own)]
            found[query] = own.tolist()
        else:
            found[query] = []
    return found


def bare(pids, **labels):
    """Groups as features of other code have them."""
    n = len(pids)
    unknown = np.full(n, ABSENT, dtype=np.int64)
    columns = {name: np.array(values, dtype=np.int64) for name, values in labels.items()}
    camids, image_ids = columns.pop("camids", unknown), columns.pop("image_ids", unknown)
    return Groups({}, np.array(pids, dtype=np.int64), camids, image_ids, columns)


# Captions and images


def test_every_caption_queries_every_image():
    data = Toy([*paired(), *paired((2, 1), "test"), ("test", "nir", 7, 0)])
    task = tasks_of("text_to_image", data)["text_to_image"]
    assert task.queries.members["caption"].tolist() == data.items.select("test", "caption").tolist()
    assert task.gallery.members["rgb"].tolist() == data.items.select("test", "rgb").tolist()
    assert set(task.queries.members) == {"caption"}
    assert set(task.gallery.members) == {"rgb"}
    assert task.queries.pids.tolist() == [7, 7, 7, 7, 17, 17]
    assert task.gallery.pids.tolist() == [7, 7, 17]
    assert (task.removed, task.no_match, task.draws, task.notes) == ("nothing", "zero", (), ())


def test_every_image_queries_every_caption():
    data = Toy([*paired((2, 1), "test"), ("test", "nir", 7, 0)])
    task = tasks_of("image_to_text", data)["image_to_text"]
    assert task.queries.members["rgb"].tolist() == data.items.select("test", "rgb").tolist()
    assert task.gallery.members["caption"].tolist() == data.items.select("test", "caption").tolist()
    assert task.gallery.pids.tolist() == [7, 7, 7, 7, 17, 17]
    assert (task.removed, task.no_match) == ("nothing", "zero")


def test_the_parts_of_a_caption_ask_together():
    rows = [shot(1, 0)]
    for number in (0, 1):
        rows += [text(1, 0, number, role) for role in ("caption", "id_caption", "cloth_caption")]
    data = Table([*rows[:-1], text(2, ABSENT, 0, "id_caption")])  # the last clothes part is missing
    asked = Options(queries=("id_caption", "cloth_caption"))
    queries = tasks_of("text_to_image", data, options=asked)["text_to_image"].queries
    assert queries.members["id_caption"].tolist() == [2, 5, 6]
    assert queries.members["cloth_caption"].tolist() == [3, -1, -1]


@pytest.mark.parametrize("role", ["caption", "rgb"])
@pytest.mark.parametrize("protocol", ["text_to_image", "image_to_text"])
def test_a_split_that_cannot_serve_is_refused(protocol, role):
    rows = [*paired(), *[row for row in paired((2,), "test") if row[1] != role]]
    with pytest.raises(DataError, match=f"no {role} items in the split 'test'"):
        tasks_of(protocol, Toy(rows))


def test_a_role_that_the_split_lacks_is_refused_with_those_it_has():
    data = Toy(paired((2,), "test"))
    with pytest.raises(DataError, match=r"^eval\.gallery_role: unknown role 'nir'; allowed: rgb$"):
        tasks_of("text_to_image", data, options=Options(gallery="nir"))
    with pytest.raises(DataError, match=r"^eval\.queries: roles are named once each"):
        tasks_of("image_to_text", data, options=Options(queries=("rgb", "rgb")))


# Images


MARKET = [
    shot(1, 0, camid=0, side="query"),
    shot(2, 1, camid=1, side="query"),
    shot(3, 2, camid=1, side="query"),
    shot(1, 3, camid=0, side="gallery"),  # 0
    shot(1, 4, camid=1, side="gallery"),  # 1
    shot(2, 5, camid=0, side="gallery"),  # 2
    shot(2, 6, camid=1, side="gallery"),  # 3
    shot(0, 7, camid=1, side="gallery"),  # 4: a distractor
    shot(3, 8, camid=1, side="gallery"),  # 5: nothing else of 3
    shot(1, 9, camid=0, split="train"),
]


def test_images_query_the_gallery_of_the_authors():
    task = tasks_of("image_to_image", Table(MARKET))["image_to_image"]
    assert task.queries.members["rgb"].tolist() == [0, 1, 2]
    assert task.gallery.members["rgb"].tolist() == [3, 4, 5, 6, 7, 8]
    assert gone(task) == {0: [0], 1: [3], 2: [5]}
    assert task.removed == "the query's identity in its camera, and its own moment"
    assert (task.no_match, task.notes) == ("skip", ())


def test_without_sides_every_image_queries_all_others():
    rows = [shot(1, 0, 0, split="val"), shot(1, 1, 0, split="val"), shot(1, 2, 1, split="val"), shot(2, 3, 0)]
    task = tasks_of("image_to_image", Table(rows), "val")["image_to_image"]
    assert len(task.queries) == len(task.gallery) == 3
    assert gone(task) == {0: [0, 1], 1: [0, 1], 2: [2]}
    assert task.notes == ("no sides are given: every image is a query and in the gallery",)


def test_an_item_without_a_side_stands_on_both():
    rows = [shot(1, 0, 0, "query"), shot(1, 1, 1, "gallery"), shot(1, 2, 2)]
    task = tasks_of("image_to_image", Table(rows))["image_to_image"]
    assert task.queries.image_ids.tolist() == [0, 2]
    assert task.gallery.image_ids.tolist() == [1, 2]
    assert gone(task) == {0: [], 1: [1]}


def test_without_cameras_the_own_image_is_removed_and_it_is_said():
    task = tasks_of("image_to_image", Table([shot(1, 0), shot(1, 1), shot(2, 2)]))["image_to_image"]
    assert gone(task) == {0: [0], 1: [1], 2: [2]}
    assert task.removed == "the query's own moment"


def test_one_modality_queries_another():
    rows = [shot(1, 0, 0), shot(1, 0, 0, role="nir"), shot(1, 1, 1), shot(1, 1, 1, role="nir")]
    asked = Options(queries=("nir",), gallery="rgb", removed="nothing", no_match="zero")
    task = tasks_of("image_to_image", Table(rows), options=asked)["image_to_image"]
    assert task.queries.members["nir"].tolist() == [1, 3]
    assert task.gallery.members["rgb"].tolist() == [0, 2]
    assert (task.removed, task.no_match, task.rule.of) == ("nothing", "zero", None)


def test_a_rule_may_be_chosen():
    task = tasks_of("image_to_image", Table([shot(1, 0, 0), shot(1, 1, 0)]), options=Options(removed="moment"))
    assert gone(task["image_to_image"]) == {0: [0], 1: [1]}
    with pytest.raises(DataError, match=r"eval\.removed: unknown rule 'camra'; .*did you mean 'camera'"):
        tasks_of("image_to_image", Table([shot(1, 0, 0)]), options=Options(removed="camra"))
    with pytest.raises(DataError, match="the queries and the gallery have no scenes; the data set does not label"):
        tasks_of("image_to_image", Table([shot(1, 0, 0), shot(1, 1, 0)]), options=Options(removed="scene"))


def test_a_task_that_would_skip_every_query_is_refused_in_one_line():
    with pytest.raises(DataError, match=r"every one of the 2 queries would be skipped, none has .* of the gallery"):
        tasks_of("image_to_image", Table([shot(1, 0, 0), shot(1, 1, 0), shot(2, 2, 0, "gallery")]))
    with pytest.raises(DataError, match="no rgb items on the gallery side of the split 'test'"):
        tasks_of("image_to_image", Table([shot(1, 0, 0, "query")]))


# Rules against brute force


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


# Across modalities


FIVE = [
    row
    for pid, moment in ((1, 0), (1, 1), (2, 2))
    for row in (
        *(shot(pid, moment, 0, role=role) for role in ("rgb", "nir", "tir", "sketch", "cpencil")),
        text(pid, moment),
        text(pid, moment, role="cloth_caption"),
    )
]


def test_each_modality_queries_photographs():
    found = tasks_of("cross_modal", Table(FIVE))
    assert list(found) == ["nir", "tir", "sketch", "cpencil", "caption"]
    for role, task in found.items():
        assert set(task.queries.members) == {role}
        assert task.queries.image_ids.tolist() == [0, 1, 2]
        assert task.gallery.members["rgb"].tolist() == [0, 7, 14]
        assert (task.removed, task.no_match) == ("nothing", "zero")


def test_other_modalities_may_ask_and_answer():
    asked = Options(queries=("cloth_caption", "rgb"), gallery="tir", removed="moment")
    found = tasks_of("cross_modal", Table(FIVE), options=asked)
    assert list(found) == ["cloth_caption", "rgb"]
    assert gone(found["rgb"]) == {0: [0], 1: [1], 2: [2]}
    assert set(found["rgb"].gallery.members) == {"tir"}
    with pytest.raises(DataError, match=r"eval\.queries: unknown role 'rgb'"):
        tasks_of("cross_modal", Table(FIVE), options=Options(queries=("rgb",)))
    with pytest.raises(DataError, match="'test' has no modality that could query rgb"):
        tasks_of("cross_modal", Table([shot(1, 0)]))


def test_modalities_keep_to_the_sides_of_the_authors():
    rows = [shot(1, 0, side="gallery"), shot(1, 1, side="query"), shot(1, 2, side="query", role="nir")]
    found = tasks_of("cross_modal", Table([*rows, shot(1, 3, side="gallery", role="tir")]))
    assert list(found) == ["nir"]
    assert found["nir"].gallery.members["rgb"].tolist() == [0]


# Omni


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


# Spectra


def triple(pid, moment, camid, side="", **labels):
    return [shot(pid, moment, camid, side, role, **labels) for role in ("rgb", "nir", "tir")]


def test_the_spectra_of_a_moment_are_one_query():
    rows = [*triple(1, 0, 0), *triple(1, 1, 0), *triple(1, 2, 1)[:2], *triple(2, 3, 0), *triple(2, 4, 1)]
    task = tasks_of("multispectral", Table(rows))["multispectral"]
    assert task.queries.members["rgb"].tolist() == [0, 3, 6, 8, 11]
    assert task.queries.members["nir"].tolist() == [1, 4, 7, 9, 12]
    assert task.queries.members["tir"].tolist() == [2, 5, -1, 10, 13]  # its moment has none
    assert gone(task) == {0: [0, 1], 1: [0, 1], 2: [2], 3: [3], 4: [4]}
    assert task.removed == RULES["camera"].words
    assert task.no_match == "skip"


def test_scenes_that_hold_several_moments_are_what_is_removed():
    rows = [
        *triple(1, 0, 0, "query", scene=0),
        *triple(1, 1, 1, "gallery", scene=0),  # 0: other camera, same scene
        *triple(1, 2, 0, "gallery", scene=1),  # 1: same camera, other scene
        *triple(2, 3, 0, "gallery", scene=0),  # 2: other vehicle
    ]
    task = tasks_of("multispectral", Table(rows))["multispectral"]
    assert gone(task) == {0: [0]}
    assert task.removed == RULES["scene"].words
    camera = tasks_of("multispectral", Table(rows), options=Options(removed="camera"))["multispectral"]
    assert gone(camera) == {0: [1]}


def test_scenes_that_only_name_the_moments_are_not():
    rows = [row for moment in range(3) for row in triple(1, moment, moment % 2, scene=moment)]
    task = tasks_of("multispectral", Table(rows))["multispectral"]
    assert task.removed == RULES["camera"].words


def test_one_spectrum_alone_is_refused_unless_asked_for():
    data = Table([shot(1, 0, 0), shot(1, 1, 1)])
    with pytest.raises(DataError, match="multispectral: two of rgb, nir, tir are needed; 'test' has rgb"):
        tasks_of("multispectral", data)
    assert list(tasks_of("multispectral", data, options=Options(queries=("rgb",)))) == ["multispectral"]


def test_two_images_of_one_moment_and_role_cannot_stand_in_a_group():
    with pytest.raises(DataError, match="two nir items of test share one image_id"):
        joint(tabulate([*triple(1, 0, 0), shot(1, 0, 0, role="nir")]), "test", ("rgb", "nir"))


MANY = [row for moment in range(60) for row in triple(moment % 6, moment, moment // 6 % 2)]


@pytest.mark.parametrize("side", ["query", "gallery", "both"])
def test_modalities_are_missing_from_a_share_of_the_groups(side):
    whole = tasks_of("multispectral", Table(MANY))["multispectral"]
    task = tasks_of("multispectral", Table(MANY), options=Options(dropped=Dropped(("nir", "tir"), 0.5, side, 3)))
    task = task["multispectral"]
    for name, before, after in (("query", whole.queries, task.queries), ("gallery", whole.gallery, task.gallery)):
        if side not in (name, "both"):
            assert after is before or after.members["nir"].tolist() == before.members["nir"].tolist()
            continue
        assert after.members["rgb"].tolist() == before.members["rgb"].tolist()
        for role in ("nir", "tir"):
            lost = after.members[role] == ABSENT
            assert 15 <= lost.sum() <= 45
            assert (after.members[role][~lost] == before.members[role][~lost]).all()
        assert (after.members["nir"] == ABSENT).tolist() != (after.members["tir"] == ABSENT).tolist()
    assert any(note.startswith("missing on the") and "seed 3" in note for note in task.notes)


def test_a_groups_loss_does_not_depend_on_the_others():
    asked = Options(dropped=Dropped(("nir",), 0.5, "both", 0))
    whole = tasks_of("multispectral", Table(MANY), options=asked)["multispectral"].queries
    part = tasks_of("multispectral", Table([r for r in MANY if r.image_id % 5]), options=asked)["multispectral"].queries
    lost = dict(zip(whole.image_ids.tolist(), (whole.members["nir"] == ABSENT).tolist(), strict=True))
    kept = dict(zip(part.image_ids.tolist(), (part.members["nir"] == ABSENT).tolist(), strict=True))
    assert kept.items() <= lost.items()
    assert 0 < sum(kept.values()) < len(kept)


def test_no_group_loses_its_last_item():
    asked = Options(dropped=Dropped(("rgb", "nir", "tir"), 1.0, "both", 0))
    task = tasks_of("multispectral", Table(MANY), options=asked)["multispectral"]
    held = np.stack(list(task.queries.members.values())) != ABSENT
    assert held.sum(axis=0).tolist() == [1] * 60
    assert (held.sum(axis=1) > 5).all(), "which one stays is drawn"
    gone_for_good = Options(dropped=Dropped(("tir",), 1.0, "query", 0))
    task = tasks_of("multispectral", Table(MANY), options=gone_for_good)["multispectral"]
    assert set(task.queries.members) == {"rgb", "nir"}
    assert set(task.gallery.members) == {"rgb", "nir", "tir"}


def test_what_cannot_be_missing_is_refused():
    with pytest.raises(DataError, match=r"eval\.dropped\.roles: unknown role 'nirr'; .*did you mean 'nir'"):
        tasks_of("multispectral", Table(MANY), options=Options(dropped=Dropped(("nirr",), 0.5, "both", 0)))
    with pytest.raises(DataError, match="the groups of image_to_image have one item each"):
        tasks_of("image_to_image", Table(MARKET), options=Options(dropped=Dropped(("rgb",), 0.5, "both", 0)))


# Clothes


LTCC = [
    shot(1, 0, 0, "query", clothes=0),
    shot(2, 1, 0, "query", clothes=2),
    shot(1, 2, 0, "gallery", clothes=1),  # 0: same camera
    shot(1, 3, 1, "gallery", clothes=0),  # 1: same clothes
    shot(1, 4, 1, "gallery", clothes=1),  # 2: other clothes
    shot(2, 5, 1, "gallery", clothes=2),  # 3: same clothes, and nothing else of 2
    shot(9, 6, 1, "gallery"),  # 4: a distractor in unknown clothes
]


def test_clothes_changing_is_three_tasks():
    found = tasks_of("clothes_changing", Table(LTCC))
    assert list(found) == ["general", "CC", "SC"]
    assert gone(found["general"]) == {0: [0], 1: []}
    assert gone(found["CC"]) == {0: [0, 1], 1: [3]}
    assert gone(found["SC"]) == {0: [0, 2], 1: []}
    assert {task.no_match for task in found.values()} == {"skip"}
    assert len({task.removed for task in found.values()}) == 3


def test_the_headline_is_the_changed_clothes():
    rows = {"general": {"mAP": 3.0}, "CC": {"mAP": 1.0}, "SC": {"mAP": 5.0}}
    wanted = {"mAP": 1.0, "general/mAP": 3.0, "CC/mAP": 1.0, "SC/mAP": 5.0}
    assert PROTOCOLS["clothes_changing"].summary(rows) == wanted


def test_clothes_changing_on_val_without_cameras():
    rows = [shot(1, moment, split="val", clothes=clothes) for moment, clothes in enumerate((0, 0, 1))]
    found = tasks_of("clothes_changing", Table(rows), "val")
    assert gone(found["general"]) == {0: [0], 1: [1], 2: [2]}
    assert gone(found["CC"]) == {0: [0, 1], 1: [0, 1], 2: [2]}
    assert gone(found["SC"]) == {0: [0, 2], 1: [1, 2], 2: [0, 1, 2]}
    assert not any("camera" in task.removed for task in found.values())


def test_unknown_clothes_and_other_rules_are_refused():
    with pytest.raises(DataError, match="clothes are unknown of 3 of 3 queries; the split 'test' does not label them"):
        tasks_of("clothes_changing", Table(MARKET))
    with pytest.raises(DataError, match=r"eval\.removed: clothes_changing has no such choice"):
        tasks_of("clothes_changing", Table(LTCC), options=Options(removed="camera"))
    one_outfit = [shot(1, moment, moment, clothes=0) for moment in range(3)]
    with pytest.raises(DataError, match=r"^CC: every one of the 3 queries would be skipped"):
        tasks_of("clothes_changing", Table(one_outfit))


# Drawn galleries


def gallery_of(people=4, cameras=3, each=5):
    rows = [shot(pid, 1000 + pid, 0, "query") for pid in range(people)]
    moment = 0
    for pid in range(people + 1):  # the last one is asked for by nobody
        for camid in range(cameras):
            for _ in range(each):
                rows.append(shot(pid, moment, camid, "gallery"))
                moment += 1
    return rows


def test_galleries_are_drawn_by_identity_and_camera():
    task = tasks_of("image_to_image", Table(gallery_of()), options=Options(shots=Shots(2, 10, 0)))["image_to_image"]
    assert len(task.draws) == 10
    for draw in task.draws:
        assert (np.diff(draw) > 0).all()
        people, cameras = task.gallery.pids[draw], task.gallery.camids[draw]
        for pid in range(4):
            assert np.bincount(cameras[people == pid], minlength=3).tolist() == [2, 2, 2]
        assert (people == 4).sum() == 15, "distractors stay"
    assert len({draw.tobytes() for draw in task.draws}) == 10
    assert task.notes == (
        "gallery: 2 of each identity and camera, drawn 10 times with seed 0; 15 distractors stay in every draw",
    )
    assert len({i for draw in task.draws for i in draw[task.gallery.pids[draw] == 0].tolist()}) > 10


def test_draws_depend_on_the_seed_and_not_on_other_people():
    def drawn(rows, seed):
        task = tasks_of("image_to_image", Table(rows), options=Options(shots=Shots(1, 3, seed)))["image_to_image"]
        ids, pids = task.gallery.image_ids, task.gallery.pids
        return [ids[draw][pids[draw] == 2].tolist() for draw in task.draws]

    rows = gallery_of()
    assert drawn(rows, 0) == drawn([row for row in rows if row.pid in (2, 3)], 0)
    assert drawn(rows, 0) != drawn(rows, 1)


def test_without_cameras_a_gallery_is_drawn_by_identity():
    rows = [replace(row, camid=ABSENT) for row in gallery_of()]
    task = tasks_of("image_to_image", Table(rows), options=Options(shots=Shots(20, 1, 0)))["image_to_image"]
    assert len(task.draws[0]) == len(task.gallery), "fewer images than shots: all of them"
    task = tasks_of("image_to_image", Table(rows), options=Options(shots=Shots(1, 1, 0)))["image_to_image"]
    assert np.bincount(task.gallery.pids[task.draws[0]]).tolist() == [1, 1, 1, 1, 15]


def test_a_gallery_of_captions_is_not_drawn():
    with pytest.raises(DataError, match="images are drawn, and the gallery of image_to_text has captions"):
        tasks_of("image_to_text", Toy(paired((2,), "test")), options=Options(shots=Shots(1, 1, 0)))


# Merged data sets


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


# Features of other code


def test_features_follow_the_same_rules():
    queries, gallery = bare([1, 2], camids=[0, 0]), bare([1, 1, 2, 3], camids=[0, 1, 1, 0])
    (task,) = PROTOCOLS["image_to_image"].given(queries, gallery, AS_PUBLISHED)
    assert gone(task) == {0: [0], 1: []}
    (task,) = PROTOCOLS["image_to_image"].given(queries, gallery, Options(removed="nothing", shots=Shots(1, 2, 0)))
    assert task.rule.of is None
    assert [draw.tolist() for draw in task.draws] == [[0, 1, 2, 3]] * 2
    for name in ("text_to_image", "image_to_text", "cross_modal"):
        (task,) = PROTOCOLS[name].given(bare([1]), bare([2, 1]), AS_PUBLISHED)
        assert (task.name, task.removed, task.no_match) == (name, "nothing", "zero")


def test_scenes_of_features_are_used_where_given():
    queries, gallery = bare([1], camids=[0], scenes=[4]), bare([1, 1], camids=[0, 1], scenes=[5, 4])
    (task,) = PROTOCOLS["multispectral"].given(queries, gallery, AS_PUBLISHED)
    assert gone(task) == {0: [1]}
    (task,) = PROTOCOLS["multispectral"].given(replace(queries, labels={}), gallery, AS_PUBLISHED)
    assert gone(task) == {0: [0]}


def test_clothes_of_features():
    queries, gallery = bare([1], camids=[0], clothes=[4]), bare([1, 1], camids=[1, 1], clothes=[5, 4])
    found = PROTOCOLS["clothes_changing"].given(queries, gallery, AS_PUBLISHED)
    assert [gone(task) for task in found] == [{0: []}, {0: [1]}, {0: [0]}]


@pytest.mark.parametrize(
    ("name", "labels", "asked", "wanted"),
    [
        ("image_to_image", {}, AS_PUBLISHED, "the queries and the gallery have no camids; add the key 'camids'"),
        ("multispectral", {}, AS_PUBLISHED, "add the key 'camids'"),
        ("clothes_changing", {"camids": [0, 1]}, AS_PUBLISHED, "add the key 'clothes'"),
        ("clothes_changing", {"clothes": [0, 1]}, AS_PUBLISHED, "add the key 'camids'"),
        ("text_to_image", {}, Options(removed="scene"), "add the key 'scenes'"),
        ("text_to_image", {}, Options(removed="moment"), "add the key 'image_ids'"),
        ("text_to_image", {}, Options(queries=("rgb",)), "eval.queries: text_to_image has no such choice"),
        ("image_to_image", {"camids": [0, 1]}, Options(dropped=Dropped(("nir",), 1, "both", 0)), "eval.dropped"),
        ("omni", {}, AS_PUBLISHED, "measure the features of one kind with cross_modal"),
        ("image_to_text", {}, Options(shots=Shots(1, 1, 0)), "eval.gallery: image_to_text has no such choice"),
    ],
)
def test_labels_that_features_lack_are_asked_for_by_key(name, labels, asked, wanted):
    with pytest.raises(DataError) as error:
        PROTOCOLS[name].given(bare([1, 1], **labels), bare([1, 1], **labels), asked)
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)


def test_queries_without_labels_may_still_be_ranked():
    (task,) = PROTOCOLS["image_to_image"].given(
        bare([-1, -1], camids=[0, 0]), bare([-1, 3], camids=[0, 0]), AS_PUBLISHED
    )
    assert len(task.queries) == 2


# Data sets as their authors ship them


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Layout -> the embedded world written in it, and read again with a val split carved from train."""
    tmp = tmp_path_factory.mktemp("layouts")

    def opened(name):
        shape = dict.fromkeys(("train_identities", "test_identities"), 4) | {"val_identities": 1}
        shape |= {"train_images": 4, "eval_images": 4, "image_size": (32, 16), "roles": writer(name).roles}
        world = open_synthetic(SyntheticSpec(preset="smoke", **{**shape, **writer(name).knobs}), tmp / "cache")
        write(writer(name), world, tmp / name, "png")
        return DATASETS[name].open(DATASETS[name].spec(root=str(tmp / name), val=ValSpec(identities=0.5)), tmp)

    return opened


_LITERATURE = [
    ("market1501", ["image_to_image"], RULES["camera"].words),
    ("prcc", ["general", "CC", "SC"], RULES["camera"].words),
    ("rgbnt201", ["multispectral"], RULES["camera"].words),
    ("msvr310", ["multispectral"], RULES["scene"].words),
    ("orbench", list(QUERY_KINDS), "nothing"),
]


@pytest.mark.parametrize(("name", "rows", "removed"), _LITERATURE)
def test_data_sets_are_measured_as_in_the_literature(made, name, rows, removed):
    data = made(name)
    judge = DATASETS[name].protocol
    for split in ("val", "test"):
        found = tasks_of(judge, data, split)
        assert list(found) == rows
        first = found[rows[0]]
        assert first.removed == removed
        sides = data.items.side[data.items.split == split]
        as_published = split == "test" and (name == "orbench" or (sides != "").any())
        assert bool(first.notes) != as_published, "a result tells where the authors' own cut is not used"
    values = {row: {"mAP": float(len(rows) == 1 or row in ("CC", "SK"))} for row in rows}
    summed = PROTOCOLS[judge].summary(values)
    assert summed["mAP"] == {"orbench": 0.0625}.get(name, 1.0)
    if name == "orbench":
        assert list(summed) == ["mAP", *(f"{row}/mAP" for row in (*AVERAGES, *QUERY_KINDS))]
        assert summed["ONE/mAP"] == 0.25


def test_every_protocol_says_what_it_does():
    assert all(protocol.doc for protocol in PROTOCOLS.values())
    assert all(rule.words for rule in RULES.values())
