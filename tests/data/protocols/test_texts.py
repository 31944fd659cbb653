"""Captions query images, and images captions."""

from __future__ import annotations

import pytest

from reid_lab.data.items import ABSENT
from reid_lab.data.protocols import Options
from reid_lab.errors import DataError
from tests.data.protocols.tables import Table, shot, tasks_of, text
from tests.data.toys import Toy, paired


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
