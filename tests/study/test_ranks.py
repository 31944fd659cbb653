"""Jobs of two ranks: one outcome, evaluations told by rank 0, and nothing left when a process is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import psutil
import pytest

from reid_lab.catalogue import load_spec
from reid_lab.experiment import Member
from reid_lab.study.jobs import Job, perform
from reid_lab.study.ranks import under_torchrun
from tests.lab import losses, results

SETS = ("train.length={steps: 6}", "eval.every={steps: 2}", "checkpoint.every={steps: 1}")


def job_of(lab, *sets, seed=0):
    loaded = load_spec(lab.file, (*SETS, *sets), seed=seed)
    return Job("full", seed, loaded, Member("a", "full", "a/full", 0), lab.folder / "logs" / "job", 0)


def ranks_of(folder):
    """The ranks that compute in a folder; torchrun itself is not one."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if "reid_lab.study.ranks" in line and "torch.distributed.run" not in line and process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_rank_0_reports_and_is_pruned(lab):
    told = []

    def report(ordinal, metrics):
        told.append((ordinal, metrics["mAP"]))
        return ordinal == 2

    outcome = perform(job_of(lab), lab.runs, report, under_torchrun(2))
    assert (outcome.state, outcome.run_id) == ("pruned", lab.only.run_id), outcome
    assert [ordinal for ordinal, _ in told] == [1, 2]
    assert lab.only.finished("pruned")
    assert max(step for _, step in losses(lab.only)) == 4
    assert any('"world_size",0,2' in line for line in results(lab.only))
    assert ranks_of(lab.folder) == []


def test_a_failure_is_told_once(lab):
    broken = job_of(lab)
    lab.clip.rename(lab.folder / "gone")
    try:
        outcome = perform(broken, lab.runs, None, under_torchrun(2))
    finally:
        (lab.folder / "gone").rename(lab.clip)
    assert outcome.state == "failed"
    assert "clip" in outcome.cause
    assert not lab.runs.exists()


@pytest.mark.slow
def test_a_lost_rank_is_started_again(lab):
    assert perform(job_of(lab), lab.runs, None, under_torchrun(2)).state == "complete"
    undisturbed = results(lab.only)
    lab.runs = lab.folder / "again"
    killed = []

    def report(ordinal, metrics):
        if len(killed) < 2:
            victim = ranks_of(lab.folder)[-len(killed) - 1]
            victim.kill()
            killed.append(ordinal)
            victim.wait(10)
        return False

    assert perform(job_of(lab), lab.runs, report, under_torchrun(2)).state == "complete"
    assert len(killed) == 2
    assert results(lab.only) == undisturbed


def _asker(lab):
    os.chdir(lab.folder)
    perform(job_of(lab, "train.length={steps: 100000}"), lab.runs, None, under_torchrun(2))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_ranks_end_with_who_asked_for_them(lab, number):
    asker = multiprocessing.get_context("spawn").Process(target=_asker, args=(lab,))
    asker.start()
    end = time.monotonic() + 120
    while not (lab.runs.exists() and lab.folders() and (lab.only.checkpoints / "last.safetensors").exists()):
        assert time.monotonic() < end
        time.sleep(0.1)
    os.kill(asker.pid, number)
    asker.join(60)
    end = time.monotonic() + 30
    while ranks_of(lab.folder):
        assert time.monotonic() < end
        time.sleep(0.1)
    if number == signal.SIGINT:
        assert "interrupted" in lab.only.journal.read_text().splitlines()[-1]
