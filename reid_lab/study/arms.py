"""An arm at work: which trials it still asks for, and which of its cells are missing.

Nothing is decided from memory: trials stand in the storage, runs in their folders, so that a driver that was killed
at any moment goes on as though nothing had happened.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from reid_lab import experiment
from reid_lab.errors import RunError
from reid_lab.experiment import Member
from reid_lab.spec.identity import canonical
from reid_lab.spec.run import RunSpec
from reid_lab.spec.study import ObjectiveSpec, TuneSpec
from reid_lab.spec.variants import Variants
from reid_lab.study.book import Book
from reid_lab.study.jobs import Job, Outcome, halved, same_cause
from reid_lab.study.load import LoadedStudy
from reid_lab.study.plan import Arm
from reid_lab.study.retention import drop_weights
from reid_lab.study.search import Asked, Search, Told
from reid_lab.study.storage import Storage
from reid_lab.tracking.members import claim
from reid_lab.tracking.runs import RunFolder

FAILURES = 3
"""So many failed trials of an arm are replaced; so many failures in a row for the same cause stop it."""


@dataclass(frozen=True)
class Cell:
    """One seed of an arm: the identities that its run may have, and the attempt that has finished it."""

    seed: int
    identities: tuple[str, ...]
    done: RunFolder | None

    @property
    def deviation(self) -> str:
        """What was computed otherwise than the spec says."""
        same = self.done is None or self.identities[0].startswith(self.done.run_id.rpartition("-")[0])
        return "" if same else "half the micro-batch, for want of memory"


@final
@dataclass(frozen=True)
class _Standing:
    """The finished trials of an arm, how many there are of each state, and the best one."""

    told: list[Told]
    counts: Mapping[str, int]
    best: Told | None


@final
class ArmWork:
    """One arm of a study.

    Args:
        study, arm: what is computed.
        runs: the folder of runs.
        book: the study's folder.
        storage: where trials stand; None for a study that tunes nothing.
        target: trials that are complete or pruned in the end.
        batch: trials that are asked for at a time.
    """

    def __init__(
        self,
        study: LoadedStudy,
        arm: Arm,
        *,
        runs: Path,
        book: Book,
        storage: Storage | None,
        target: int,
        batch: int,
    ) -> None:
        self.study, self.arm, self.runs, self.book = study, arm, runs, book
        self.tune: TuneSpec | None = study.spec.tune
        self.target = target if self.tune is not None else 0
        self.stopped = ""
        self._causes: list[str] = []
        self._dropped: set[int] = set()
        self._cells: dict[tuple[int, str], Cell] = {}
        self.space, self.lacking = study.space(arm)
        self.search = None if self.tune is None or storage is None else self._search(self.tune, storage, batch)
        self._known: _Standing | None = None
        self._shared = storage is not None and storage.shared

    def _search(self, tune: TuneSpec, storage: Storage, batch: int) -> Search:
        return Search(
            storage,
            f"{self.arm.name}-{self.key[:12]}",
            {"study": self.study.name, "arm": self.arm.name, "key": self.key},
            self.space,
            sampler=tune.sampler,
            pruner=tune.pruner or "none",
            seed=tune.seed,
            directions=tuple(o.direction for o in self.study.spec.objectives),
            batch=batch,
            evaluations=evaluations(self.study.arm(self.arm, tune.fidelity).spec),
        )

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.arm.name

    @functools.cached_property
    def key(self) -> str:
        """The digest of what the arm is about; another search, and another parent run, begin when any of it changes."""
        if self.tune is None:
            return experiment.identified(self.study.arm(self.arm, seed=0).spec, self.runs)
        fidelity = self.study.arm(self.arm, self.tune.fidelity, seed=0).spec
        about = {
            "runs": experiment.identified(fidelity, self.runs),
            "space": [
                [d.name, d.kind, d.low, d.high, d.log, list(d.values), {k: list(v) for k, v in d.when.items()}]
                for d in self.space.dimensions
            ],
            "sampler": self.tune.sampler,
            "pruner": self.tune.pruner,
            "seed": self.tune.seed,
            "objectives": [[o.metric, o.direction] for o in self.study.spec.objectives],
        }
        return hashlib.sha256(canonical(about).encode()).hexdigest()

    # trials

    def told(self) -> list[Told]:
        """The finished trials, by number."""
        return self._standing().told

    def counts(self) -> dict[str, int]:
        """How many trials are complete, pruned and failed."""
        return dict(self._standing().counts)

    def best(self) -> Told | None:
        """The best complete trial by the first objective, the first of equals."""
        return self._standing().best

    def _standing(self) -> _Standing:
        """Where the trials stand, looked up anew when one was told, or may have been by another driver."""
        if self._known is None or self._shared:
            told = [] if self.search is None else self.search.told()
            sign = 1.0 if self.study.spec.objectives[0].direction == "maximize" else -1.0
            complete = (one for one in told if one.state == "complete")
            states = [one.state for one in told]
            self._known = _Standing(
                told,
                {state: states.count(state) for state in ("complete", "pruned", "failed")},
                max(complete, key=lambda one: (sign * one.scores[0], -one.number), default=None),
            )
        return self._known

    def trials(self) -> list[Job]:
        """The trials to be computed next: those that were interrupted, completed to a batch; none when enough are."""
        search = self.search
        if search is None or self.stopped:
            return []
        counts = self.counts()
        if counts["failed"] > FAILURES:
            self.stopped = f"{counts['failed']} trials failed; the last one: {self._last_cause()}"
            return []
        asked = list(search.unfinished())
        wanted = self.target - counts["complete"] - counts["pruned"] - len(asked)
        while wanted > 0 and (not asked or search.open_batch):
            one = search.ask_within(self.target)
            if one is None:
                break  # another driver computes the rest
            asked.append(one)
            wanted -= 1
        return [self._trial(one) for one in asked]

    def _last_cause(self) -> str:
        return next((t.note.get("cause", "") for t in reversed(self.told()) if t.state == "failed"), "")

    @functools.cached_property
    def _short(self) -> Variants:
        return self.study.short(self.arm)

    def _trial(self, asked: Asked) -> Job:
        loaded = self._short.load(self.study.given(self.space.patch(asked.values), asked.seed))
        member = Member(self.study.name, self.name, self.parent, trial=asked.number)
        log = self.book.log(self.name, f"trial-{asked.number}")
        return Job(self.name, asked.seed, loaded, member, log, asked.number)

    @property
    def parent(self) -> str:
        """The id of the arm's own journal."""
        return f"{self.study.name}/{self.name}"

    def evaluated(self, job: Job, ordinal: int, metrics: Mapping[str, float]) -> bool:
        """Passes an evaluation of a trial on; True when it is to be pruned."""
        if self.search is None or job.number is None:
            return False
        return self.search.report(job.number, ordinal, score(self.study.spec.objectives[0], metrics, {}))

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Tells the storage what came of a trial; the same failure three times in a row stops the arm."""
        if outcome.state == "busy":
            return
        if outcome.state == "failed":
            self._causes.append(same_cause(outcome.cause))
            if len(self._causes) >= FAILURES and len(set(self._causes[-FAILURES:])) == 1:
                self.stopped = f"{FAILURES} failures in a row for the same cause: {outcome.cause}"
        else:
            self._causes.clear()
        if self.search is None or job.number is None:
            return
        note = {"cause": outcome.cause, "run": outcome.run_id or "", "deviation": outcome.deviation}
        note["seconds"] = repr(outcome.cost.get("seconds", 0.0))
        scores: tuple[float, ...] = ()
        state = outcome.state
        if state == "complete":
            scores = tuple(score(o, outcome.val, outcome.cost) for o in self.study.spec.objectives)
            if not all(map(math.isfinite, scores)):
                state, note["cause"] = "failed", f"the objective is {', '.join(map(str, scores))}"
        self.search.tell(job.number, state, scores, {k: v for k, v in note.items() if v})
        self._known = None
        self._keep_the_best()

    def _keep_the_best(self) -> None:
        """Drops the weights of the trials that are not the best one; those of a run in use, at the next call."""
        best = self.best()
        for told in self.told():
            run = told.note.get("run", "")
            if told.number in self._dropped or told is best:
                continue
            if not run:  # it came to nothing
                self._dropped.add(told.number)
                continue
            whose = f"trial {told.number} of {self.parent}"
            why = f"{whose} was not its arm's best" if told.state == "complete" else f"{whose}: {told.state}"
            with contextlib.suppress(RunError):
                drop_weights(RunFolder(self.runs / run), why)
                self._dropped.add(told.number)

    def elsewhere(self) -> int:
        """How many trials another living process computes; what it told is looked up anew."""
        self._known = None
        return 0 if self.search is None else len(self.search.foreign())

    def close(self) -> None:
        """Shows no more life to other drivers; trials that run may be taken over."""
        if self.search is not None:
            self.search.close()

    def tuned(self) -> bool:
        """Whether the arm has had all its trials."""
        counts = self.counts()
        return self.search is None or counts["complete"] + counts["pruned"] >= self.target

    # cells

    def patch(self) -> Mapping[str, Any]:
        """What the arm's cells are computed with besides its own patch: the values of its best trial."""
        best = self.best()
        return {} if best is None else self.space.patch(best.values)

    def reportable(self) -> bool:
        """Whether the arm's cells can be computed: it is tuned, and did not stop."""
        return not self.stopped and self.tuned() and (self.search is None or self.best() is not None)

    def cell(self, seed: int) -> Cell:
        """A seed of the arm, and whether it is there; a run in halves for want of memory counts."""
        patch = self.patch()
        key = seed, canonical(dict(patch))
        known = self._cells.get(key)
        if known is None:
            spec = self._spec(seed, patch)
            same = (experiment.identified(spec, self.runs), experiment.identified(halved(spec), self.runs))
            known = Cell(seed, same, None)
        if known.done is None:
            found = (experiment.found(identity, self.runs, "test") for identity in known.identities)
            self._cells[key] = known = replace(known, done=next((folder for folder in found if folder), None))
            if known.done is not None:
                claim(known.done, Member(self.study.name, self.name, self.parent))
        return known

    def held(self, seed: int) -> Cell | None:
        """A seed of the arm as it was when it was last looked for; None when it was not."""
        return self._cells.get((seed, canonical(dict(self.patch()))))

    def _spec(self, seed: int, patch: Mapping[str, Any]) -> RunSpec:
        return self.study.arm(self.arm, patch, seed=seed).spec

    def job(self, seed: int) -> Job:
        """The job that computes a cell."""
        loaded = self.study.arm(self.arm, self.patch(), seed=seed)
        return Job(
            self.name,
            seed,
            loaded,
            Member(self.study.name, self.name, self.parent),
            self.book.log(self.name, f"seed-{seed}"),
        )


def score(objective: ObjectiveSpec, val: Mapping[str, float], cost: Mapping[str, float]) -> float:
    """An objective's value: `val/mAP` from the metrics on val, `cost/parameters` from what the run cost."""
    kind, _, name = objective.metric.partition("/")
    found = val if kind == "val" else cost
    return found.get(name, math.nan)


def evaluations(spec: RunSpec) -> int:
    """How many evaluations after the first a run will have; `MANY` where that depends on the data."""
    length, every = spec.train.length.span(), spec.eval.every.span()
    if every.unit == "fraction":
        return math.ceil(1.0 / every.amount)
    return math.ceil(length.amount / every.amount) if length.unit == every.unit else MANY


MANY = 100
