"""The mirror and sync: everything arrives, once, whatever is interrupted or absent."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from reid_lab.errors import RunError, UserError
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.mirror import Mirror, journals, sync
from reid_lab.tracking.mlflow_store import Store, store_uri
from reid_lab.tracking.records import NUMBERS, durable_offset, read, sha256
from reid_lab.tracking.replay import Progress, Replay
from tests.tracking.conftest import assert_each_point_once, contents, write_run

NOWHERE = "http://127.0.0.1:9"  # the discard port: refused at once


def without(state, *names):
    return {k: v for k, v in state.items() if k not in names}


def test_everything_of_a_run_arrives(runs, store):
    folder = write_run(runs, "all-1")
    (sent,) = sync(runs, ["all-1"])
    records = [r for r, _ in read(folder / "journal.jsonl")]
    assert (sent.records, sent.problem) == (len(records), None)
    held = contents(store, "all-1")

    numbers = [r for r in records if r.kind in NUMBERS or r.kind == "final"]
    keys = [r.name if "/" in r.name else f"{r.kind}/{r.name}" for r in numbers]
    times = {(k.replace("@", "_"), r.step): (float(r.value), r.time) for k, r in zip(keys, numbers, strict=True)}
    assert {(k, s): (v, t) for k, s, v, t in held["points"]} == times
    assert_each_point_once(held["points"])
    assert held["params"] == {"train.optimizer.lr": "1e-05", "model.mlm": "null", "data.root": ""}
    assert held["inputs"] == [("synthetic", "d" * 36)]
    assert held["status"] == "FINISHED"
    assert held["times"] == (records[0].time, records[-1].time)
    assert held["tags"]["reid_lab.status"] == "finished"
    assert held["tags"]["mlflow.source.git.commit"] == "c0ffee"
    assert held["tags"]["mlflow.note.content"] == "**IRRA**"
    assert held["tags"]["reid_lab.select.best"] == '{"metric": "mAP", "step": 5}'

    files = [name for name, _ in held["files"]]
    assert files[-1] == "spec.yaml"
    assert len(files) == 3
    assert all(f.startswith("images/ranked~query 1+step+5+timestamp+") for f in files[:2])

    ((model_id, name, status, tags, points),) = held["models"]
    assert (name, status, points) == ("best", "READY", [("val/mAP", 50.0, 5)])
    assert held["outputs"] == [(model_id, 5)]
    assert tags["reid_lab.step"] == "5"


def test_a_model_comes_back_as_it_was(runs, store, tmp_path):
    from mlflow.artifacts import download_artifacts

    folder = write_run(runs, "model-1")
    sync(runs, ["model-1"])
    ((model_id, *_),) = contents(store, "model-1")["models"]
    where = store.client().get_logged_model(model_id).artifact_location
    download_artifacts(where, dst_path=str(tmp_path), tracking_uri=store.uri)
    (got,) = tmp_path.rglob("best.safetensors")
    assert got.read_bytes() == (folder / "best.safetensors").read_bytes()


def test_sending_again_changes_nothing(runs, store):
    folder = write_run(runs, "twice-1")
    sync(runs, ["twice-1"])
    first = contents(store, "twice-1")
    assert [s.records for s in sync(runs, ["twice-1"])] == [0]
    assert contents(store, "twice-1") == first
    (again,) = sync(runs, ["twice-1"], full=True)
    assert again.records > 30
    assert contents(store, "twice-1") == first
    for state in folder.glob("mirror-*.json"):
        state.write_text('{"offset": 1')  # torn
    (again,) = sync(runs, ["twice-1"])
    assert again.records > 30
    assert contents(store, "twice-1") == first


def test_an_interruption_at_any_call_is_mended_by_the_next_sync(runs, store, monkeypatch):
    """The store fails at its n-th call, for every n, and is tried again: the result is that of one go."""
    write_run(runs, "calls-0")
    sync(runs, ["calls-0"])
    expected = without(contents(store, "calls-0"), "id", "times", "points", "files", "models", "outputs", "tags")
    write_run(runs, "calls-1")
    client = store.client()
    count = fail_at = 0

    class Failing:
        def __getattr__(self, name):
            method = getattr(client, name)

            def call(*args, **kwargs):
                nonlocal count
                count += 1
                if count == fail_at:
                    raise ConnectionError("the server went away")
                return method(*args, **kwargs)

            return call

    failing = Store(store.uri, store.artifacts)
    failing._client = Failing()
    monkeypatch.setattr(Store, "of", lambda *_: failing)
    problems = 0
    while fail_at < 100:
        count, fail_at = 0, fail_at + 1
        (sent,) = sync(runs, ["calls-1"])
        if sent.problem is None:
            break
        assert sent.problem == "the server went away"
        problems += 1
    assert problems > 10
    held = contents(store, "calls-1")
    assert_each_point_once(held["points"])
    assert without(held, "id", "times", "points", "files", "models", "outputs", "tags") == expected
    assert len(held["files"]) == 3
    ((model_id, _, status, _, points),) = held["models"]
    assert (status, points) == ("READY", [("val/mAP", 50.0, 5)])
    assert held["outputs"] == [(model_id, 5)]


def test_a_superseded_file_is_not_sent(runs, store):
    folder = write_run(runs, "old-1")
    (folder / "best.safetensors").write_bytes(b"overwritten since")
    (folder / "spec.yaml").unlink()
    (sent,) = sync(runs, ["old-1"])
    assert sent.problem is None
    held = contents(store, "old-1")
    assert held["models"] == []
    assert "spec.yaml" not in dict(held["files"])


def test_a_run_without_a_best_checkpoint_keeps_its_last(runs, store):
    with Journal(runs / "last-1" / "journal.jsonl", strict=True) as journal:
        journal.start(run_id="last-1", experiment="irra", run_name="x")
        (runs / "last-1" / "last.safetensors").write_bytes(b"weights")
        digest = "1" * 64
        journal.record("checkpoint", "last", 3, {"path": "last.safetensors", "sha256": digest})
        journal.stop("interrupted", step=3)
    sync(runs, ["last-1"])
    assert contents(store, "last-1")["models"] == []  # the file is not the one that was recorded
    with Journal(runs / "last-1" / "journal.jsonl", strict=True) as journal:
        digest = sha256(runs / "last-1" / "last.safetensors")
        journal.record("checkpoint", "last", 4, {"path": "last.safetensors", "sha256": digest})
        journal.stop("interrupted", step=4)
    sync(runs, ["last-1"])
    held = contents(store, "last-1")
    assert [m[1] for m in held["models"]] == ["last"]
    assert (held["status"], held["tags"]["reid_lab.status"]) == ("KILLED", "interrupted")


def test_only_durable_records_are_sent(runs, store):
    with Journal(runs / "dur-1" / "journal.jsonl", strict=True) as journal:
        journal.start(run_id="dur-1", experiment="irra", run_name="x")
        journal.record("loss", "sdm", 0, 1.0)
        journal.flush()
        journal.record("loss", "sdm", 1, 2.0)
        list(journal.records())  # in the file, not on disk
        sync(runs, ["dur-1"])
        assert [p[:2] for p in contents(store, "dur-1")["points"]] == [("loss/sdm", 0)]
    sync(runs, ["dur-1"])
    assert [p[:2] for p in contents(store, "dur-1")["points"]] == [("loss/sdm", 0), ("loss/sdm", 1)]


def test_a_killed_run_is_marked_and_wakes_up_again(runs, store):
    write_run(runs, "kill-1", status=None)
    with RunLock(runs / "kill-1"):
        sync(runs, ["kill-1"])
        assert contents(store, "kill-1")["status"] == "RUNNING"
    sync(runs, ["kill-1"])
    held = contents(store, "kill-1")
    assert (held["status"], held["tags"]["reid_lab.status"]) == ("KILLED", "killed")
    assert [s.records for s in sync(runs, ["kill-1"])] == [0]
    assert contents(store, "kill-1") == held
    with Journal(runs / "kill-1" / "journal.jsonl", strict=True) as journal:
        journal.start(run_id="kill-1", experiment="irra", run_name="x")
        with RunLock(runs / "kill-1"):
            sync(runs, ["kill-1"])
            assert contents(store, "kill-1")["status"] == "RUNNING"
        journal.stop("failed", "loss sdm is NaN")
    sync(runs, ["kill-1"])
    held = contents(store, "kill-1")
    assert (held["status"], held["tags"]["reid_lab.reason"]) == ("FAILED", "loss sdm is NaN")


def test_the_thread_mirrors_a_live_run(runs, store):
    with RunLock(runs / "live-1"), Journal(runs / "live-1" / "journal.jsonl", strict=True) as journal:
        journal.start(run_id="live-1", experiment="irra", run_name="x")
        mirror = Mirror(journal, store, interval=0.1)
        for step in range(8):
            journal.record("loss", "sdm", step, float(step))
            time.sleep(0.05)
        wait_for(lambda: mirror.location and len(contents(store, "live-1")["points"]) >= 8)
        (skipped,) = sync(runs, ["live-1"])
        assert f"being sent by process {os.getpid()}" in skipped.problem
        journal.record("test", "mAP", 8, 40.0)
        journal.stop("finished")
        assert mirror.close(20)
        assert mirror.problem is None
    held = contents(store, "live-1")
    assert [p[:3] for p in held["points"] if p[0] == "loss/sdm"] == [("loss/sdm", s, float(s)) for s in range(8)]
    assert held["status"] == "FINISHED"
    assert {"system/process_cpu_percent", "system/memory_percent"} <= {p[0] for p in held["points"]}
    assert_each_point_once(held["points"])
    assert [s.records for s in sync(runs, ["live-1"])] == [0]
    sync(runs, ["live-1"], full=True)
    assert contents(store, "live-1") == held


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def test_an_absent_server_costs_nothing_and_loses_nothing(runs, store):
    with Journal(runs / "away-1" / "journal.jsonl", strict=True) as journal:
        journal.start(run_id="away-1", experiment="irra", run_name="x")
        mirror = Mirror(journal, Store(NOWHERE, runs / "artifacts"), interval=0.05)
        slowest = 0.0
        for step in range(30):
            began = time.thread_time()
            journal.record("loss", "sdm", step, float(step))
            slowest = max(slowest, time.thread_time() - began)
            time.sleep(0.01)
        wait_for(lambda: mirror.problem is not None)
        assert "127.0.0.1" in mirror.problem
        journal.stop("finished")
        began = time.monotonic()
        assert not mirror.close(10)
        assert time.monotonic() - began < 10
        assert slowest < 0.05
    assert [s.problem is not None for s in sync(runs, ["away-1"], NOWHERE)] == [True]
    for _ in range(2):
        assert [s.problem for s in sync(runs, ["away-1"])] == [None]
        held = contents(store, "away-1")
        assert [p[:3] for p in held["points"] if p[0] == "loss/sdm"] == [("loss/sdm", s, float(s)) for s in range(30)]
        assert_each_point_once(held["points"])


WRITER = """
import sys, time
from pathlib import Path
from reid_lab.tracking import Journal, Mirror, RunLock, Store
runs, run_id = Path(sys.argv[1]), sys.argv[2]
with RunLock(runs / run_id), Journal(runs / run_id / "journal.jsonl", strict=True) as journal:
    journal.start(run_id=run_id, experiment="irra", run_name="x")
    mirror = Mirror(journal, Store.of(runs), interval=0.02)
    for step in range(int(sys.argv[3])):
        journal.record("loss", "sdm", step, 1 / (step + 3))
        journal.record("timing", "seconds", step, time.time())
        time.sleep(0.005)
        if mirror.location and step % 10 == 0:
            print(step, flush=True)
    journal.stop("finished")
    sys.exit(not mirror.close(60))
"""


def test_kill_9_while_mirroring_keeps_each_point_once(runs, store):
    arguments = [sys.executable, "-c", WRITER, str(runs), "crash-1"]
    writer = subprocess.Popen([*arguments, "100000"], stdout=subprocess.PIPE, text=True)
    writer.stdout.readline()  # the mirror has found its run
    time.sleep(0.3)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    held = [r.step for r, _ in read(runs / "crash-1" / "journal.jsonl") if r.kind == "loss"]
    subprocess.run([*arguments, str(len(held) + 50)], check=True, stdout=subprocess.DEVNULL, timeout=90)
    found = contents(store, "crash-1")
    assert_each_point_once(found["points"])
    losses = [(s, v) for k, s, v, _ in found["points"] if k == "loss/sdm"]
    assert losses == [(s, 1 / (s + 3)) for s in range(len(held) + 50)]
    assert found["status"] == "FINISHED"


def test_a_hanging_sync_lock_delays_the_mirror_only(runs, store):
    with Journal(runs / "busy-1" / "journal.jsonl", strict=True) as journal:
        journal.start(run_id="busy-1", experiment="irra", run_name="x")
        other = Replay(runs / "busy-1", store)
        assert other.lock.acquire()
        mirror = Mirror(journal, store, interval=0.05)
        wait_for(lambda: mirror.problem is not None)
        assert "the run is being sent by process" in mirror.problem
        other.lock.release()
        journal.stop("finished")
        assert mirror.close(20)
    assert contents(store, "busy-1")["status"] == "FINISHED"


def test_a_resumed_run_adds_no_model_for_its_last_checkpoint(runs, store):
    folder = write_run(runs, "again-1", status="interrupted")
    sync(runs, ["again-1"])
    with Journal(folder / "journal.jsonl", strict=True) as journal:
        journal.start(run_id="again-1", experiment="irra", run_name="x")
        (folder / "last.safetensors").write_bytes(b"later weights")
        value = {"path": "last.safetensors", "sha256": sha256(folder / "last.safetensors")}
        journal.record("checkpoint", "last", 9, value)
        journal.stop("finished", step=9)
    sync(runs, ["again-1"])
    assert [m[1] for m in contents(store, "again-1")["models"]] == ["best"]


@pytest.mark.slow
def test_several_processes_may_touch_a_new_store_at_once(tmp_path):
    code = "import sys; from pathlib import Path; from reid_lab.tracking import Store; \
print(Store.of(Path(sys.argv[1])).experiment('irra'))"
    crowd = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert {p.communicate()[0].strip() for p in crowd} == {"1"}


def test_a_deleted_experiment_is_restored_and_a_lost_run_made_anew(runs, store):
    write_run(runs, "gone-1", experiment="gone")
    (sent,) = sync(runs, ["gone-1"])
    store.client().delete_run(sent.location.run)
    store.client().delete_experiment(sent.location.experiment)
    (again,) = sync(runs, ["gone-1"])
    assert again.problem is None
    assert again.location.experiment == sent.location.experiment
    numbers = [r for r, _ in read(runs / "gone-1" / "journal.jsonl") if r.kind in NUMBERS or r.kind == "final"]
    assert len(contents(store, "gone-1")["points"]) == len(numbers)


def test_a_journal_without_a_start_waits(runs):
    with Journal(runs / "empty-1" / "journal.jsonl", strict=True) as journal:
        journal.record("loss", "sdm", 0, 1.0)
    (sent,) = sync(runs, ["empty-1"])
    assert (sent.records, sent.location, sent.problem) == (0, None, None)


def test_a_run_may_be_named_by_how_its_id_begins(runs):
    write_run(runs, "abcdef-1")
    write_run(runs, "abxyz-1")
    assert list(journals(runs, ["abc"])) == ["abcdef-1"]
    with pytest.raises(RunError, match="no run 'ab'"):
        journals(runs, ["ab"])


def test_unknown_runs_are_named_all_at_once(runs):
    write_run(runs, "known-1")
    with pytest.raises(RunError, match="no run 'knwn-1'; did you mean 'known-1'") as error:
        sync(runs, ["knwn-1", "known-1", "zzz"])
    assert len(error.value.faults) == 2


def test_a_damaged_journal_is_one_row_and_the_others_go_on(tmp_path, store):
    write_run(tmp_path, "a-1")
    write_run(tmp_path, "b-1")
    lines = (tmp_path / "a-1" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    lines[3] = b"?\n"
    (tmp_path / "a-1" / "journal.jsonl").write_bytes(b"".join(lines))
    bad, good = sync(tmp_path, uri=store.uri)
    assert "is damaged" in bad.problem
    assert good.problem is None


def test_a_replaced_shorter_journal_is_sent_from_the_start(runs, store):
    folder = write_run(runs, "short-1")
    sync(runs, ["short-1"])
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "journal.jsonl").write_bytes(b"".join(lines[:-3]))
    held = contents(store, "short-1")
    (sent,) = sync(runs, ["short-1"])
    assert sent.records == len(lines) - 3
    assert contents(store, "short-1")["points"] == held["points"]
    assert Progress(folder, store).offset == durable_offset(folder / "journal.jsonl")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, "sqlite:///{runs}/mlflow.db"),
        ("sqlite:////data/x.db", "sqlite:////data/x.db"),
        ("sqlite:///x.db", "sqlite:///{cwd}/x.db"),
        ("http://tracker.example:5000/", "http://tracker.example:5000"),
        ("postgresql+psycopg2://u@h/db", "postgresql+psycopg2://u@h/db"),
    ],
)
def test_addresses_become_absolute(tmp_path, monkeypatch, given, kept):
    monkeypatch.chdir(tmp_path)
    assert store_uri(tmp_path / "r", given) == kept.format(runs=tmp_path / "r", cwd=tmp_path)


@pytest.mark.parametrize("given", ["./mlruns", "file:///mlruns", "ftp://x", "", "databricks"])
def test_other_addresses_are_refused(tmp_path, given):
    with pytest.raises(UserError, match=r"tracking\.uri: no such kind of store"):
        store_uri(tmp_path, given)


def test_passwords_stay_out_of_the_files(tmp_path):
    store = Store("http://me:secret@tracker.example:5000", tmp_path)
    assert store.shown_uri == "http://tracker.example:5000"
    assert Progress(tmp_path, store).store == "http://tracker.example:5000"


def test_the_mirror_thread_does_not_keep_the_process_alive(runs):
    code = WRITER.split("    for step")[0].replace("    mirror = ", "    globals()['m'] = ") + "    pass\n"
    subprocess.run([sys.executable, "-c", code, str(runs), "exit-1", "0"], check=True, timeout=30)
    assert threading.active_count() < 20
