"""Where the jobs of a round are computed: here, one after the other, or on Ray (this file is its only door).

An executor computes a list of jobs and tells of each evaluation and each outcome as they come; both are told in
the driver's own thread, so that nothing else ever asks or tells Optuna.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from reid_lab.errors import Interrupted, UserError
from reid_lab.study.desk import Desk
from reid_lab.study.jobs import Attempt, Job, Outcome, once, perform
from reid_lab.study.ranks import under_torchrun

OnEvaluation = Callable[[Job, int, Mapping[str, float]], bool]
OnOutcome = Callable[[Job, Outcome], None]
OnStart = Callable[[Job], None]

RETRIES = 3
"""So many times a job whose worker was lost is begun again."""
GRACE = 60.0  # seconds for the workers' checkpoints after Ctrl-C
PATIENCE = 60.0  # seconds that a worker waits for a run that a lost worker may still hold
TICK = 1.0  # seconds between two looks of the driver at signals
MEMORY = 2**27  # bytes of Ray's object store, through which next to nothing goes


class Executor(ABC):
    """Computes jobs."""

    width: int = 1
    """How many trials of an arm are asked for at a time; results depend on it, and on nothing else said here."""

    @abstractmethod
    def perform(self, jobs: Sequence[Job], *, started: OnStart, evaluated: OnEvaluation, ended: OnOutcome) -> None:
        """Computes all of them; returns when each has ended."""

    def close(self) -> None:
        """Gives back what was taken."""
        return


@final
class Inline(Executor):
    """In this process, one job after the other.

    width: how many trials of an arm are asked for at a time, as though so many workers computed them: the same
    trials as on Ray with that many workers. ranks: processes of each job, under torchrun.
    """

    def __init__(self, runs: Path, width: int = 1, ranks: int = 1) -> None:
        self.runs = runs.absolute()
        self.width = width
        self._attempt = _attempt(ranks)

    def perform(self, jobs: Sequence[Job], *, started: OnStart, evaluated: OnEvaluation, ended: OnOutcome) -> None:
        """See `Executor`."""
        for job in jobs:
            started(job)

            def report(ordinal: int, metrics: Mapping[str, float], job: Job = job) -> bool:
                return evaluated(job, ordinal, metrics)

            ended(job, perform(job, self.runs, report, self._attempt))


@final
class Ray(Executor):
    """On Ray: each job in a fresh process, begun again where a process or its machine was lost.

    Such a job goes on from its checkpoint; Python exceptions are the job's own (`Outcome.cause`), Ray does not see
    them. Workers ask a `Desk` (an actor) whether to go on; the driver answers, so that workers need no database.

    Args:
        runs: the folder of runs; on several machines a shared one.
        workers: jobs at a time.
        width: see `Executor`; by default `workers`.
        gpus: of each job; below 1 a share.
        ranks: processes of each job, under torchrun.
        cluster: `auto` or `HOST:PORT`; None: processes of this machine, which end with this one.

    Raises `UserError` where Ray is not installed, there is no cluster, or it has not what a job needs.
    """

    def __init__(
        self,
        runs: Path,
        *,
        workers: int,
        width: int | None = None,
        gpus: float = 0.0,
        ranks: int = 1,
        cluster: str | None = None,
    ) -> None:
        self.width = width or workers
        self._runs, self._workers, self._gpus, self._ranks = runs.resolve(), workers, gpus, ranks
        if cluster is not None:
            _check_address(cluster)
        self._ray = ray = _imported(local=cluster is None)
        self._former = signal.getsignal(signal.SIGTERM)
        local = {"num_cpus": workers * ranks, "include_dashboard": False, "object_store_memory": MEMORY}
        try:
            ray.init(
                address=cluster or "local",
                log_to_driver=False,
                logging_level="ERROR",
                **({} if cluster else local),
            )
        except (OSError, ValueError, RuntimeError, SystemExit) as error:
            told = " ".join(str(error).split())[:200]
            where = f"--cluster {cluster}: no Ray cluster is reached there" if cluster else "Ray does not start"
            raise UserError(f"{where} ({told})") from None
        if threading.current_thread() is threading.main_thread():  # Ray's own handler aborts
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        for kind, wanted in (("CPU", ranks), ("GPU", gpus)):
            held = ray.cluster_resources().get(kind, 0)
            if wanted > held:
                ray.shutdown()
                raise UserError(f"a job asks for {wanted:g} {kind}s, here are {held:g}")
        self._desk = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Desk).remote()
        self._asked = self._desk.questions.remote()  # one at a time, or they would take each other's questions

    def perform(self, jobs: Sequence[Job], *, started: OnStart, evaluated: OnEvaluation, ended: OnOutcome) -> None:
        """See `Executor`."""
        ray, desk = self._ray, self._desk
        task = ray.remote(num_cpus=self._ranks, num_gpus=self._gpus, max_calls=1, max_retries=RETRIES)(_work)
        by_name, queue = {job.name: job for job in jobs}, list(jobs)
        running: dict[Any, Job] = {}
        try:
            while queue or running:
                while queue and len(running) < self._workers:
                    job = queue.pop(0)
                    running[task.remote(job, self._runs, self._ranks, desk)] = job
                ready, _ = ray.wait([self._asked, *running], num_returns=1, timeout=TICK)
                if self._asked in ready:
                    questions, self._asked = ray.get(self._asked), desk.questions.remote()
                    for name, ordinal, metrics in questions:
                        if name not in by_name:
                            continue  # of a worker that was given up
                        if ordinal == 0:
                            started(by_name[name])
                        end = ordinal > 0 and evaluated(by_name[name], ordinal, metrics)
                        desk.answer.remote(name, ordinal, end)
                for reference in ready:
                    if reference in running:
                        ended(running.pop(reference), self._outcome(reference))
        except BaseException:
            self._recall(list(running))
            raise

    def _outcome(self, reference: Any) -> Outcome:
        """What came of a task that has ended."""
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, Interrupted):  # somebody asked the worker to end: that is the study's end, too
                raise Interrupted(*error.cause.faults) from None
            return Outcome("failed", cause=f"the worker failed: {error.cause!r}"[:500], trace=str(error))
        except errors.RayError as error:
            return Outcome("failed", cause=f"the worker was lost {RETRIES + 1} times: {type(error).__name__}")
        return outcome

    def _recall(self, references: list[Any]) -> None:
        """Has the workers write their checkpoints and end."""
        self._desk.close.remote()
        for reference in references:
            self._ray.cancel(reference)
        if references:
            self._ray.wait(references, num_returns=len(references), timeout=GRACE)

    def close(self) -> None:
        """Leaves the cluster; a local one ends with all its processes."""
        self._desk.close.remote()
        self._ray.wait([self._asked], timeout=5)  # Ray complains of a question that is never answered
        self._ray.shutdown()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._former)


def _attempt(ranks: int) -> Attempt:
    return once if ranks == 1 else under_torchrun(ranks)


def _imported(*, local: bool) -> Any:
    """Ray, told first what it reads from the environment when it is loaded."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a job that asks for no GPU may see them
    if local:  # it listens on the machine's address, whatever it is told: nobody else is to give it work
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.setdefault("RAY_worker_niceness", "0")  # trials are the machine's work, not its pastime
    try:
        import ray
    except ImportError:
        raise UserError("several workers, shares of GPUs and clusters need Ray: pip install 'reid-lab[ray]'") from None
    return ray


def _check_address(cluster: str) -> None:
    """Refuses what is no cluster's address at once; Ray would try for minutes."""
    if cluster == "auto":
        return
    host, _, port = cluster.rpartition(":")
    if not host or "/" in cluster or not port.isdecimal():
        raise UserError(f"--cluster {cluster}: expected auto or HOST:PORT")
    settings = b"\0\0\0\4\0\0\0\0\0"  # an empty frame of settings, with which both sides of HTTP/2 begin
    told = "what listens there is something else"
    try:
        with socket.create_connection((host, int(port)), timeout=10) as probe:
            probe.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
            if probe.recv(9)[3:4] == settings[3:4]:
                return
    except (OSError, OverflowError) as error:
        told = str(error)
    raise UserError(f"--cluster {cluster}: no Ray cluster is reached there ({told})")


def _work(job: Job, runs: Path, ranks: int, desk: Any) -> Outcome:
    """What a Ray worker does."""
    import ray

    def ask(ordinal: int, metrics: Mapping[str, float]) -> bool:
        answer: bool | None = None
        with contextlib.suppress(ray.exceptions.RayError):
            answer = ray.get(desk.ask.remote(job.name, ordinal, dict(metrics)))
        if answer is None:
            raise Interrupted("the driver has left; the same command goes on")
        return answer

    ask(0, {})
    end = time.monotonic() + PATIENCE
    while True:
        outcome = perform(job, runs, ask, _attempt(ranks))
        if outcome.state != "busy" or time.monotonic() > end:
            return outcome
        time.sleep(0.5)  # the processes of a worker that was lost are about to end


def choose(
    runs: Path,
    *,
    workers: int = 1,
    batch: int | None = None,
    gpus: float = 0.0,
    ranks: int | None = None,
    cluster: str | None = None,
) -> Executor:
    """The executor for what was asked for: this process for one worker without a cluster, else Ray."""
    if gpus > 1 and gpus != int(gpus):
        raise UserError(f"--gpus-per-trial {gpus:g}: a share is below 1, several are a whole number")
    each = ranks or max(1, int(gpus))
    if gpus > 1 and each != gpus:
        raise UserError(f"--ranks {each} with --gpus-per-trial {gpus:g}: each rank has a GPU of its own")
    if workers == 1 and cluster is None and not gpus:
        return Inline(runs, batch or workers, each)
    return Ray(runs, workers=workers, width=batch, gpus=gpus, ranks=each, cluster=cluster)
