"""A job in several processes: torchrun starts a rank for each, rank 0 reports to the process that asked for them.

The ranks find the job in a folder and speak through a socket there. When the process that asked is gone, so are they.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from reid_lab.errors import Interrupted
from reid_lab.study.jobs import Attempt, Job, Outcome, Report, once

LOST = 3
"""So many times ranks that were killed are started again."""
POLL = 0.2  # seconds
GRACE = 60.0  # seconds for a checkpoint after an interruption
JOB, DOOR = "job.pickle", "door"


def under_torchrun(ranks: int) -> Attempt:
    """Attempts a job in so many ranks on this machine."""

    def attempt(job: Job, runs: Path, report: Report | None) -> Outcome:
        for _ in range(LOST + 1):
            code, outcome = _started(ranks, job, runs, report)
            if outcome is not None:
                return outcome
        return Outcome("failed", cause=f"the ranks were lost {LOST + 1} times (torchrun: exit code {code})")

    return attempt


def _started(ranks: int, job: Job, runs: Path, report: Report | None) -> tuple[int, Outcome | None]:
    """Starts the ranks and answers them; torchrun's exit code, and what came of the job unless they were lost."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="reid-lab-") as name,
        socket.socket(socket.AF_UNIX) as door,
        job.log.open("ab") as log,
    ):
        folder = Path(name)
        (folder / JOB).write_bytes(pickle.dumps((job, runs)))
        door.bind(str(folder / DOOR))
        door.listen()
        line = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m", __name__, name]
        # Ctrl-C reaches the ranks through here, once, and not from the terminal as well
        process = subprocess.Popen(
            [sys.executable, "-m", *line], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        visitors: list[Connection[Any, Any]] = []
        try:
            outcome = _listen(process, door, visitors, report)
        except BaseException:
            process.terminate()
            raise
        finally:
            try:
                process.wait(GRACE)
            finally:
                process.kill()
                for visitor in visitors:
                    visitor.close()
        return process.returncode, outcome


def _listen(
    process: subprocess.Popen[bytes],
    door: socket.socket,
    visitors: list[Connection[Any, Any]],
    report: Report | None,
) -> Outcome | None:
    """Answers the ranks until torchrun has ended; the first failure that one told of, or what rank 0 told."""
    outcome: Outcome | None = None
    while True:
        ended = process.poll() is not None
        ready = wait([door, *visitors], POLL)
        if ended and not ready:
            return outcome
        for one in ready:
            if one is door:
                visitors.append(Connection(door.accept()[0].detach()))
                continue
            assert isinstance(one, Connection)
            try:
                kind, *told = one.recv()
            except (EOFError, OSError):
                visitors.remove(one)
                one.close()
                continue
            if kind == "evaluated":
                one.send(report is not None and report(*told))
            elif kind == "interrupted":
                raise Interrupted(told[0])
            elif outcome is None or outcome.state != "failed":
                outcome = told[0]


def _visit(folder: Path) -> Connection[Any, Any]:
    with socket.socket(socket.AF_UNIX) as to:
        to.connect(str(folder / DOOR))
        return Connection(to.detach())


def _end_with(asker: Connection[Any, Any]) -> None:
    """Ends this process when the one that asked for it is gone."""
    try:
        asker.recv()
    except (EOFError, OSError):
        os._exit(1)


def main(folder: Path) -> int:
    """What a rank does; its exit code."""
    first = os.environ.get("RANK", "0") == "0"
    threading.Thread(target=_end_with, args=(_visit(folder),), daemon=True).start()
    job, runs = pickle.loads((folder / JOB).read_bytes())
    with _visit(folder) as desk:

        def report(ordinal: int, metrics: Mapping[str, float]) -> bool:
            desk.send(("evaluated", ordinal, dict(metrics)))
            return bool(desk.recv())

        try:
            outcome = once(job, runs, report if first else None)
        except (Interrupted, KeyboardInterrupt) as error:
            if first:
                desk.send(("interrupted", str(error)))
            return 0
        if first or outcome.state == "failed":
            desk.send(("ended", outcome))
        return int(outcome.state == "failed")  # torchrun then ends the ranks that still wait for this one


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
