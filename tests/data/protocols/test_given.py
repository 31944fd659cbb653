"""Features of other code follow the same rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reid_lab.data.protocols import PROTOCOLS, Dropped, Options, Shots
from reid_lab.errors import DataError
from tests.data.protocols.tables import AS_PUBLISHED, bare, gone


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
