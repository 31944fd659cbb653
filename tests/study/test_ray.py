"""Studies on Ray: nothing is left behind, whatever ends them. That results are equal is the drill's (tests/drills)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from reid_lab.study.book import Book
from tests.drills.kills import wait_for
from tests.drills.studies import TOKEN
from tests.drills.test_kill_drill import survivors
from tests.lab import ROOT, records

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

LONG = """\
base: tiny.yaml
seeds: [0]
tune:
  trials: 2
  fidelity: {train.length: {steps: 1000000}, eval.every: {steps: 500000}, checkpoint.every: {steps: 5}}
  search: [train.optimizer.lr]
"""


@pytest.fixture
def begun(lab):
    """Begins a study in a process of its own."""

    def call(text: str, *options: str) -> subprocess.Popen[str]:
        (lab.folder / "long.yaml").write_text(text)
        line = ["study", str(lab.folder / "long.yaml"), *options, "--runs", str(lab.runs)]
        return subprocess.Popen(
            [sys.executable, "-m", "reid_lab", *line],
            cwd=lab.folder,
            env={**lab.environment, "PYTHONPATH": str(ROOT), TOKEN: str(lab.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    yield call
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN) == str(lab.folder):
                process.kill()
        except psutil.Error:
            continue


def training(lab):
    """Both trials have written a checkpoint."""
    return len(list(lab.runs.glob("*/checkpoints/last.safetensors"))) == 2 if lab.runs.exists() else False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_driver(lab, begun, number):
    driver = begun(LONG, "--workers", "2")
    assert wait_for(lambda: training(lab) or driver.poll() is not None, 240)
    assert driver.poll() is None, driver.communicate()
    driver.send_signal(number)
    _, err = driver.communicate(timeout=120)
    assert wait_for(lambda: not survivors(lab.folder), 30), survivors(lab.folder)
    if number == signal.SIGKILL:
        assert driver.returncode == -signal.SIGKILL
        return
    assert driver.returncode == 130
    (line,) = [line for line in err.splitlines() if line.startswith("reid-lab: ")]
    assert "interrupted" in line
    assert "Traceback" not in err
    for folder in lab.folders():
        assert records(folder, "stop")[-1].value["status"] == "interrupted"
    assert Book.of(lab.runs, "long").read()["arms"][0]["trials"]["failed"] == 0


def test_a_worker_that_is_lost_again_and_again_fails_its_trial(lab, begun):
    driver = begun(LONG, "--workers", "2")
    assert wait_for(lambda: training(lab) or driver.poll() is not None, 240)
    victims: list[int] = []

    def of_first_trial():
        folders = [f for f in lab.folders()[:1] if len(records(f, "start")) > len(victims)]
        found = [json.loads((f.path / "lock").read_text())["pid"] for f in folders]
        return [pid for pid in found if pid not in victims and psutil.pid_exists(pid)]

    for _ in range(4):
        assert wait_for(of_first_trial, 120)
        (pid,) = of_first_trial()
        victims.append(pid)
        os.kill(pid, signal.SIGKILL)
    failed = lambda: Book.of(lab.runs, "long").read()["arms"][0]["trials"]["failed"]  # noqa: E731
    assert wait_for(lambda: failed() == 1, 60)
    assert len(records(lab.folders()[0], "start")) == 4
    driver.send_signal(signal.SIGINT)
    assert driver.wait(120) == 130


def test_a_trial_of_two_ranks(lab, begun):
    short = LONG.replace("1000000", "6").replace("500000", "2")
    driver = begun(short.replace("trials: 2", "trials: 1"), "--workers", "2", "--ranks", "2")
    _, err = driver.communicate(timeout=500)
    assert driver.returncode == 0, err
    (trial, cell) = sorted(lab.folders(), key=lambda folder: folder.finished("test"))
    for folder in (trial, cell):
        assert [r.value for r in records(folder, "param") if r.name == "world_size"] == [2]
    assert wait_for(lambda: not survivors(lab.folder), 30), survivors(lab.folder)
