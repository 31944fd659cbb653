"""The spectra of a moment query together; scenes and cameras."""

from __future__ import annotations

import pytest

from reid_lab.data.items import joint, tabulate
from reid_lab.data.protocols import RULES, Options
from reid_lab.errors import DataError
from tests.data.protocols.tables import Table, gone, shot, tasks_of, triple


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
