"""The trials of tuning studies: across all knobs at once, and against each knob alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from reid_lab.report.figures.kind import Asked, Lacking
from reid_lab.report.figures.style import COLOURS, GREY, SEQUENTIAL, Drawn, captioned, sheet, styled
from reid_lab.report.figures.words import label
from reid_lab.report.groups import Group, shown
from reid_lab.report.reading import full_name
from reid_lab.report.trials import Trial, knobs, trial_of, tried

Row = dict[str, object]
DISCRETE = 6
"""Up to so many different whole numbers stand evenly spaced, as choices do."""


@final
@dataclass(frozen=True)
class _Knob:
    """One axis: where each tried value stands in [0, 1], and its ticks."""

    path: str
    at: dict[str, float]
    ticks: tuple[tuple[float, str], ...]

    @classmethod
    def of(cls, path: str, values: Sequence[Any]) -> _Knob:
        """Numbers stand where they are, on a log scale if they span much; few numbers and choices evenly spaced."""
        names = {shown(value): value for value in values}
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        whole = numbers and all(isinstance(v, int) for v in values)
        if not numbers or (whole and len(names) <= DISCRETE):
            order = sorted(names, key=(lambda n: (0, names[n], n)) if numbers else (lambda n: (0, 0, n)))
            spaced = {name: k / max(1, len(order) - 1) if len(order) > 1 else 0.5 for k, name in enumerate(order)}
            return cls(path, spaced, tuple((place, name) for name, place in spaced.items()))
        low, high = min(values), max(values)
        bend = math.log if low > 0 and high / low >= 4 else float
        first, last = bend(low), bend(high)
        at = {name: (bend(value) - first) / (last - first) for name, value in names.items()}
        middle = math.exp((first + last) / 2) if bend is math.log else (first + last) / 2
        return cls(path, at, ((0.0, _rounded(low)), (0.5, _rounded(middle)), (1.0, _rounded(high))))


def parallel(asked: Asked) -> Drawn:
    """A line for each trial across its knobs and its score, a panel for each arm."""
    metric, arms = _arms(asked, "parallel")
    rows = [row for group, found in arms for row in _rows(group, found, metric)]
    with styled():
        widest = max(len(knobs(group.runs)) for group, _ in arms)
        figure, panels = sheet(len(arms), 1, width=max(5.2, 1.15 * (widest + 1) + 1.2), height=0.5 + 3.0 * len(arms))
        for axes, (group, found) in zip(panels, arms, strict=True):
            _lines(axes, group, found, metric)
            if len(arms) > 1:
                axes.set_title(group.name)
        caption = captioned(figure, *_told(asked, metric, arms, "A line is a trial", "grey and dashed"))
    return Drawn("parallel", figure, rows, caption)


def slices(asked: Asked) -> Drawn:
    """Scores against each knob, a row of panels for each arm."""
    metric, arms = _arms(asked, "slices")
    rows = [row for group, found in arms for row in _rows(group, found, metric)]
    most = max(len(knobs(group.runs)) for group, _ in arms)
    columns = min(most, 4)
    with styled():
        lines = [-(-len(knobs(group.runs)) // columns) for group, _ in arms]
        figure, panels = sheet(sum(lines), columns, width=max(4.2, 2.1 * columns), height=2.0 * sum(lines) + 0.6)
        first = 0
        for (group, found), height in zip(arms, lines, strict=True):
            own = panels[first * columns : (first + height) * columns]
            first += height
            _scatter(own, group, found, metric, columns, title=group.name if len(arms) > 1 else "")
        caption = captioned(figure, *_told(asked, metric, arms, "A mark is a trial, darker the later", "hollow"))
    return Drawn("slices", figure, rows, caption)


def _arms(asked: Asked, kind: str) -> tuple[str, list[tuple[Group, list[Trial]]]]:
    """The objective, and of each arm the trials that have it. NaN is left out; the caption says so."""
    metric = full_name(asked.metrics[0]) if asked.metrics else "val/mAP"
    arms = []
    for group in asked.groups:
        of_runs = [trial for trial in map(trial_of, group.runs) if trial is not None]
        found = [trial for trial in of_runs if math.isfinite(trial.run.metrics.get(metric, math.nan))]
        if found:
            arms.append((Group(group.name, tuple(trial.run for trial in found)), found))
    if not arms:
        known = sorted({name for run in asked.members for name in run.metrics if name.count("/") == 1})
        raise Lacking(f"{kind} needs trials with {metric}; they recorded {', '.join(known) or 'none'}")
    alone = [group.name for group, _ in arms if not knobs(group.runs)]
    if alone:
        raise Lacking(f"{kind} needs trials that differ in a knob; those of {', '.join(alone)} are alike")
    return metric, arms


def _rows(group: Group, found: Sequence[Trial], metric: str) -> list[Row]:
    return [
        {
            "arm": group.name,
            "trial": trial.number,
            "pruned": trial.pruned,
            "score": trial.run.metrics[metric],
            "knob": knob,
            "value": tried(trial.run, knob),
        }
        for trial in found
        for knob in knobs(group.runs)
    ]


def _told(
    asked: Asked, metric: str, arms: Sequence[tuple[Group, list[Trial]]], what: str, pruned: str
) -> tuple[str, ...]:
    found = [trial for _, one in arms for trial in one]
    cut = sum(trial.pruned for trial in found)
    lost = len(asked.members) - len(found)
    return (
        f"{what}; {len(found)} trials of {', '.join(dict.fromkeys(trial.study for trial in found))}"
        + (f", {cut} of them pruned ({pruned}; their best until then)." if cut else "."),
        f"{label(metric)} at the selected step; vermillion: the best. One training seed a trial: a ranking of trials,",
        "no evidence for a knob.",
        f"{lost} trials without a finite {metric} are left out." if lost else "",
        *(f"{note[:1].upper()}{note[1:]}." for note in asked.told),
    )


def _best(found: Sequence[Trial], metric: str) -> Trial:
    done = [trial for trial in found if not trial.pruned] or list(found)
    return max(done, key=lambda trial: trial.run.metrics[metric])


def _lines(axes: Axes, group: Group, found: Sequence[Trial], metric: str) -> None:
    paths = knobs(group.runs)
    scales = [_Knob.of(path, [tried(trial.run, path) for trial in found]) for path in paths]
    scores = [trial.run.metrics[metric] for trial in found]
    score = Normalize(min(scores), max(scores) if max(scores) > min(scores) else min(scores) + 1.0)
    best = _best(found, metric)
    for trial in sorted(found, key=lambda one: (one is best, not one.pruned, one.run.metrics[metric])):
        value = trial.run.metrics[metric]
        heights = [scale.at[shown(tried(trial.run, scale.path))] for scale in scales]
        colour = matplotlib.colormaps[SEQUENTIAL](score(value))
        style: dict[str, Any] = {"color": GREY, "linestyle": (0, (4, 2)), "linewidth": 0.8}
        if not trial.pruned:
            style = {"color": COLOURS[1] if trial is best else colour, "linewidth": 2.2 if trial is best else 1.3}
        axes.plot(range(len(scales) + 1), [*heights, score(value)], **style)
    last = _Knob("", {}, ((0.0, f"{score.vmin:.1f}"), (1.0, f"{score.vmax:.1f}")))
    for place, scale in enumerate([*scales, last]):
        axes.axvline(place, color="black", linewidth=0.8)
        for height, name in scale.ticks:
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
            axes.annotate(name, (place, height), (4, 0), textcoords="offset points", va="center", fontsize=7, bbox=box)
    axes.set_xticks(range(len(scales) + 1), labels=[*_short(paths), label(metric)])
    axes.set(yticks=[], xlim=(-0.15, len(scales) + 0.45), ylim=(-0.06, 1.06))
    axes.tick_params(axis="x", length=0, pad=6)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    figure = axes.figure
    figure.colorbar(ScalarMappable(score, SEQUENTIAL), ax=axes, label=label(metric), pad=0.01, aspect=30)


def _scatter(
    panels: Sequence[Axes], group: Group, found: Sequence[Trial], metric: str, columns: int, *, title: str
) -> None:
    best = _best(found, metric)
    last = max(trial.number for trial in found) or 1
    paths = knobs(group.runs)
    for place, (axes, path, name) in enumerate(zip(panels, paths, _short(paths), strict=False)):
        scale = _Knob.of(path, [tried(trial.run, path) for trial in found])
        for trial in found:
            shade = matplotlib.colormaps["Blues"](0.3 + 0.7 * trial.number / last)
            fill = "none" if trial.pruned else shade
            at = scale.at[shown(tried(trial.run, path))], trial.run.metrics[metric]
            axes.plot(*at, "o", markerfacecolor=fill, markeredgecolor=GREY if trial.pruned else shade, markersize=5)
        at = scale.at[shown(tried(best.run, path))], best.run.metrics[metric]
        axes.plot(*at, "o", color=COLOURS[1], markersize=7, zorder=4)
        axes.set_xticks([tick for tick, _ in scale.ticks], labels=[name for _, name in scale.ticks])
        axes.set(xlabel=name, xlim=(-0.1, 1.1), ylabel=label(metric) if place % columns == 0 else "")
    panels[0].set_title(title, loc="left")
    for axes in panels[len(paths) :]:
        axes.set_axis_off()


def _rounded(value: float) -> str:
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if 0 < abs(value) < 0.001 else f"{value:.3g}"


def _short(paths: Sequence[str]) -> list[str]:
    """The shortest ends of paths that tell them apart, a dot a line."""
    found = []
    for path in paths:
        parts = path.split(".")
        ends = (".".join(parts[-k:]) for k in range(1, len(parts) + 1))
        end = next(e for e in ends if sum(p == e or p.endswith(f".{e}") for p in paths) == 1)
        found.append(end if "." in end or len(parts) == 1 else f"{parts[-2]}.{end}")
    return [name.replace(".", ".\n", 1) if len(name) > 12 else name for name in found]
