"""Runs in groups, and what they are called."""

import pytest

from reid_lab.report.groups import changes
from reid_lab.report.selection import select
from tests.report.made import ablated, make


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def names(groups):
    return {group.name: list(group.seeds) for group in groups}


def test_groups_by_architecture_and_by_a_path(runs):
    make(runs, 0), make(runs, 0, name="c", spec={"model.name": "clip_mer", "model.mer.rank": 2})
    assert set(names(select(["data=synthetic"], runs, by=("architecture",))[0])) == {"irra", "clip_mer"}
    groups = select(["data=synthetic"], runs, by=("model.mer.rank", "architecture"))[0]
    assert set(names(groups)) == {"model.mer.rank=4, irra", "model.mer.rank=2, clip_mer"}


def test_a_group_is_named_by_its_one_change(runs):
    make(runs, 0), make(runs, 0, name="other", spec={"model.mer.rank": 8})
    twin = make(runs, 0, spec={"model.mer.rank": 8})
    groups, _ = select(["irra"], runs)
    assert len(groups) == 2
    assert groups[1].name in ("irra (model.mer.rank: 8)", "irra (model.mer.rank: 4)")
    assert {run.run_id for group in groups for run in group.runs} >= {twin.run_id}


def test_an_arm_may_be_called_as_an_experiment_is(runs):
    ablated(runs)
    make(runs, 0, name="full", spec={"model.mer.rank": 16})
    groups, _ = select(["ablation", "full"], runs)
    assert [group.name for group in groups] == ["full", "no_mer", "mlm=deep", "full (full)"]


def test_changes_leave_out_what_an_emptied_slot_held():
    on, off = {"a": 1, "mer.rank": 4, "mer.alpha": 8}, {"a": 1, "mer": None}
    assert changes(on, off) == ["mer: null"]
    assert changes(off, on) == ["mer.rank: 4", "mer.alpha: 8"]
    assert changes({"a": 1, "b": 2}, {"a": 1}) == ["b: absent"]
