"""An interrupted run ends with the bits of an undisturbed one."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from reid_lab.engine import checkpoint
from reid_lab.errors import CheckpointError, Interrupted, RunError
from tests.engine.toys import DiskRecorder, ToyStream, prepare, train

STEPS = 12


class Crash(BaseException):
    """Stands for the death of the process: nothing catches it."""


class CrashingStream(ToyStream):
    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def batch(self, step, rank=0, world=1):
        if step == self.at:
            raise Crash
        return super().batch(step, rank, world)


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    """Whether the disk keeps its promises cannot be seen without pulling the plug; waiting for it is slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def run(folder: Path, kind: str, **changes):
    """One process's share: what was recorded but not flushed is lost with it."""
    recorder = DiskRecorder(folder / "records.jsonl")
    options = {"dropout": 0.3}
    return train(folder / "checkpoints", kind, steps=STEPS, recorder=recorder, options=options, **changes)


def outcome(folder: Path):
    """Everything that counts: records from disk, and both files, byte for byte."""
    files = [(folder / "checkpoints" / name).read_bytes() for name in (checkpoint.LAST, checkpoint.BEST)]
    return DiskRecorder(folder / "records.jsonl").results(), files


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The outcome by (architecture, micro-batches), each trained once."""
    held = {}

    def of(kind: str, accumulate: int):
        if (kind, accumulate) not in held:
            folder = tmp_path_factory.mktemp("undisturbed")
            run(folder, kind, accumulate=accumulate)
            held[kind, accumulate] = outcome(folder)
        return held[kind, accumulate]

    return of


@pytest.mark.parametrize(("kind", "accumulate"), [("contrastive", 1), ("normalised", 2)])
def test_a_crash_at_any_step_changes_nothing(tmp_path, undisturbed, kind, accumulate):
    for at in range(STEPS):
        folder = tmp_path / str(at)
        folder.mkdir()
        with pytest.raises(Crash):
            run(folder, kind, accumulate=accumulate, stream=CrashingStream(at))
        run(folder, kind, accumulate=accumulate)
        assert outcome(folder) == undisturbed(kind, accumulate), f"crash at step {at}"


@pytest.mark.parametrize("moment", ["before last", "written, not in place", "between last and best", "after best"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_crash_while_writing_changes_nothing(tmp_path, undisturbed, monkeypatch, moment, call):
    save, replace, calls = checkpoint.save, os.replace, []

    def dying_save(path, *arguments, **settings):
        if path.name == checkpoint.LAST:
            calls.append(path)
        mine = len(calls) == call
        if mine and moment == "before last" and path.name == checkpoint.LAST:
            raise Crash
        if mine and moment == "between last and best" and path.name == checkpoint.BEST:
            raise Crash
        save(path, *arguments, **settings)
        if mine and moment == "after best" and path.name == checkpoint.BEST:
            raise Crash

    def dying_replace(source, target):
        if len(calls) == call and moment == "written, not in place" and Path(target).name == checkpoint.LAST:
            os.link(source, str(source) + ".kept")
            raise Crash
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", dying_save)
        patch.setattr(checkpoint.os, "replace", dying_replace)
        try:
            run(tmp_path, "contrastive")
        except Crash:
            for kept in (tmp_path / "checkpoints").glob("*.kept"):
                kept.rename(kept.with_suffix(""))  # a killed process does not clean up
    run(tmp_path, "contrastive")
    assert outcome(tmp_path) == undisturbed("contrastive", 1)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {
        checkpoint.LAST,
        checkpoint.PREVIOUS,
        checkpoint.BEST,
    }


def test_a_finished_run_is_returned_without_training(tmp_path):
    _, first, _ = run(tmp_path, "contrastive")
    before = outcome(tmp_path)
    _, again, _ = run(tmp_path, "contrastive", stream=CrashingStream(0), evaluate=lambda: pytest.fail("evaluated"))
    assert (again.best_step, again.weights_sha256) == (first.best_step, first.weights_sha256)
    assert outcome(tmp_path) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_writes_a_checkpoint(tmp_path, undisturbed, number):
    def signalling(batch):
        if not done:
            done.append(1)
        elif len(done) == 1:
            done.append(2)
            os.kill(os.getpid(), number)
        return prepare(batch)

    done: list[int] = []
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="after step 2 of 12") as caught:
        run(tmp_path, "contrastive", prepare=signalling)
    assert caught.value.exit_code == 130
    assert signal.getsignal(number) is before
    assert checkpoint.load(tmp_path / "checkpoints" / checkpoint.LAST).facts["step"] == 2
    run(tmp_path, "contrastive")
    assert outcome(tmp_path) == undisturbed("contrastive", 1)


def test_another_plan_is_refused(tmp_path):
    run(tmp_path, "contrastive")
    with pytest.raises(CheckpointError, match=r"planned as \[\['main', 12\]\].*this one as \[\['main', 20\]\]"):
        train(tmp_path / "checkpoints", "contrastive", steps=20)


def test_lost_selected_weights_are_noticed_before_training(tmp_path):
    with pytest.raises(Crash):
        run(tmp_path, "contrastive", stream=CrashingStream(9))
    (tmp_path / "checkpoints" / checkpoint.BEST).unlink()
    with pytest.raises(CheckpointError, match="selected weights are those of step 5, the file is missing"):
        run(tmp_path, "contrastive")


def test_a_full_disk_keeps_the_former_checkpoint(tmp_path, undisturbed, monkeypatch):
    with pytest.raises(Crash):
        run(tmp_path, "contrastive", stream=CrashingStream(6))
    before = checkpoint.load(tmp_path / "checkpoints" / checkpoint.LAST).facts["step"]
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
        with pytest.raises(RunError, match=r"no space for a checkpoint: \d+\.\d MB are needed, 0\.0 MB are free"):
            run(tmp_path, "contrastive")
    assert checkpoint.load(tmp_path / "checkpoints" / checkpoint.LAST).facts["step"] == before == 5
    run(tmp_path, "contrastive")
    assert outcome(tmp_path) == undisturbed("contrastive", 1)


def _train_slowly(folder: Path) -> None:
    def slow(batch):
        time.sleep(0.05)
        return prepare(batch)

    run(folder, "contrastive", accumulate=2, checkpoint_every=1, prepare=slow)


def test_kill_minus_nine(tmp_path):
    """A process killed at random moments after it got further than the one before, and started again."""
    (tmp_path / "whole").mkdir()
    run(tmp_path / "whole", "contrastive", accumulate=2, checkpoint_every=1)
    records = tmp_path / "records.jsonl"
    records.touch()
    draw = random.Random(5)
    killed = 0
    for _ in range(5):
        size = records.stat().st_size
        process = multiprocessing.get_context("fork").Process(target=_train_slowly, args=(tmp_path,))
        process.start()
        while process.is_alive() and records.stat().st_size <= size:
            time.sleep(0.002)
        process.join(draw.uniform(0, 0.15))
        killed += process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
    run(tmp_path, "contrastive", accumulate=2, checkpoint_every=1)
    assert killed >= 2
    assert outcome(tmp_path) == outcome(tmp_path / "whole")
