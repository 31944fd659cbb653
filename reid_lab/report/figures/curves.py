"""Curves: CMC over ranks; val metrics, losses and diagnostics over training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from reid_lab.errors import UserError, nearest
from reid_lab.report import stats
from reid_lab.report.comparison import check_alike
from reid_lab.report.figures.kind import Asked, Lacking
from reid_lab.report.figures.style import Drawn, captioned, legend, look, sheet, styled
from reid_lab.report.figures.words import about, band, mean_of, seeds
from reid_lab.report.groups import Group
from reid_lab.report.queries import cmc as rates_of
from reid_lab.report.reading import Run
from reid_lab.report.series import KINDS, Series, series

DECOUPLING = ("cos_raw", "cos_projected", "cos_matched", "hsic", "adversary_accuracy")
"""Diagnostics of disentanglement that are shown unless others are named, as `architectures` call them."""

Row = dict[str, object]


def cmc(asked: Asked) -> Drawn:
    """Cumulative matching characteristics: rank k -> queries whose person is among the first k, percent."""
    last, task = asked.number("ranks", 20), asked.options.get("task", "")
    comparison = asked.compared()
    ranks = list(range(1, last + 1))
    rows: list[Row] = []
    with styled():
        figure, (axes,) = sheet()
        for place, group in enumerate(asked.groups):
            rates = np.array([_rates(run, ranks, task) for run in group.runs])  # (seeds, ranks)
            interval = mean_of(rates.T)
            axes.plot(ranks, interval.mean, **look(place), label=group.name)
            if len(group.runs) > 1:
                shade = np.clip(interval.low, 0, 100), np.clip(interval.high, 0, 100)
                axes.fill_between(ranks, *shade, color=look(place)["color"], alpha=0.18, linewidth=0)
            rows += _with_seeds(group, ranks, rates, interval)
        ticks = [1, *range(5, last + 1, 5 * -(-last // 50))]
        axes.set(xlabel="rank k", ylabel="matching rate, %", xlim=(0.5, last + 0.5), xticks=ticks)
        legend(axes, place="lower right")
        of = f" of task {task}" if task else ""
        caption = captioned(
            figure,
            f"CMC{of} on test: queries that find their person among the first k. {band(asked.groups)}",
            about(asked, comparison),
        )
    return Drawn("cmc", figure, rows, caption)


def _rates(run: Run, ranks: Sequence[int], task: str) -> Any:
    found = rates_of(run, ranks, task)
    if found is None:
        of = f" of task '{task}'" if task else ""
        kept = "holds no queries that explain its R1" + of
        raise Lacking(f"cmc needs per-query results; {run.run_id} {kept} (results/test.npz)")
    return found


def _with_seeds(group: Group, ranks: Sequence[int], rates: Any, interval: stats.Interval) -> Iterator[Row]:
    for k, rank in enumerate(ranks):
        for run, own in zip(group.runs, rates, strict=True):
            yield {"group": group.name, "seed": run.seed, "rank": rank, "value": own[k], "low": None, "high": None}
        bounds = {"low": interval.low[k], "high": interval.high[k]}
        yield {"group": group.name, "seed": "mean", "rank": rank, "value": interval.mean[k], **bounds}


def learning(asked: Asked) -> Drawn:
    """Val metrics and losses against the epoch: the mean over seeds, and each seed thin."""
    wanted = tuple(_series_name(metric) for metric in asked.metrics) or ("val/mAP", "loss/total")
    found = _recorded(asked.groups, wanted)
    there = [name for name in wanted if any(name in one.values for one in found.values())]
    missing = [name for name in wanted if name not in there]
    if not there or (missing and asked.metrics):
        raise _unknown("learning", missing or list(wanted), found, named=bool(asked.metrics))
    return _over_time("learning", "Learning curves", asked, there, found)


def decoupling(asked: Asked) -> Drawn:
    """Diagnostics of disentanglement against the epoch, averaged within it, a line for each arm."""
    wanted = tuple(f"diag/{metric.removeprefix('diag/')}" for metric in asked.metrics or DECOUPLING)
    found = _recorded(asked.groups, wanted)
    there = [name for name in wanted if any(name in one.values for one in found.values())]
    missing = [name for name in wanted if name not in there]
    if not there or (missing and asked.metrics):
        raise _unknown("decoupling", missing or list(wanted), found, named=bool(asked.metrics))
    averaged = {
        run_id: Series({name: _by_epoch(steps, one.epoch) for name, steps in one.values.items()}, one.names, one.epoch)
        for run_id, one in found.items()
    }
    return _over_time("decoupling", "Diagnostics, each the mean of an epoch's records", asked, there, averaged)


def _series_name(metric: str) -> str:
    kind = metric.partition("/")[0]
    if kind == "test":
        raise UserError(f"learning: '{metric}' is measured once; a curve is drawn of {', '.join(KINDS)}")
    return metric if kind in KINDS else f"val/{metric}"


def _recorded(groups: Sequence[Group], names: Sequence[str]) -> dict[str, Series]:
    return {run.run_id: series(run, names) for group in groups for run in group.runs}


def _unknown(kind: str, missing: Sequence[str], found: Mapping[str, Series], *, named: bool) -> Lacking:
    known = dict.fromkeys(name for one in found.values() for name in one.names)
    near = next(filter(None, (nearest(name, known) for name in missing)), None)
    hint = f"; did you mean '{near}'?" if near and named else ""
    of = "diag" if kind == "decoupling" else ""
    there = ", ".join([name for name in known if name.startswith(of)][:12]) or "none"
    return Lacking(f"{kind} needs {', '.join(missing)}, which no run recorded{hint}; recorded: {there}")


def _by_epoch(steps: Mapping[int, float], epoch: float | None) -> Mapping[int, float]:
    """Means of the records of each epoch, at the step in its middle; as recorded where epochs are not known."""
    if epoch is None:
        return steps
    parts: dict[int, list[float]] = {}
    for step, value in steps.items():
        parts.setdefault(int(step // epoch), []).append(value)
    return {round((k + 0.5) * epoch): float(np.mean(values)) for k, values in parts.items()}


def _over_time(name: str, title: str, asked: Asked, names: Sequence[str], found: Mapping[str, Series]) -> Drawn:
    """A panel for each name. The mean is drawn where every seed has a value."""
    check_alike(asked.groups)
    rows: list[Row] = []
    in_epochs = all(one.epoch is not None for one in found.values())
    with styled():
        columns = min(len(names), 2 if len(names) in (2, 4) else 3)
        lines = -(-len(names) // columns)
        figure, panels = sheet(lines, columns, width=max(5.2, 3.3 * columns), height=2.9 * lines + 0.7)
        for axes, metric in zip(panels, names, strict=False):
            for place, group in enumerate(asked.groups):
                rows += _draw_group(axes, place, group, metric, found, in_epochs=in_epochs)
            axes.set(xlabel="epoch" if in_epochs else "step", ylabel=_label(metric))
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        legend(*panels, above=True)
        gaps = sum(row["value"] != row["value"] for row in rows)
        holes = f" {gaps} values are NaN and leave gaps." if gaps else ""
        left = [
            f"{group.name} ({_label(metric)})"
            for metric in names
            for group in asked.groups
            if not _whole(group, metric, found)
        ]
        holes += f" Not recorded by every seed, hence not drawn: {', '.join(left)}." if left else ""
        how = "Thick: the mean where every seed has a value; thin: each."
        if all(len(group.runs) == 1 for group in asked.groups):
            how = "A single seed: nothing can be concluded about new ones."
        caption = captioned(figure, f"{title}; {seeds(asked.groups)}. {how}{holes}", about(asked, None))
    return Drawn(name, figure, rows, caption)


def _draw_group(
    axes: Axes, place: int, group: Group, metric: str, found: Mapping[str, Series], *, in_epochs: bool
) -> Iterator[Row]:
    of_seeds = {run.run_id: found[run.run_id].values.get(metric, {}) for run in group.runs}
    epochs = {run.run_id: found[run.run_id].epoch or 1.0 for run in group.runs}
    if not _whole(group, metric, found):  # an arm without this part has no such diagnostic
        return
    style = look(place)
    several = len(group.runs) > 1
    thin = {**style, "marker": "", "linewidth": 0.7, "alpha": 0.45} if several else {**style, "label": group.name}
    for run in group.runs:
        steps, scale = of_seeds[run.run_id], epochs[run.run_id] if in_epochs else 1.0
        axes.plot([step / scale for step in steps], list(steps.values()), **_light(thin, len(steps)))
        for step, value in steps.items():
            yield _row(metric, group, run.seed, step, epochs[run.run_id] if in_epochs else None, value)
    if not several:
        return
    shared = sorted(set.intersection(*(set(steps) for steps in of_seeds.values())))
    mean = [float(np.mean([steps[step] for steps in of_seeds.values()])) for step in shared]
    scale = epochs[group.runs[0].run_id] if in_epochs else 1.0
    axes.plot([s / scale for s in shared], mean, **_light(style, len(shared)), label=group.name)
    for step, value in zip(shared, mean, strict=True):
        yield _row(metric, group, "mean", step, scale if in_epochs else None, value)


def _whole(group: Group, metric: str, found: Mapping[str, Series]) -> bool:
    """Whether every seed of a group recorded a curve."""
    return all(found[run.run_id].values.get(metric) for run in group.runs)


def _light(style: Mapping[str, Any], points: int) -> dict[str, Any]:
    """Without marks where they would hide the line."""
    return {**style, "marker": style["marker"] if points <= 15 else "", "markersize": 3.5}


def _row(metric: str, group: Group, seed: object, step: int, epoch: float | None, value: float) -> Row:
    at = None if epoch is None else step / epoch
    return {"metric": metric, "group": group.name, "seed": seed, "step": step, "epoch": at, "value": value}


def _label(name: str) -> str:
    kind, _, rest = name.partition("/")
    return (
        f"{rest} on val, %" if kind == "val" else rest.replace("_", " ") if kind == "diag" else name.replace("/", " ")
    )
