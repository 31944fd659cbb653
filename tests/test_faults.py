"""What goes wrong during a run: one clear line, nothing lost, and the same command goes on."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reid_lab import console, experiment, measuring
from reid_lab.data.loader import TrainStream
from reid_lab.engine import checkpoint
from reid_lab.engine.checkpoint import BEST, LAST
from reid_lab.errors import RunError
from tests.lab import ROOT, Lab, records, results, status, write_clip

SETS = ("checkpoint.every.steps=2",)
HOLD = """
import sys
from pathlib import Path
from reid_lab.tracking.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, world_cache):
    """The results and the weights of the run that nothing disturbs, and the trunk that it began from."""
    folder = tmp_path_factory.mktemp("undisturbed")
    lab = Lab(folder, write_clip(folder / "clip"), world_cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REID_LAB_CACHE", str(world_cache))
        assert lab.run(*SETS).code == 0
    return lab


@pytest.fixture
def same(lab, undisturbed):
    """A laboratory whose run is the undisturbed one's: the same trunk in the same place."""
    return Lab(lab.folder, undisturbed.clip, lab.cache)


def assert_undisturbed(lab, undisturbed):
    """The run goes on by the same command and ends as if nothing had happened."""
    done = lab.run(*SETS)
    assert done.code == 0, done.err
    assert lab.only.run_id == undisturbed.only.run_id
    assert results(lab.only) == results(undisturbed.only)
    assert lab.only.summary()["test"] == undisturbed.only.summary()["test"]
    assert status(lab.only) == ("finished", "")


def at_step(monkeypatch, step: int, happens) -> None:
    """Calls `happens` once, when the batch after `step` done steps is fetched."""
    fetch, todo = TrainStream.batch, [happens]

    def batch(self, at, *ranks):
        if at == step and todo:
            todo.pop()()
        return fetch(self, at, *ranks)

    monkeypatch.setattr(TrainStream, "batch", batch)


def interrupt(lab, monkeypatch, step: int = 4) -> None:
    """Leaves the run after `step + 1` steps."""
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert lab.run(*SETS).code == 130


def damage(path: Path) -> None:
    """Flips one bit of the last tensor; the header stays whole."""
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def test_ctrl_c_writes_a_checkpoint_and_exits_130(same, undisturbed, monkeypatch):
    at_step(monkeypatch, 4, lambda: os.kill(os.getpid(), signal.SIGINT))
    done = same.run(*SETS)
    assert done.code == 130
    assert len(done.complaints) == 1
    assert "interrupted after step 5 of 6" in done.complaints[0]
    assert "the same command resumes" in done.complaints[0]
    assert status(same.only)[0] == "interrupted"
    assert checkpoint.load(same.only.checkpoints / LAST).facts["step"] == 5
    assert_undisturbed(same, undisturbed)


def test_another_interval_of_checkpoints_goes_on_with_the_same_run(same, undisturbed, monkeypatch):
    interrupt(same, monkeypatch)
    done = same.run("checkpoint.every.steps=1")
    assert done.code == 0, done.err
    assert same.only.run_id == undisturbed.only.run_id
    assert same.only.summary()["weights_sha256"] == undisturbed.only.summary()["weights_sha256"]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("tracking.uri=ftp://there", "tracking.uri: no such kind of store 'ftp://there'"),
        ("model.backbone=nobody/nothing", "backbone 'nobody/nothing' is neither a folder nor complete"),
        ("train.init_from=abc", "no run 'abc'"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_what_a_spec_names_is_looked_for_before_anything_is_drawn(lab, tmp_path, monkeypatch, fault, line, options):
    monkeypatch.setenv("REID_LAB_CACHE", str(tmp_path / "cache"))
    done = lab.run(fault, options=options)
    assert done.code == 2
    assert len(done.complaints) == 1
    assert line in done.complaints[0]
    assert not lab.runs.exists()
    assert not (tmp_path / "cache").exists()


def test_a_run_that_was_killed_before_its_spec_was_written_is_listed(lab):
    (lab.runs / "0123456789ab-1").mkdir(parents=True)
    (lab.runs / "0123456789ab-1" / "journal.jsonl").touch()
    listed = lab.call("list", "runs", "--runs", str(lab.runs))
    assert listed.code == 0
    assert listed.out[1].split() == ["0123456789ab-1", "unfinished"]
    assert lab.call("evaluate", "0123", "--runs", str(lab.runs)).complaints == [
        "reid-lab: 0123456789ab-1 is not finished; the command that began it goes on with it"
    ]


def test_the_progress_bar_is_taken_away_after_an_error(lab, monkeypatch):
    closed = []
    monkeypatch.setattr(console.Lines, "close", lambda self: closed.append(True))
    monkeypatch.setattr(TrainStream, "batch", lambda *_: (_ for _ in ()).throw(RunError("no batch")))
    assert lab.run().code == 2
    assert closed == [True]


def test_ctrl_c_outside_of_training(same, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "_test", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        assert same.run(*SETS).code == 130
    assert status(same.only)[0] == "interrupted"
    assert same.only.summary()["stages"] == ["fit"]
    assert_undisturbed(same, undisturbed)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB, where root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.name != "posix" or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here; the next test has the system's error instead")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("left", [200_000, 0])
def test_a_full_disk(small_disk, same, undisturbed, monkeypatch, left):
    same.runs = small_disk / "runs"
    ballast = small_disk / "ballast"

    def fill():
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(b"\1" * (free - left))

    at_step(monkeypatch, 3, fill)
    done = same.run(*SETS)
    assert done.code == 2
    assert not any("Traceback" in line for line in done.err)
    assert done.complaints
    assert "no space" in done.complaints[0].lower()
    assert str(same.only.path) in done.complaints[0]
    assert checkpoint.load(same.only.checkpoints / LAST).facts["step"] == 3
    ballast.unlink()
    assert_undisturbed(same, undisturbed)


@pytest.mark.parametrize("write", [2, 3, 4])
def test_the_system_says_that_the_disk_is_full(same, undisturbed, monkeypatch, write):
    """ENOSPC in the middle of writing a checkpoint's file."""
    whole, calls = checkpoint._write, []

    def full(path, tensors, metadata):
        calls.append(path)
        if len(calls) == write:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return whole(path, tensors, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write", full)
        done = same.run(*SETS)
    assert done.code == 2
    assert len(done.complaints) == 1
    assert "No space left on device" in done.complaints[0]
    assert "the former one is intact" in done.complaints[0]
    assert status(same.only)[0] == "failed"
    assert not list(same.only.checkpoints.glob("*.tmp"))
    checkpoint.load(same.only.checkpoints / LAST)
    assert_undisturbed(same, undisturbed)


def test_a_damaged_last_checkpoint(same, undisturbed, monkeypatch):
    interrupt(same, monkeypatch)
    last = same.only.checkpoints / LAST
    good = last.read_bytes()
    damage(last)
    done = same.run(*SETS)
    assert done.code == 2
    assert len(done.complaints) == 1
    assert str(last) in done.complaints[0]
    assert "tensor '" in done.complaints[0]
    assert "last.prev.safetensors (step 4) is intact: copy it to last.safetensors" in done.complaints[0]
    assert status(same.only)[0] == "failed"
    assert last.read_bytes() != good
    shutil.copy(last.with_name(checkpoint.PREVIOUS), last)
    assert_undisturbed(same, undisturbed)


def test_a_damaged_best_checkpoint(same, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "_test", lambda *_: (_ for _ in ()).throw(RunError("stopped before the test")))
        assert same.run(*SETS).code == 2
    best = same.only.checkpoints / BEST
    good = best.read_bytes()
    damage(best)
    done = same.run(*SETS)
    assert done.code == 2
    assert len(done.complaints) == 1
    assert str(best) in done.complaints[0]
    assert "tensor '" in done.complaints[0]
    assert same.only.summary()["stages"] == ["fit"]
    assert not records(same.only, "test")
    best.write_bytes(good)
    assert_undisturbed(same, undisturbed)
    damage(best)
    looked = same.evaluate(same.only)
    assert looked.code == 2
    assert str(best) in looked.complaints[0]


def test_an_unreadable_image(lab):
    """Its header is whole and its size is unchanged, so that it is found when training reads it."""
    folder = lab.written("png")
    image = sorted(folder.rglob("00003_*.png"))[0]
    good = image.read_bytes()
    image.write_bytes(good[:60] + bytes(len(good) - 60))
    data = f"data={{name: cuhk_pedes, root: {folder}}}"
    done = lab.run(data)
    assert done.code == 2
    assert len(done.complaints) == 1
    assert str(image) in done.complaints[0]
    assert "cannot be read" in done.complaints[0]
    assert status(lab.only)[0] == "failed"
    image.write_bytes(good)
    repaired = lab.run(data)
    assert repaired.code == 0, repaired.err
    assert lab.only.attempt == 1
    assert status(lab.only) == ("finished", "")


def test_a_loss_that_is_not_finite(lab):
    """The rate explodes in the fifth step, so that the sixth meets weights that no loss survives."""
    calm, burst = "{start: 1.0, end: 1.0, length: {steps: 4}}", "{start: 1.0e+30, end: 1.0e+30, length: {steps: 2}}"
    sets = (*SETS, f"train.schedule={{kind: chain, segments: [{calm}, {burst}]}}")
    done = lab.run(*sets)
    assert done.code == 2
    last = lab.only.checkpoints / LAST
    named = {line.split("loss '")[1].split("'")[0] for line in done.complaints}
    assert named
    assert named <= {"sdm", "id", "mlm"}
    for line in done.complaints:
        assert f"is nan at step 6; the last good checkpoint is {last} (step 4)" in line
    assert checkpoint.load(last).facts["step"] == 4
    assert status(lab.only)[0] == "failed"
    assert "is nan at step 6" in status(lab.only)[1]
    assert {record.step for record in records(lab.only, "loss")} == {1, 2, 3, 4, 5}


def test_two_processes_on_one_run(same, undisturbed, monkeypatch):
    interrupt(same, monkeypatch)
    folder = same.only.path
    journal = (folder / "journal.jsonl").read_bytes()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline() == b"held\n"
        for call in (lambda: same.run(*SETS), lambda: same.run(*SETS, options=["--resume"])):
            done = call()
            assert done.code == 2
            assert done.out == []
            (line,) = done.complaints
            assert f"the run is in use by process {other.pid} on " in line
            assert str(folder) in line
        assert (folder / "journal.jsonl").read_bytes() == journal
    finally:
        other.communicate()
    assert_undisturbed(same, undisturbed)


def test_a_runs_folder_that_cannot_be_written(lab):
    lab.runs = lab.folder / "file"
    lab.runs.write_text("here already")
    done = lab.run()
    assert done.code == 2
    (line,) = done.complaints
    assert str(lab.runs) in line
    assert lab.runs.read_text() == "here already"
    lab.runs = lab.runs / "below"
    done = lab.run()
    assert done.code == 2
    (line,) = done.complaints
    assert str(lab.runs) in line


def test_a_runs_folder_that_is_read_only(small_disk, lab):
    lab.runs = small_disk / "runs"
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = lab.run()
    assert done.code == 2
    (line,) = done.complaints
    assert str(lab.runs) in line
    assert "read-only file system" in line.lower()


def test_evaluation_is_measured_on_test_once(lab, monkeypatch):
    """A failure after the look at test does not lead to another value: the records are compared."""
    measure, calls = measuring.measured, []

    def counted(parts, tasks):
        calls.append(tasks)
        return measure(parts, tasks)

    monkeypatch.setattr(measuring, "measured", counted)
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "keep", lambda *_: (_ for _ in ()).throw(RunError("no room")))
        assert lab.run("train.length.epochs=1").code == 2
    held = {record.name: record.value for record in records(lab.only, "test")}
    assert len(calls) == 3  # val before and after the epoch, then test
    assert lab.run("train.length.epochs=1").code == 0
    assert len(calls) == 4
    assert {record.name: record.value for record in records(lab.only, "test")} == held
