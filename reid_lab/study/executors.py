"""Where the jobs of a round are computed: here, one after the other, or on Ray (this file is its only door).

An executor computes a list of jobs and tells of each evaluation and each outcome as they come; both are told in
the driver's own thread, so that nothing else ever asks or tells Optuna.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from reid_lab.errors import UserError
from reid_lab.study.jobs import Job, Outcome, perform

OnEvaluation = Callable[[Job, int, Mapping[str, float]], bool]
OnOutcome = Callable[[Job, Outcome], None]
OnStart = Callable[[Job], None]


class Executor(ABC):
    """Computes jobs."""

    width: int = 1
    """How many jobs are computed at a time."""

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
    trials as on Ray with that many workers.
    """

    def __init__(self, runs: Path, width: int = 1) -> None:
        self.runs = runs
        self.width = width

    def perform(self, jobs: Sequence[Job], *, started: OnStart, evaluated: OnEvaluation, ended: OnOutcome) -> None:
        """See `Executor`."""
        for job in jobs:
            started(job)

            def report(ordinal: int, metrics: Mapping[str, float], job: Job = job) -> bool:
                return evaluated(job, ordinal, metrics)

            ended(job, perform(job, self.runs, report))


@final
class Ray(Executor):
    """On Ray: each job in a fresh process, tried again where a process or its machine was lost.

    A lost job goes on from its checkpoint; Python exceptions are the job's own (`Outcome.cause`), Ray does not see
    them. Workers ask a desk (an actor) whether to go on; the driver answers, so that workers need no database.

    Args:
        runs: the folder of runs; on several machines a shared one.
        workers: jobs at a time.
        gpus: of each job, a share is allowed.
        cluster: `auto` or `HOST:PORT`; None: processes of this machine.
    """

    def __init__(self, runs: Path, *, workers: int, gpus: float = 0.0, cluster: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise UserError("--workers needs Ray: pip install 'reid-lab[ray]'") from None
        self.width = workers
        self._ray, self._runs, self._gpus = ray, runs.resolve(), gpus
        local = {} if cluster else {"num_cpus": workers, "include_dashboard": False}
        address = "local" if cluster is None else cluster
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=True, **local)
        except (ConnectionError, ValueError, RuntimeError) as error:
            told = " ".join(str(error).split())[:200]
            raise UserError(f"--cluster {address}: no Ray cluster is reached there ({told})") from None
        self._desk = ray.remote(num_cpus=0)(Desk).remote()

    def perform(self, jobs: Sequence[Job], *, started: OnStart, evaluated: OnEvaluation, ended: OnOutcome) -> None:
        """See `Executor`."""
        ray, by_name = self._ray, {job.name: job for job in jobs}
        task = ray.remote(num_cpus=1, num_gpus=self._gpus, max_calls=1, max_retries=RETRIES)(_work)
        waiting = {task.remote(job, self._runs, self._desk): job for job in jobs}
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL)
            for name, ordinal, metrics in ray.get(self._desk.questions.remote()):
                if ordinal == 0:
                    started(by_name[name])
                    self._desk.answer.remote(name, ordinal, False)
                else:
                    self._desk.answer.remote(name, ordinal, evaluated(by_name[name], ordinal, metrics))
            for reference in ready:
                job = waiting.pop(reference)
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayError as error:
                    outcome = Outcome(
                        "failed", cause=f"the worker was lost {RETRIES + 1} times: {type(error).__name__}"
                    )
                ended(job, outcome)

    def close(self) -> None:
        """Leaves the cluster; a local one ends with all its processes."""
        self._ray.shutdown()


RETRIES = 3
POLL = 0.2  # seconds


@final
class Desk:
    """Where workers ask whether to go on, and wait for the driver's answer (an asynchronous Ray actor)."""

    def __init__(self) -> None:
        self._asked: list[tuple[str, int, Mapping[str, float]]] = []
        self._answers: dict[tuple[str, int], asyncio.Future[bool]] = {}

    async def ask(self, name: str, ordinal: int, metrics: Mapping[str, float]) -> bool:
        """Asks for a job; an evaluation that was asked before by a lost worker is asked anew."""
        answer = asyncio.get_running_loop().create_future()
        self._answers[name, ordinal] = answer
        self._asked.append((name, ordinal, metrics))
        pruned: bool = await answer
        return pruned

    async def questions(self) -> list[tuple[str, int, Mapping[str, float]]]:
        """What was asked since the last call."""
        asked, self._asked = self._asked, []
        return asked

    async def answer(self, name: str, ordinal: int, prune: bool) -> None:
        """Answers a question."""
        waiting = self._answers.pop((name, ordinal), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(prune)


def _work(job: Job, runs: Path, desk: Any) -> Outcome:
    """What a Ray worker does."""
    import ray

    ray.get(desk.ask.remote(job.name, 0, {}))

    def report(ordinal: int, metrics: Mapping[str, float]) -> bool:
        return bool(ray.get(desk.ask.remote(job.name, ordinal, dict(metrics))))

    return perform(job, runs, report)


def choose(runs: Path, *, workers: int = 1, gpus: float = 0.0, cluster: str | None = None) -> Executor:
    """The executor for what was asked for: this process for one worker without a cluster, else Ray."""
    if workers == 1 and cluster is None and not gpus:
        return Inline(runs)
    return Ray(runs, workers=workers, gpus=gpus, cluster=cluster)
