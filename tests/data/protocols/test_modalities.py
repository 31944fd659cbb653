"""Each modality queries another."""

from __future__ import annotations

import pytest

from reid_lab.data.protocols import Options
from reid_lab.errors import DataError
from tests.data.protocols.tables import FIVE, Table, gone, shot, tasks_of


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
