"""Arms as parents, runs as their children: journals, membership, and what mlflow shows of both."""

from __future__ import annotations

import threading

import pytest

from reid_lab.errors import RunError
from reid_lab.tracking.arms import ArmBook
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.members import Member, claim, enter, members
from reid_lab.tracking.mirror import journals, sync
from reid_lab.tracking.mlflow_store import RUN_TAG, Store
from reid_lab.tracking.records import read
from reid_lab.tracking.replay import Replay
from reid_lab.tracking.runs import RunFolder
from tests.tracking.conftest import assert_each_point_once, contents, write_run

KEY = "0123456789abcdef"


@pytest.fixture
def fresh(tmp_path, store):
    """An empty folder of runs in front of the session's store."""
    return tmp_path / "runs", store.uri


def book(runs, study, arm="full", key=KEY, **more):
    told = {"params": {"model.mer": None, "design": "leave_one_out"}, "description": "**without**", **more}
    return ArmBook(runs, study, arm, key=key, experiment="irra", **told)


def child(runs, run_id, member, status="finished"):
    folder = write_run(runs, run_id, status="")
    with Journal(folder / "journal.jsonl", strict=True) as journal:
        enter(journal, member)
        if status:
            journal.stop(status)
    return folder


def test_an_arm_is_the_parent_of_its_trials_and_cells(fresh, store):
    runs, uri = fresh
    arm = book(runs, "family", uri="off")
    arm.best(0, {"mAP": 10.0})
    arm.best(3, {"mAP": 30.0})
    arm.measured(3, {"mAP": 28.0, "R1": 50.0})
    arm.stop("finished")
    arm.close()
    child(runs, "aaaaaaaaaaaa-1", Member("family", "full", arm.id, trial=0), "pruned")
    child(runs, "bbbbbbbbbbbb-1", Member("family", "full", arm.id, trial=1), "failed")
    child(runs, "cccccccccccc-1", Member("family", "full", arm.id))
    for _ in range(2):
        sent = sync(runs, uri=uri, full=True)
        assert [s.problem for s in sent] == [None] * 4
        assert sent[0].run_id == "family/full"
    parent = contents(store, f"family/full-{KEY[:12]}")
    assert parent["status"] == "FINISHED"
    assert parent["params"] == {"model.mer": "null", "design": "leave_one_out"}
    assert {"reid_lab.study": "family", "reid_lab.arm": "full", "reid_lab.kind": "arm"}.items() <= parent[
        "tags"
    ].items()
    assert parent["tags"]["mlflow.note.content"] == "**without**"
    assert [(k, step, value) for k, step, value, _ in parent["points"]] == [
        ("test/R1", 3, 50.0),
        ("test/mAP", 3, 28.0),
        ("val/mAP", 0, 10.0),
        ("val/mAP", 3, 30.0),
    ]
    wanted = {"aaaaaaaaaaaa-1": ("KILLED", "pruned", "0"), "bbbbbbbbbbbb-1": ("FAILED", "failed", "1")}
    wanted["cccccccccccc-1"] = ("FINISHED", "finished", None)
    for run_id, (theirs, ours, trial) in wanted.items():
        held = contents(store, run_id)
        tags = held["tags"]
        assert (held["status"], tags["reid_lab.status"], tags.get("reid_lab.trial")) == (theirs, ours, trial)
        assert tags["mlflow.parentRunId"] == parent["id"]
        assert (tags["reid_lab.study"], tags["reid_lab.arm"], tags["reid_lab.parent"]) == ("family", "full", arm.id)
        assert tags["reid_lab.study.family"] == "full"
        assert bool(held["models"]) == (trial is None)
        assert_each_point_once(held["points"])


def test_a_child_may_be_sent_before_its_parent_and_beside_its_siblings(fresh, store):
    runs, uri = fresh
    arm = book(runs, "hurry", uri="off")
    folders = [child(runs, f"ddddddddddd{k}-1", Member("hurry", "full", arm.id, trial=k)) for k in range(4)]
    threads = [threading.Thread(target=lambda f=f: Replay(f, Store.of(runs, uri)).send()) for f in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arm.stop("finished")
    arm.close()
    parent = contents(store, f"hurry/full-{KEY[:12]}")["id"]  # exactly one
    sync(runs, uri=uri)
    assert contents(store, f"hurry/full-{KEY[:12]}")["id"] == parent
    for folder in folders:
        assert contents(store, folder.name)["tags"]["mlflow.parentRunId"] == parent


def test_a_run_of_several_studies_keeps_its_first_parent(fresh, store):
    runs, uri = fresh
    arms = [book(runs, study, uri="off") for study in ("older", "newer")]
    folder = RunFolder(write_run(runs, "eeeeeeeeeeee-1"))
    sync(runs, ["eeeeeeeeeeee-1"], uri=uri)
    assert "mlflow.parentRunId" not in contents(store, folder.run_id)["tags"]
    for arm, study in zip(arms, ("older", "newer"), strict=True):
        for _ in range(2):
            claim(folder, Member(study, "full", arm.id))
        sync(runs, uri=uri)
    assert [member.study for member in members(folder.journal)] == ["older", "newer"]
    held = contents(store, folder.run_id)
    assert held["status"] == "FINISHED"
    parent = contents(store, f"older/full-{KEY[:12]}")["id"]
    for again in (False, True):
        sync(runs, uri=uri, full=again)
        tags = contents(store, folder.run_id)["tags"]
        assert (tags["mlflow.parentRunId"], tags["reid_lab.study"]) == (parent, "older")
        assert (tags["reid_lab.study.older"], tags["reid_lab.study.newer"]) == ("full", "full")
    for arm in arms:
        arm.close()


def test_an_arm_that_is_opened_again_goes_on(fresh):
    runs, _ = fresh
    for status in ("interrupted", "finished"):
        arm = book(runs, "again", uri="off")
        arm.best(0, {"mAP": 10.0})
        arm.note("lacking", ["model.x"])
        arm.stop(status)
        arm.close()
    kinds = [record.kind for record, _ in read(arm.folder / "journal.jsonl")]
    assert (kinds.count("val"), kinds.count("note"), kinds.count("start"), kinds.count("stop")) == (1, 1, 2, 2)
    assert list(journals(runs)) == ["again/full"]


def test_an_edited_arm_begins_another_journal_and_the_former_comes_back(fresh):
    runs, _ = fresh

    def opened(key, lr):
        arm = book(runs, "edited", key=key, params={"lr": lr}, uri="off")
        arm.close()
        records = [record for record, _ in read(arm.folder / "journal.jsonl")]
        return records[0].value["run_id"], [r.value for r in records if r.kind == "param"], len(records)

    assert opened("a" * 64, 1.0) == ("edited/full-aaaaaaaaaaaa", [1.0], 2)
    assert opened("b" * 64, 2.0) == ("edited/full-bbbbbbbbbbbb", [2.0], 2)
    assert opened("a" * 64, 1.0) == ("edited/full-aaaaaaaaaaaa", [1.0], 3)
    assert (runs / "studies/edited/full/bbbbbbbbbbbb/journal.jsonl").is_file()


def test_a_second_driver_records_nothing(fresh):
    runs, _ = fresh
    first, second = book(runs, "shared", uri="off"), book(runs, "shared", uri="off")
    assert (first.held, second.held) == (True, False)
    second.best(0, {"mAP": 1.0})
    second.stop("failed")
    second.close()
    first.close()
    assert {record.kind for record, _ in read(first.folder / "journal.jsonl")} == {"start", "param"}


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_a_name_must_be_that_of_a_folder(fresh, name):
    with pytest.raises(RunError, match="cannot name a folder"):
        book(fresh[0], "study", arm=name)


def test_a_child_whose_arm_has_no_journal_gets_a_parent_of_its_name(fresh, store):
    runs, uri = fresh
    for run_id in ("ffffffffffff-1", "ffffffffffff-2"):
        child(runs, run_id, Member("lost", "full", "lost/full"))
    sync(runs, uri=uri)
    found = store.client().search_runs(list(store.experiments().values()), f"tags.`{RUN_TAG}` = 'lost/full'")
    assert len(found) == 1
    assert contents(store, "ffffffffffff-2")["tags"]["mlflow.parentRunId"] == found[0].info.run_id
