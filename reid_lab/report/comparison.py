"""Groups of runs set side by side: what may be compared, and the numbers of it in full precision."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, final

import numpy as np

from reid_lab.errors import Fault, UserError, unknown
from reid_lab.report import stats
from reid_lab.report.groups import Group, changes, shown
from reid_lab.report.queries import by_identity
from reid_lab.report.reading import COSTS, Run

Correction = Literal["holm", "bh", "none"]
CORRECTIONS: Mapping[str, str] = {
    "holm": "adjusted by Holm (1979)",
    "bh": "adjusted by Benjamini and Hochberg (1995)",
    "none": "not adjusted",
}
METRICS = ("R1", "mAP")
PROTOCOL = ("protocol", "queries", "gallery_role", "removed", "no_match", "ap", "gallery", "dropped")
"""Fields of `eval` that say what is measured; re-ranking and query expansion are part of a method."""


@final
@dataclass(frozen=True)
class Against:
    """A group's difference from the baseline in one metric; NaN where nothing can be said.

    low, high, p: of new training seeds on these test items; adjusted: p among all groups of this metric.
    wide: the interval for other people, too. trained: p and interval over queries of these trained models only.
    """

    difference: float
    low: float
    high: float
    p: float
    adjusted: float
    effect: float
    pairs: bool
    wide: tuple[float, float]
    trained: tuple[float, float, float]


@final
@dataclass(frozen=True)
class Line:
    """A group with its numbers. values: metric -> one for each run; cost: means over the runs that recorded it."""

    group: Group
    values: Mapping[str, tuple[float, ...]]
    against: Mapping[str, Against]
    cost: Mapping[str, float]
    differs: tuple[str, ...]

    def mean(self, metric: str) -> float:
        """The mean over the runs."""
        return statistics.fmean(self.values[metric])

    def deviation(self, metric: str) -> float:
        """The standard deviation over the runs; NaN for one."""
        values = self.values[metric]
        return statistics.stdev(values) if len(values) > 1 else float("nan")

    @property
    def marks(self) -> tuple[str, ...]:
        """`†` for weights selected on test, `‡` for weights fitted on more than train."""
        spec = [run.spec for run in self.group.runs]
        chosen = "†" if any(each.get("eval.select_on") == "test" for each in spec) else ""
        fitted = "‡" if any(each.get("train.fit_on", "train") != "train" for each in spec) else ""
        return tuple(mark for mark in (chosen, fitted) if mark)


@final
@dataclass(frozen=True)
class Comparison:
    """What a table shows. hints: metric -> the differences that seeds of this number and deviation can show."""

    lines: tuple[Line, ...]
    metrics: tuple[str, ...]
    baseline: str
    correction: Correction
    notes: tuple[str, ...]


def compare(
    groups: Sequence[Group],
    *,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    correction: Correction = "holm",
    queries: bool = False,
) -> Comparison:
    """Compares groups with the first one, or with `baseline`.

    metrics: `mAP` is `test/mAP`; by default those of `METRICS` that all runs have. queries: also compares these trained
    models over queries. Raises `UserError` with everything that cannot stand in one column.
    """
    names = [group.name for group in groups]
    if baseline is not None and baseline not in names:
        raise UserError(unknown("baseline", baseline, names))
    runs = [run for group in groups for run in group.runs]
    chosen = tuple(dict.fromkeys(metrics)) or tuple(
        m for m in METRICS if all(f"test/{m}" in run.metrics for run in runs)
    )
    if not chosen:
        raise UserError(f"these runs have no test metric in common; --metrics names some of {_metrics(runs)}")
    faults = [*_mixed(runs), *_uneven(groups), *_missing(runs, chosen)]
    if faults:
        raise UserError(*faults)
    first = next(group for group in groups if group.name == (baseline or names[0]))
    base = _common(first)
    lines = []
    differences = {m: _differences(groups, first, m, correction, queries) for m in chosen}
    for group in groups:
        lines.append(
            Line(
                group,
                {m: tuple(run.metric(m) for run in group.runs) for m in chosen},
                {m: differences[m][group.name] for m in chosen if group is not first},
                _cost(group.runs),
                () if group is first else tuple(changes(base, _common(group))),
            )
        )
    notes = (*_notes(runs), *_seeds(groups, len(groups) > 1), *_same(lines), *_power(lines, chosen))
    return Comparison(tuple(lines), chosen, first.name, correction, notes)


def check_alike(groups: Sequence[Group]) -> None:
    """Raises `UserError` with everything in which groups differ that no column, and no figure, may mix."""
    faults = [*_mixed([run for group in groups for run in group.runs]), *_uneven(groups)]
    if faults:
        raise UserError(*faults)


def _metrics(runs: Sequence[Run]) -> str:
    return ", ".join(sorted({name for run in runs for name in run.metrics})) or "none"


def _missing(runs: Sequence[Run], metrics: Sequence[str]) -> Iterator[Fault | str]:
    for run in runs:
        for metric in metrics:
            try:
                run.metric(metric)
            except UserError as error:
                yield from error.faults


def _mixed(runs: Sequence[Run]) -> Iterator[str]:
    """What differs that no column may mix."""
    for path in (f"eval.{name}" for name in PROTOCOL):
        yield from _different(runs, partial(_field, path=path), f"protocols differ in {path}")
    paths = {path for run in runs for path in run.spec if path.startswith("data.")}
    what = sorted(path for path in paths if len({shown(run.spec.get(path, "absent")) for run in runs}) > 1)
    told = f"data differ in {', '.join(what)}" if what else "data differ"
    yield from _different(runs, lambda run: ", ".join(f"{k} {v[:12]}" for k, v in run.digests.items()), told)
    yield from _different(runs, lambda run: str(run.metrics_version), "metrics versions differ")


def _field(run: Run, path: str) -> str:
    below = {name: value for name, value in run.spec.items() if name.startswith(f"{path}.")}
    return shown(below or run.spec.get(path))


def _different(runs: Sequence[Run], of: Callable[[Run], str], what: str) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for run in runs:
        found.setdefault(of(run), []).append(run.run_id)
    if len(found) > 1:
        told = "; ".join(f"{value} in {_few(ids)}" for value, ids in found.items())
        yield f"{what}: {told}; narrow the selection"


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids) if len(ids) <= 3 else f"{', '.join(ids[:2])} and {len(ids) - 2} more"


def _uneven(groups: Sequence[Group]) -> Iterator[str]:
    """Groups whose runs differ in more than the seed: their deviation would be no deviation among seeds."""
    for group in groups:
        told: dict[str, set[str]] = {}
        for path in {path for run in group.runs for path in run.spec}:
            values = {shown(run.spec.get(path, "absent")) for run in group.runs}
            if len(values) > 1 and path != "world_size":
                told[path] = values
        if told:
            what = "; ".join(f"{path} ({', '.join(sorted(values))})" for path, values in sorted(told.items()))
            yield f"the runs of '{group.name}' differ in more than the seed: {what}; --by PATH tells them apart"
            continue
        seeds = group.seeds
        twice = sorted({str(seed) for seed in seeds if seeds.count(seed) > 1})
        if twice:
            ids = ", ".join(run.run_id for run in group.runs if str(run.seed) in twice)
            yield f"'{group.name}' has seed {', '.join(twice)} more than once ({ids}); name the runs to be compared"


def _common(group: Group) -> Mapping[str, Any]:
    return group.runs[0].spec


def _cost(runs: Sequence[Run]) -> dict[str, float]:
    found = {name: [run.cost[name] for run in runs if name in run.cost] for name in COSTS}
    return {name: statistics.fmean(values) for name, values in found.items() if values}


def _differences(
    groups: Sequence[Group], first: Group, metric: str, correction: Correction, queries: bool
) -> dict[str, Against]:
    others = [group for group in groups if group is not first]
    base = [run.metric(metric) for run in first.runs]
    shares = by_identity(first.runs, metric)
    found: dict[str, tuple[stats.Interval, Against]] = {}
    for group in others:
        values = [run.metric(metric) for run in group.runs]
        pairs = group.seeds == first.seeds
        interval = stats.paired(values, base) if pairs else stats.welch(values, base)
        own = by_identity(group.runs, metric) if shares is not None else None
        wide, trained = (np.nan, np.nan), (np.nan, np.nan, np.nan)
        if shares is not None and own is not None and own[1] == shares[1]:
            if pairs:
                crossed = stats.crossed(own[0] - shares[0])
                wide = (float(crossed.low), float(crossed.high))
            if queries:
                means = own[0].mean(axis=0) - shares[0].mean(axis=0)
                trained = (stats.randomisation(means), *stats.bootstrap(means))
        low, high, p = float(interval.low), float(interval.high), float(interval.p)
        effect = float(stats.effect(values, base))
        against = Against(float(interval.mean), low, high, p, p, effect, pairs, wide, trained)
        found[group.name] = interval, against
    ps = np.array([against.p for _, against in found.values()])
    adjusted = _ADJUST[correction](ps)
    return {
        name: Against(**{**vars(against), "adjusted": float(value)})
        for (name, (_, against)), value in zip(found.items(), adjusted, strict=True)
    }


_ADJUST: Mapping[Correction, Callable[[stats.Array], stats.Array]] = {
    "holm": stats.holm,
    "bh": stats.benjamini_hochberg,
    "none": lambda ps: ps,
}


_SURROUNDINGS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "devices": lambda environment: environment.get("device"),
    "versions of torch": lambda environment: environment.get("packages", {}).get("torch"),
}
"""What may move a metric a little, and a training time a lot, without making another run."""


def _notes(runs: Sequence[Run]) -> Iterator[str]:
    """What the runs were measured with, and inputs that differ without deciding what is measured."""
    spec = runs[0].spec
    data = ", ".join(f"{name} {digest[:12]}" for name, digest in runs[0].digests.items())
    version = runs[0].metrics_version
    yield f"protocol {shown(spec.get('eval.protocol'))}; data {data}; metrics version {shown(version)}"
    commits = sorted({str(run.environment.get("commit", "unknown"))[:12] for run in runs})
    if len(commits) > 1:
        yield f"computed with different code: commits {', '.join(commits)}"
    for what, of in _SURROUNDINGS.items():
        found = sorted({str(of(run.environment)) for run in runs} - {"None"})
        if len(found) > 1:
            yield f"computed with different {what}: {', '.join(found)}"
    if any(run.spec.get("eval.select_on") == "test" for run in runs):
        yield "† selected on TEST: the best of several looks at test, no estimate of anything new"
    fitted = sorted({str(run.spec.get("train.fit_on", "train")) for run in runs} - {"train"})
    if fitted:
        yield f"‡ fitted on {', '.join(fitted)}"


def _seeds(groups: Sequence[Group], compared: bool) -> Iterator[str]:
    single = [group.name for group in groups if len(group.runs) == 1]
    if single:
        whose = "" if len(single) == len(groups) else f" ({', '.join(single)})"
        yield f"a single seed: nothing can be concluded about new training seeds{whose}"
    if compared and any(group.seeds != groups[0].seeds for group in groups):
        yield "where seeds do not pair with the baseline's, the interval is Welch's"


def _same(lines: Sequence[Line]) -> Iterator[str]:
    """Differences that are the same in every seed, as metrics of few queries may be."""
    if all(len(line.group.runs) > 1 for line in lines if not line.against):
        found = [
            f"{metric} of {line.group.name}"
            for line in lines
            if len(line.group.runs) > 1
            for metric, one in line.against.items()
            if math.isnan(one.low)
        ]
        if found:
            yield f"the same difference in every seed: nothing can be concluded ({', '.join(found)})"


def _power(lines: Sequence[Line], metrics: Sequence[str]) -> Iterator[str]:
    """What seeds of this number can show, from the deviation of the paired differences of all groups together."""
    base = next((line for line in lines if not line.against), lines[0])
    paired = [line for line in lines if line.against and next(iter(line.against.values())).pairs]
    n = len(base.group.runs)
    if not paired or n < 2:
        return
    told = []
    for metric in metrics:
        gaps = [np.subtract(line.values[metric], base.values[metric]) for line in paired]
        deviation = float(np.sqrt(np.mean([gap.var(ddof=1) for gap in gaps])))
        least, likely = stats.detectable(deviation, n)
        told.append(f"{least:.2f} {metric} cannot be shown (one of {likely:.2f} is, 4 times in 5)")
    yield f"with {n} seeds a difference under {'; under '.join(told)}"
