"""What to try next: Optuna behind `ask`, `report` and `tell`; with `study/storage.py` the only door to it.

Every decision is a pure function of the study's key, the seed, the number of the trial and what the
trials of *earlier batches* came to. It is made on an Optuna study in memory that shows just those.
So a search that was killed anywhere goes on as if it had not been, and a batch may be told in any
order. The storage receives a trial with all its values in one write.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from reid_lab.errors import Fault, UserError, unknown
from reid_lab.spec.identity import canonical
from reid_lab.study.deciding import PRUNERS, SAMPLERS, TOLD, Drawn, Knob, Pruning, Running, Sampling, decoded, existing
from reid_lab.study.owner import myself, started
from reid_lab.study.storage import Storage

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from reid_lab.study.space import Space

State = Literal["complete", "pruned", "failed"]
SEEDS = (10**6, 2**31)  # of trials: above the seeds that are reported
ABOUT, OWNER = "reid_lab.about", "reid_lab.owner"  # user attributes in the storage
BEAT = 15.0  # seconds between two signs of life of a trial's owner


class SearchError(UserError):
    """A search cannot be made or gone on with as asked."""


@final
@dataclass(frozen=True)
class Asked:
    """A trial to run: its number in the search, the value of each knob that exists, its seed."""

    number: int
    values: Mapping[str, Any]
    seed: int


@final
@dataclass(frozen=True)
class Told:
    """What a trial came to; `curve` maps steps to what was reported, `note` is what the teller added."""

    number: int
    state: State
    values: Mapping[str, Any]
    scores: tuple[float, ...]
    curve: Mapping[int, float]
    note: Mapping[str, str]


def key_of(about: Mapping[str, str]) -> str:
    """The sha256 of what a search is about."""
    return hashlib.sha256(canonical(dict(about)).encode()).hexdigest()


def trial_seed(seed: int, key: str, number: int) -> int:
    """The seed of a trial's run, in [10**6, 2**31): disjoint from the seeds that are reported."""
    low, high = SEEDS
    return low + int(hashlib.sha256(f"{seed}:{key}:{number}".encode()).hexdigest(), 16) % (high - low)


@final
class Search:
    """The trials of one arm: an Optuna study of this name in the storage, created or gone on with.

    about: what the search is about, recorded with the study; one of the same name that is about
        something else is refused.
    key: what all random numbers derive from; by default `about["key"]`, or the hash of `about`.
    space: the knobs, see `Dimension`.
    directions: "maximize" or "minimize" for each objective; several admit no pruner.
    evaluations: how many times a trial that is not pruned reports.
    batch: trials [batch * n, batch * (n + 1)) know nothing of each other's results.
    grace: seconds without a sign of life after which another machine's trial is taken over.

    Raises `SearchError` or `StorageError`; the latter also from every method. May be used from
    several threads. Results depend on `batch`, never on timing, as long as one driver at a time works
    on the search.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        about: Mapping[str, str],
        space: Space,
        *,
        sampler: str = "tpe",
        pruner: str = "none",
        seed: int = 0,
        directions: Sequence[str] = ("maximize",),
        evaluations: int = 1,
        batch: int = 1,
        key: str | None = None,
        grace: float = 90.0,
    ) -> None:
        faults = [
            unknown(kind, given, allowed)
            for kind, given, allowed in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS))
            if given not in allowed
        ]
        faults += [
            unknown("direction", d, ("maximize", "minimize")) for d in directions if d not in ("maximize", "minimize")
        ]
        if not directions:
            faults.append("a search needs an objective")
        if len(directions) > 1 and pruner != "none":
            faults.append(f"pruner '{pruner}' needs a single objective, here are {len(directions)}; use pruner: none")
        if batch < 1 or evaluations < 1:
            faults.append("batch and evaluations must be at least 1")
        if faults:
            raise SearchError(*faults)
        self.name, self.key, self.seed = name, key or about.get("key") or key_of(about), seed
        self._storage, self._directions, self._batch, self._grace = storage, tuple(directions), batch, grace
        self._space = tuple(Knob(dimension) for dimension in space.dimensions)
        self._sampling = Sampling(self.key, self._directions, self._space, sampler, seed, batch)
        self._pruning = Pruning(self.key, self._directions, pruner, evaluations, batch)
        self._running: dict[int, Running] = {}
        self._done: dict[int, Told] = {}  # what was told stays so
        self._settled = 0  # all trials before this number were told
        self._mutex = threading.RLock()
        self._pulse: threading.Thread | None = None
        self._closed = threading.Event()
        with storage.guard(), storage.exclusive(name):
            self._study = self._open(dict(about))

    def _open(self, about: dict[str, str]) -> int:
        from optuna.study import StudyDirection

        storage = self._storage.optuna
        wanted = [StudyDirection[d.upper()] for d in self._directions]
        try:
            study = storage.get_study_id_from_name(self.name)
        except KeyError:
            study = storage.create_new_study(wanted, self.name)
        recorded = storage.get_study_user_attrs(study).get(ABOUT)
        if recorded is None and not storage.get_all_trials(study, deepcopy=False):  # killed before it was noted
            storage.set_study_user_attr(study, ABOUT, about)
            recorded = about
        if recorded is None:
            raise SearchError(Fault(f"study '{self.name}' was not made by reid-lab; use another name", self._place))
        differing = sorted(k for k in about.keys() | recorded.keys() if about.get(k) != recorded.get(k))
        if storage.get_study_directions(study) != wanted:
            differing.append("directions")
        if differing:
            raise SearchError(
                Fault(
                    f"study '{self.name}' is of another search: it differs in {', '.join(differing)}; use another name",
                    self._place,
                )
            )
        return study

    @property
    def _place(self) -> str:
        return self._storage.place

    @contextmanager
    def _at_work(self, *, exclusive: bool = False) -> Iterator[None]:
        with self._mutex, self._storage.guard():
            if exclusive:
                with self._storage.exclusive(self.name):
                    yield
            else:
                yield

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.optuna.get_all_trials(self._study, deepcopy=False)

    def _unsettled(self) -> list[FrozenTrial]:
        """The trials that were not told."""
        return [t for t in self._trials()[self._settled :] if not t.state.is_finished()]

    # --- what to run -----------------------------------------------------------------------------

    def ask(self) -> Asked:
        """A new trial, with the next number; all trials of earlier batches should have been told."""
        with self._at_work(exclusive=True):
            return self._new()

    def ask_within(self, most: int) -> Asked | None:
        """As `ask`; None when so many trials are running, complete or pruned, whoever runs them."""
        from optuna.trial import TrialState

        with self._at_work(exclusive=True):
            if sum(trial.state is not TrialState.FAIL for trial in self._trials()) >= most:
                return None
            return self._new()

    def _new(self) -> Asked:
        from optuna.trial import TrialState, create_trial

        trials = self._trials()
        number = len(trials)
        drawn = self._sampling.draw(number, trials)
        trial_id = self._storage.optuna.create_new_trial(
            self._study,
            create_trial(
                state=TrialState.RUNNING,
                params=drawn.params,
                distributions=drawn.distributions,
                user_attrs={OWNER: myself()},
                system_attrs=drawn.system_attrs,
            ),
        )
        self._running[number] = Running(trial_id)
        self._storage.beat(trial_id)
        self._live()
        return self._asked(number, drawn)

    @property
    def open_batch(self) -> bool:
        """Whether the next trial belongs to a batch of which some were asked already."""
        with self._at_work():
            return len(self._trials()) % self._batch != 0

    def unfinished(self) -> list[Asked]:
        """Trials that were asked but not told, by number, to be run again under their own numbers.

        Those of a living process other than this are left out, see `foreign`. Values that are missing
        because the process was killed while it wrote them are completed as they would have been.
        """
        with self._at_work():
            if not self._unsettled():
                return []
        with self._at_work(exclusive=True):
            trials = self._trials()
            mine = self._claimable(self._unsettled())
            found = []
            for trial in mine:
                if trial.user_attrs.get(OWNER) != myself():
                    self._storage.optuna.set_trial_user_attr(trial._trial_id, OWNER, myself())
                self._storage.beat(trial._trial_id)
                self._running.setdefault(trial.number, Running(trial._trial_id, dict(trial.intermediate_values)))
                found.append(self._asked(trial.number, self._completed(trial, trials)))
            if found:
                self._live()
            return found

    def foreign(self) -> list[int]:
        """Numbers of the running trials that another living process works on."""
        with self._at_work():
            running = self._unsettled()
            mine = {t.number for t in self._claimable(running)}
            return [t.number for t in running if t.number not in mine]

    def _claimable(self, running: list[FrozenTrial]) -> list[FrozenTrial]:
        beating = self._storage.beating([t._trial_id for t in running], self._grace) if running else set()
        return [t for t in running if not self._lives_elsewhere(t, beating)]

    def _lives_elsewhere(self, trial: FrozenTrial, beating: set[int]) -> bool:
        owner, me = trial.user_attrs.get(OWNER), myself()
        if owner is None or owner == me:
            return False
        if (owner["host"], owner["space"]) == (me["host"], me["space"]):
            return bool(started(owner["pid"]) == owner["start"])
        return trial._trial_id in beating  # files belong to one machine, where another name means another boot

    def _completed(self, trial: FrozenTrial, trials: list[FrozenTrial]) -> FrozenTrial | Drawn:
        if all(knob.name in trial.params for knob in existing(self._space, trial.params)):
            return trial
        drawn = self._sampling.draw(trial.number, trials)
        for name, value in drawn.params.items():
            distribution = drawn.distributions[name]
            self._storage.optuna.set_trial_param(
                trial._trial_id, name, distribution.to_internal_repr(value), distribution
            )
        for name, said in drawn.system_attrs.items():
            self._storage.optuna.set_trial_system_attr(trial._trial_id, name, said)
        return drawn

    def _asked(self, number: int, trial: FrozenTrial | Drawn) -> Asked:
        return Asked(number, decoded(self._space, trial.params), trial_seed(self.seed, self.key, number))

    # --- what came out ---------------------------------------------------------------------------

    def report(self, number: int, step: int, value: float) -> bool:
        """Record the objective at a step; True when the trial is to stop.

        The answer depends on the trials of earlier batches and on this trial's reports up to `step`;
        reporting the same again gives the same answer. The last of `evaluations` reports never
        stops a trial: nothing would be saved. True as well for a trial that was told already.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        with self._at_work():
            running = self._get(number)
            if running is None:
                return True
            held = running.curve.get(step)
            if held is None or not (held == value or (math.isnan(held) and math.isnan(value))):
                try:
                    self._storage.optuna.set_trial_intermediate_value(running.trial_id, step, float(value))
                except UpdateFinishedTrialError:  # another driver thought this one dead
                    return True
                running.curve[step] = float(value)
            return self._pruning.verdict(number, running, step, self._trials)

    def tell(
        self, number: int, state: str, scores: Sequence[float] = (), note: Mapping[str, str] | None = None
    ) -> None:
        """Close a trial as "complete" (with a score per objective), "pruned" or "failed"; once closed it stays so.

        A score that is not a number makes the trial failed. A pruned trial's score is its last report.
        Raises ValueError on an unknown state or a wrong number of scores.
        """
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        if state not in states:
            raise ValueError(unknown("state", state, states))
        if state == "complete" and len(scores) != len(self._directions):
            raise ValueError(f"{len(self._directions)} objectives, but {len(scores)} scores")
        note = dict(note or {})
        with self._at_work():
            running = self._get(number)
            if running is None:
                return
            values: list[float] | None = [float(s) for s in scores] if state == "complete" else None
            if values and any(map(math.isnan, values)):
                state, values = "failed", None
                note.setdefault("cause", "the objective is not a number")
            rungs = {} if state == "failed" else self._pruning.rungs(number, running, self._trials)
            if state == "pruned" and running.curve and len(self._directions) == 1:
                last = running.curve[max(running.curve)]
                values = None if math.isnan(last) else [last]
            try:
                if note or rungs:
                    self._storage.optuna.set_trial_user_attr(running.trial_id, TOLD, {"note": note, "rungs": rungs})
                self._storage.optuna.set_trial_state_values(running.trial_id, states[state], values)
            except UpdateFinishedTrialError:
                pass
            del self._running[number]

    def _get(self, number: int) -> Running | None:
        """The running trial; None when it was told."""
        if number not in self._running:
            storage = self._storage.optuna
            trial = storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self._study, number))
            if trial.state.is_finished():
                return None
            self._running[number] = Running(trial._trial_id, dict(trial.intermediate_values))
        return self._running[number]

    def told(self) -> list[Told]:
        """Every trial that was told, by number."""
        with self._at_work():
            for trial in self._trials()[self._settled :]:
                if trial.number not in self._done and trial.state.is_finished():
                    self._done[trial.number] = self._told(trial)
            while self._settled in self._done:
                self._settled += 1
            return [self._done[number] for number in sorted(self._done)]

    def _told(self, trial: FrozenTrial) -> Told:
        states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        return Told(
            number=trial.number,
            state=states[trial.state.name],
            values=decoded(self._space, trial.params),
            scores=tuple(trial.values or ()),
            curve=dict(sorted(trial.intermediate_values.items())),
            note=trial.user_attrs.get(TOLD, {}).get("note", {}),
        )

    def best(self) -> Told | None:
        """The complete trial with the best score, the first of equals; None while there is none."""
        if len(self._directions) > 1:
            raise ValueError("several objectives have a front, not a best trial")
        front = self.front()
        return front[0] if front else None

    def front(self) -> list[Told]:
        """The complete trials that no other one betters in every objective, by number."""
        signs = [1.0 if d == "maximize" else -1.0 for d in self._directions]
        done = [(t, [sign * score for sign, score in zip(signs, t.scores, strict=True)]) for t in self._complete()]
        return [t for t, mine in done if not any(_betters(other, mine) for _, other in done)]

    def _complete(self) -> list[Told]:
        return [t for t in self.told() if t.state == "complete"]

    # --- signs of life ---------------------------------------------------------------------------

    def _live(self) -> None:
        if self._storage.shared and self._pulse is None:
            self._closed = threading.Event()
            self._pulse = threading.Thread(target=self._beat, args=(self._closed,), name="beat", daemon=True)
            self._pulse.start()

    def _beat(self, closed: threading.Event) -> None:
        while not closed.wait(min(BEAT, self._grace / 4)):
            for running in list(self._running.values()):
                try:
                    with self._storage.guard():
                        self._storage.beat(running.trial_id)
                except UserError:
                    break  # the server is away; the next call of the driver says so

    def close(self) -> None:
        """End the signs of life; running trials stay as they are, for whoever goes on with them."""
        self._closed.set()
        self._pulse = None


def serve_dashboard(where: str | Path, port: int) -> None:
    """Show a storage's searches with optuna-dashboard on this machine until Ctrl-C.

    Raises `UserError` when it is not installed or nothing stands there.
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise UserError("the dashboard needs optuna-dashboard: pip install 'reid-lab[dashboard]'")
    storage = Storage.open(where, create=False)
    from optuna_dashboard import run_server

    print(f"http://127.0.0.1:{port}/dashboard")  # noqa: T201
    run_server(storage.optuna, host="127.0.0.1", port=port)


def _betters(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and any(a > b for a, b in zip(one, other, strict=True))
