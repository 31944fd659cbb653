"""Images query images: sides, cameras, modalities, rules that may be chosen."""

from __future__ import annotations

import pytest

from reid_lab.data.protocols import Options
from reid_lab.errors import DataError
from tests.data.protocols.tables import MARKET, Table, gone, shot, tasks_of


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
