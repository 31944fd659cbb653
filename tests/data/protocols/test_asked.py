"""What may be asked of any protocol: galleries that are drawn, modalities that are missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reid_lab.data.items import ABSENT
from reid_lab.data.protocols import Dropped, Options, Shots
from reid_lab.errors import DataError
from tests.data.protocols.tables import MARKET, Table, shot, tasks_of, triple
from tests.data.toys import Toy, paired


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
