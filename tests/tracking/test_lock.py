"""Locks: a second holder is told who has it, a dead holder has nothing."""

import os
import signal
import subprocess
import sys

import pytest

from reid_lab.errors import RunError
from reid_lab.tracking.lock import FileLock, RunLock, in_use

HOLD = """
import os, sys, time
from pathlib import Path
from reid_lab.tracking.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
if "fork" in sys.argv and os.fork() == 0:
    time.sleep(30)
print("held", flush=True)
time.sleep(30)
"""


def test_a_second_holder_is_told_the_pid(tmp_path):
    with RunLock(tmp_path / "run"):
        assert in_use(tmp_path / "run")
        with pytest.raises(RunError, match=f"in use by process {os.getpid()} on "):
            RunLock(tmp_path / "run")
    assert not in_use(tmp_path / "run")
    RunLock(tmp_path / "run").release()


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_the_lock_vanishes_with_its_process(tmp_path, how):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), how], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"process {holder.pid} on "):
            RunLock(tmp_path)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        RunLock(tmp_path).release()
    finally:
        os.killpg(holder.pid, signal.SIGKILL) if how == "fork" else None
        holder.stdout.close()


def test_an_unreadable_holder_is_another_process(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with lock:
        (tmp_path / "lock").write_text("?")
        assert FileLock(tmp_path / "lock").holder() == "another process"


def test_looking_creates_nothing(tmp_path):
    assert not in_use(tmp_path)
    assert list(tmp_path.iterdir()) == []
