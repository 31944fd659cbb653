"""What a trial tries and when it stops, decided on Optuna studies in memory.

Such a study shows what the trial may know and nothing else, and bears the key of the search as its
name: so a decision is a pure function of the key, the seed, the trial's number and the results of
earlier batches, whatever the storage, the clock or other trials of the same batch do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

from reid_lab.spec.identity import canonical

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from reid_lab.study.space import Dimension

SAMPLERS = ("tpe", "random")
PRUNERS = ("hyperband", "median", "none")
TOLD = "reid_lab.told"  # the user attribute of a finished trial: {"note": …, "rungs": …}


@final
class Knob:
    """A dimension as an Optuna distribution, and the way back from Optuna's values."""

    def __init__(self, dimension: Dimension) -> None:
        self.name, self.exists = dimension.name, dimension.exists
        self._dimension = dimension
        self._values = {_choice(v, dimension.values): v for v in dimension.values} if dimension.kind == "choice" else {}

    @cached_property
    def distribution(self) -> BaseDistribution:
        """Optuna's form of the range."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        d = self._dimension
        if d.kind == "choice":
            return CategoricalDistribution(tuple(self._values))
        assert d.low is not None
        assert d.high is not None
        if d.kind == "int":
            return IntDistribution(int(d.low), int(d.high), log=d.log)
        return FloatDistribution(float(d.low), float(d.high), log=d.log)

    def decode(self, value: Any) -> Any:
        """The value of the knob that Optuna's value stands for."""
        return self._values[value] if self._values else value


def _choice(value: Any, among: Sequence[Any]) -> Any:
    """The form in which Optuna stores a choice: words and numbers as they are, anything else as JSON."""
    kinds = {str if type(v) is str else float if type(v) in (int, float) else None for v in among}
    return value if len(kinds) == 1 and None not in kinds else canonical(value)


def existing(space: Sequence[Knob], params: Mapping[str, Any]) -> list[Knob]:
    """The knobs that a trial with these parameters has, up to the first one that it should have and has not."""
    values: dict[str, Any] = {}
    found = []
    for knob in space:
        if knob.exists(values):
            found.append(knob)
            if knob.name in params:
                values[knob.name] = knob.decode(params[knob.name])
    return found


def decoded(space: Sequence[Knob], params: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the knobs by name, from Optuna's parameters."""
    return {knob.name: knob.decode(params[knob.name]) for knob in space if knob.name in params}


@final
@dataclass
class Running:
    """A trial that was asked for and not told."""

    trial_id: int
    curve: dict[int, float] = field(default_factory=dict)
    seen: Rungs | None = None


@final
@dataclass(frozen=True)
class Drawn:
    """The values of a trial as Optuna stores them."""

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    system_attrs: dict[str, Any]


def _study(name: str, directions: Sequence[str]) -> tuple[Any, int]:
    import optuna
    from optuna.study import StudyDirection

    storage = optuna.storages.InMemoryStorage()
    return storage, storage.create_new_study([StudyDirection[d.upper()] for d in directions], name)


@final
class Sampling:
    """Draws the values of a trial on a study in memory that shows what the trial may know.

    Trials of earlier batches as they are, those of its own batch with their values only, as running:
    the sampler keeps away from them.
    """

    def __init__(
        self, key: str, directions: Sequence[str], space: Sequence[Knob], sampler: str, seed: int, batch: int
    ) -> None:
        self._key, self._directions, self._space = key, directions, space
        self._sampler, self._seed, self._batch = sampler, seed, batch
        self._forget()

    def _forget(self) -> None:
        self._ids: list[int] = []
        self._open: set[int] = set()  # shown as running
        self._storage: Any = None
        self._tpe: Any = None

    def draw(self, number: int, trials: Sequence[FrozenTrial]) -> Drawn:
        """The values of trial `number`, after those in `trials` with smaller numbers."""
        import optuna

        if self._storage is None or len(self._ids) > number:
            self._forget()
            self._storage, self._study = _study(self._key, self._directions)
        self._show(trials[:number], known=number // self._batch * self._batch)
        study = optuna.load_study(
            study_name=self._key, storage=self._storage, sampler=self._made(number), pruner=optuna.pruners.NopPruner()
        )
        trial_id = self._storage.create_new_trial(self._study)
        self._ids.append(trial_id)
        self._open.add(number)
        trial = optuna.trial.Trial(study, trial_id)
        values: dict[str, Any] = {}
        for knob in self._space:
            if knob.exists(values):
                values[knob.name] = knob.decode(trial._suggest(knob.name, knob.distribution))
        drawn = self._storage.get_trial(trial_id)
        return Drawn(dict(drawn.params), dict(drawn.distributions), dict(drawn.system_attrs))

    def _made(self, number: int) -> BaseSampler:
        import optuna

        seed = int(hashlib.sha256(f"{self._seed}:{self._key}:{number}:sampler".encode()).hexdigest(), 16) % 2**32
        if self._sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        # One for all trials: it remembers which knobs they share, and would else read all of them for each.
        self._tpe = self._tpe or optuna.samplers.TPESampler()
        for random in (self._tpe._rng, self._tpe._random_sampler._rng):
            random.rng.seed(seed)
        return self._tpe  # type: ignore[no-any-return]

    def _show(self, trials: Sequence[FrozenTrial], known: int) -> None:
        from optuna.trial import TrialState, create_trial

        for trial in trials[min(self._open, default=len(self._ids)) :]:
            finished = trial.number < known and trial.state.is_finished()
            if trial.number == len(self._ids):
                shown = create_trial(
                    state=trial.state if finished else TrialState.RUNNING,
                    values=trial.values if finished else None,
                    params=trial.params,
                    distributions=trial.distributions,
                    system_attrs={} if finished else trial.system_attrs,
                    intermediate_values=trial.intermediate_values if finished else None,
                )
                self._ids.append(self._storage.create_new_trial(self._study, shown))
                if not finished:
                    self._open.add(trial.number)
            elif finished and trial.number in self._open:
                trial_id = self._ids[trial.number]
                for step, value in trial.intermediate_values.items():
                    self._storage.set_trial_intermediate_value(trial_id, step, value)
                self._storage.set_trial_state_values(trial_id, trial.state, trial.values)
                self._open.remove(trial.number)


@final
@dataclass
class Rungs:
    """A trial before the pruner, in a study of its own: earlier batches, and itself."""

    study: Study
    storage: Any
    trial_id: int
    verdicts: dict[int, bool] = field(default_factory=dict)


@final
class Pruning:
    """Decides whether a trial goes on. Steps are counted in reports, so that brackets fit `evaluations`."""

    def __init__(self, key: str, directions: Sequence[str], pruner: str, evaluations: int, batch: int) -> None:
        self._key, self._directions, self._pruner = key, directions, pruner
        self._budget, self._batch = evaluations, batch

    def verdict(self, number: int, running: Running, step: int, trials: Callable[[], Sequence[FrozenTrial]]) -> bool:
        """Whether the trial stops at the step."""
        if self._pruner == "none":
            return False
        seen = running.seen = running.seen or self._before(number, trials())
        for order, at in enumerate(sorted(running.curve), 1):
            if at <= step and at not in seen.verdicts:
                seen.storage.set_trial_intermediate_value(seen.trial_id, order, running.curve[at])
                stop = seen.study.pruner.prune(seen.study, seen.storage.get_trial(seen.trial_id))
                seen.verdicts[at] = stop and order < self._budget
        return seen.verdicts[step]

    def rungs(self, number: int, running: Running, trials: Callable[[], Sequence[FrozenTrial]]) -> dict[str, float]:
        """What Hyperband noted about the trial: its value at each rung that it reached."""
        if self._pruner != "hyperband" or not running.curve:
            return {}
        self.verdict(number, running, max(running.curve), trials)
        assert running.seen is not None
        return dict(running.seen.storage.get_trial(running.seen.trial_id).system_attrs)

    def _before(self, number: int, trials: Sequence[FrozenTrial]) -> Rungs:
        import optuna
        from optuna.trial import TrialState, create_trial

        storage, study = _study(self._key, self._directions)
        known = number // self._batch * self._batch
        for trial in trials[:number]:
            if trial.number < known and trial.state.is_finished():
                curve = [trial.intermediate_values[s] for s in sorted(trial.intermediate_values)]
                shown = create_trial(
                    state=trial.state,
                    values=trial.values,
                    system_attrs=trial.user_attrs.get(TOLD, {}).get("rungs", {}),
                    intermediate_values=dict(enumerate(curve, 1)) if self._pruner == "median" else None,
                )
            else:  # only holds its number
                shown = create_trial(state=TrialState.FAIL)
            storage.create_new_trial(study, shown)
        trial_id = storage.create_new_trial(study)
        loaded = optuna.load_study(study_name=self._key, storage=storage, pruner=self._made())
        return Rungs(loaded, storage, trial_id)

    def _made(self) -> BasePruner:
        import optuna

        if self._pruner == "median":
            return optuna.pruners.MedianPruner()
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=self._budget)
