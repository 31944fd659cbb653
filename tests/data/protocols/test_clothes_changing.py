"""Three tasks by what is worn."""

from __future__ import annotations

import pytest

from reid_lab.data.protocols import PROTOCOLS, Options
from reid_lab.errors import DataError
from tests.data.protocols.tables import MARKET, Table, gone, shot, tasks_of

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
