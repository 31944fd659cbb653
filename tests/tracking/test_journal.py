"""The journal: exact values, the compare rule, torn tails, kill -9, full disk."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from reid_lab.errors import RunError
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.records import Record, durable_offset, read, sha256


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run-1" / "journal.jsonl"


def fill(journal, steps):
    for step in steps:
        journal.record("loss", "sdm", step, 1 / (step + 3))
        journal.record("lr", "all", step, 1e-5 * step)


def test_values_come_back_exactly(path):
    values = [0.1 + 0.2, -0.0, 5e-324, math.inf, -math.inf, 3, True, None, "nan", [1.5, {"a": math.inf}], {"é": "x\ny"}]
    with Journal(path, strict=True) as journal:
        for step, value in enumerate(values):
            journal.record("final", "x", step, value)
        journal.record("final", "nan", 0, math.nan)
    with Journal(path, strict=True) as journal:
        *back, nan = [r.value for r in journal.records()]
        assert [(type(v), v) for v in back] == [(type(v), v) for v in values]
        assert math.copysign(1, back[1]) == -1
        assert math.isnan(nan)
        for step, value in enumerate(values):
            journal.record("final", "x", step, value)
        journal.record("final", "nan", 0, math.nan)
        assert len(list(journal.records())) == len(values) + 1


def test_array_scalars_are_numbers(path):
    with Journal(path, strict=True) as journal:
        journal.record("loss", "a", 0, torch.tensor(0.1))
        journal.record("loss", "b", np.int64(0), np.float32(0.1))
        with pytest.raises(TypeError, match="plain values, not set"):
            journal.record("loss", "c", 0, {1})
        assert [(r.step, r.value) for r in journal.records()] == [(0, 0.10000000149011612)] * 2


def test_time_is_fixed_when_recorded(path):
    with Journal(path, strict=True) as journal:
        before = time.time_ns() // 1_000_000
        journal.record("loss", "a", 0, 1.0)
        after = time.time_ns() // 1_000_000
        time.sleep(0.02)
        journal.flush()
        (record,) = journal.records()
    assert isinstance(record.time, int)
    assert before <= record.time <= after


def test_unknown_kind_names_the_nearest(path):
    with Journal(path, strict=True) as journal, pytest.raises(ValueError, match="did you mean 'loss'"):
        journal.record("los", "a", 0, 1.0)


def test_redone_steps_are_not_written_again(path):
    with Journal(path, strict=True) as journal:
        fill(journal, range(10))
        fill(journal, range(5, 10))  # held but not yet written
    size = path.stat().st_size
    with Journal(path, strict=True) as journal:
        fill(journal, range(4, 12))
        assert [r.step for r in journal.records() if r.kind == "loss"] == list(range(12))
    assert path.stat().st_size > size


@pytest.mark.parametrize("written", [True, False])
def test_a_changed_result_is_an_error_when_strict(path, written):
    with Journal(path, strict=True) as journal:
        fill(journal, range(3))
        if written:
            journal.flush()
        with pytest.raises(RunError) as error:
            journal.record("loss", "sdm", 2, 0.25)
        assert "loss 'sdm' at step 2 was 0.2 and is now 0.25" in str(error.value)
        assert journal.get("loss", "sdm", 2) == 0.2


@pytest.mark.parametrize(("old", "new"), [(0.0, -0.0), (1, 1.0), (1, True), ("nan", math.nan)])
def test_comparison_is_bit_for_bit(path, old, new):
    with Journal(path, strict=True) as journal:
        journal.record("final", "x", 0, old)
        with pytest.raises(RunError):
            journal.record("final", "x", 0, new)


def test_a_changed_result_leaves_one_note_when_not_strict(path):
    for _ in range(2):
        with Journal(path, strict=False) as journal:
            fill(journal, range(3))
            journal.record("loss", "sdm", 2, 0.25)
            journal.record("loss", "sdm", 1, 0.5)
            notes = [r for r in journal.records() if r.kind == "note"]
            assert [n.value for n in notes] == [{"kind": "loss", "name": "sdm", "step": 2, "old": "0.2", "new": "0.25"}]
            assert journal.get("loss", "sdm", 2) == 0.2


def test_measurements_keep_the_first_and_events_append(path):
    with Journal(path, strict=True) as journal:
        for value in (1.0, 2.0):
            journal.record("timing", "images_per_second", 3, value)
            journal.record("note", "hint", 0, value)
        assert [(r.kind, r.value) for r in journal.records()] == [("timing", 1.0), ("note", 1.0), ("note", 2.0)]


def test_result_records_know_no_times_events_or_order(path, tmp_path):
    with Journal(path, strict=True) as a, Journal(tmp_path / "other" / "journal.jsonl", strict=True) as b:
        a.start(run_id="r-1", experiment="e", run_name="n")
        fill(a, range(4))
        a.stop("finished")
        fill(b, [3, 2, 1, 0])
        b.record("system", "cpu_percent", 1, 50.0)
        assert a.result_records() == b.result_records()
        assert a.result_records()[0] == '["loss","sdm",0,0.3333333333333333]'
        b.record("loss", "itc", 0, 1.0)
        assert a.result_records() != b.result_records()


@pytest.mark.parametrize("tail", [b'{"kind":"loss","na', b"\0\0\0", b"garbage\n", b'{"kind":"loss"}\n', b"[1,2]\n"])
def test_a_torn_tail_is_cut_off(path, tail):
    with Journal(path, strict=True) as journal:
        fill(journal, range(3))
        whole = list(journal.records())
    good = path.read_bytes()
    path.write_bytes(good + tail)
    with Journal(path, strict=True) as journal:
        assert list(journal.records()) == whole
        assert path.read_bytes() == good
        fill(journal, range(5))
        assert len(list(journal.records())) == 10


def test_every_torn_prefix_opens(path):
    with Journal(path, strict=True) as journal:
        fill(journal, range(3))
        lines = [json.dumps(r) for r in journal.records()]
    data = path.read_bytes()
    for end in range(len(data) + 1):
        path.write_bytes(data[:end])
        with Journal(path, strict=True) as journal:
            assert [json.dumps(r) for r in journal.records()] == lines[: data[:end].count(b"\n")]


def test_damage_in_the_middle_names_the_line(path):
    with Journal(path, strict=True) as journal:
        fill(journal, range(3))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"???\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(RunError, match=r"journal\.jsonl:3: damaged record"):
        Journal(path, strict=True)
    assert path.read_bytes() == b"".join(lines)
    with pytest.raises(RunError, match="damaged"):
        list(read(path))


def test_only_flushed_bytes_are_durable(path):
    with Journal(path, strict=True) as journal:
        fill(journal, range(3))
        assert journal.durable_offset == durable_offset(path) == 0
        journal.flush()
        first = path.stat().st_size
        assert journal.durable_offset == durable_offset(path) == first
        fill(journal, range(3, 6))
        list(journal.records())  # written, not synced
        assert path.stat().st_size > first == durable_offset(path)
    assert durable_offset(path) == path.stat().st_size


def test_reading_resumes_at_an_offset(path):
    with Journal(path, strict=True) as journal:
        fill(journal, range(3))
        offsets = [offset for _, offset in read_all(journal)]
    assert offsets[-1] == path.stat().st_size
    assert [r.step for r, _ in read(path, start=offsets[1])] == [1, 1, 2, 2]
    assert [r.step for r, _ in read(path, stop=offsets[1])] == [0, 0]


def read_all(journal):
    journal.flush()
    return list(read(journal.path))


def test_a_full_disk_is_an_error_and_loses_nothing(path, monkeypatch):
    with Journal(path, strict=True) as journal:
        fill(journal, range(2))
        journal.flush()
        fill(journal, range(2, 4))
        disk = journal._file

        class Full:
            def write(self, data):
                if len(data) < 40:
                    raise OSError(28, "No space left on device")
                return disk.write(data[:-30])

            def __getattr__(self, name):
                return getattr(disk, name)

        monkeypatch.setattr(journal, "_file", Full())
        with pytest.raises(RunError, match="cannot write: No space left on device"):
            journal.flush()
        assert [r.step for r, _ in read(path)] == [0, 0, 1, 1]
        monkeypatch.setattr(journal, "_file", disk)
        journal.flush()
        assert [r.step for r, _ in read(path)] == [0, 0, 1, 1, 2, 2, 3, 3]


WRITER = """
import sys
from pathlib import Path
from reid_lab.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]), strict=True)
for step in range(10**9):
    journal.record("loss", "sdm", step, 1 / (step + 3))
    journal.record("timing", "seconds", step, 0.1)
    if step % 7 == 0:
        journal.flush()
        print(step, flush=True)
"""


def test_kill_9_loses_nothing_that_was_flushed(path):
    for extra in (0, 40, 500):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        flushed = int(writer.stdout.readline())
        for _ in range(extra):
            flushed = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        with Journal(path, strict=True) as journal:
            steps = [r.step for r in journal.records() if r.kind == "loss"]
            assert steps == list(range(len(steps)))
            assert len(steps) > flushed
            fill_same = [(s, 1 / (s + 3)) for s in steps[-20:]]
            for step, value in fill_same:
                journal.record("loss", "sdm", step, value)


def test_start_stop_and_artifact_events(path):
    with Journal(path, strict=True) as journal:
        journal.start(run_id="abc-1", experiment="irra", run_name="irra s0", tags={"git": "c0ffee"}, description="*hi*")
        (path.parent / "spec.yaml").write_text("name: irra\n")
        journal.artifact("spec.yaml", path.parent / "spec.yaml")
        with pytest.raises(ValueError, match="not in the subpath"):
            journal.artifact("x", path.parent.parent / "x")
        journal.stop("failed", "loss sdm is NaN", step=7)
        start, artifact, stop = journal.records()
    assert start.value["run_id"] == "abc-1"
    assert start.value["tags"] == {"git": "c0ffee"}
    assert start.value["pid"] == os.getpid()
    digest = sha256(path.parent / "spec.yaml")
    assert artifact == Record("artifact", "spec.yaml", 0, {"path": "spec.yaml", "sha256": digest}, artifact.time)
    assert (stop.step, stop.value) == (7, {"status": "failed", "reason": "loss sdm is NaN"})


def test_closing_twice_is_fine(path):
    journal = Journal(path, strict=True)
    journal.close()
    journal.close()


def test_the_journal_does_not_import_mlflow():
    code = "import sys, reid_lab.tracking.journal, reid_lab.tracking.mlflow_store; print('mlflow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_a_long_journal_opens_in_reasonable_time(path):
    path.parent.mkdir()
    line = '{"kind":"loss","name":"sdm","step":%d,"time":1795230000000,"value":0.12345678901234567}\n'
    path.write_text("".join(line % step for step in range(100_000)))
    began = time.process_time()
    with Journal(path, strict=True) as journal:
        assert time.process_time() - began < 5
        journal.record("loss", "sdm", 99_999, 0.12345678901234567)
        assert journal.get("loss", "sdm", 50_000) == 0.12345678901234567
