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
from contextlib import suppress
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
        working: list[Connection[Any, Any]] = []  # those of the visitors that compute
        try:
            outcome = _listen(process, door, visitors, working, report)
        except BaseException:
            process.terminate()  # the ranks write a checkpoint
            for one in working:
                one.close()  # nobody waits for an answer
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
    working: list[Connection[Any, Any]],
    report: Report | None,
) -> Outcome | None:
    """Answers the ranks until torchrun has ended; what came of the job, None when a rank was lost.

    What came first holds: a failure that follows a loss follows from it, and a loss that follows a failure, too.
    """
    outcome: Outcome | None = None
    lost = False
    while True:
        ended = process.poll() is not None
        ready = wait([door, *visitors], POLL)
        if ended and not ready:
            return None if lost else outcome
        for one in ready:
            if one is door:
                visitors.append(Connection(door.accept()[0].detach()))
                continue
            assert isinstance(one, Connection)
            try:
                kind, *told = one.recv()
            except (EOFError, OSError):
                if one in working:
                    working.remove(one)
                    lost |= outcome is None or outcome.state != "failed"
                visitors.remove(one)
                one.close()
                continue
            if kind == "begun":
                working.append(one)
            elif kind == "evaluated":
                with suppress(OSError):
                    one.send(report is not None and report(*told))
            elif kind == "interrupted":
                raise Interrupted(told[0])
            else:
                working.remove(one)
                if not lost and told[0] is not None and (outcome is None or outcome.state != "failed"):
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
        desk.send(("begun",))

        def report(ordinal: int, metrics: Mapping[str, float]) -> bool:
            try:
                desk.send(("evaluated", ordinal, dict(metrics)))
                return bool(desk.recv())
            except (EOFError, OSError):
                raise Interrupted("interrupted; the same command goes on") from None

        try:
            outcome = once(job, runs, report if first else None)
        except (Interrupted, KeyboardInterrupt) as error:
            with suppress(OSError):
                desk.send(("interrupted", str(error)) if first else ("ended", None))
            return 0
        desk.send(("ended", outcome if first or outcome.state == "failed" else None))
        return int(outcome.state == "failed")  # torchrun then ends the ranks that still wait for this one


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as the command line does in a rank: see reid_lab.cli.main
