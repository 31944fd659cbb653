"""Groups side by side: differences from a baseline, a metric against its cost, a metric against one knob."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reid_lab.errors import UserError, unknown
from reid_lab.report.comparison import CORRECTIONS, Comparison, Line
from reid_lab.report.figures.kind import Asked, Lacking
from reid_lab.report.figures.style import COLOURS, GREY, Drawn, captioned, legend, look, sheet, styled
from reid_lab.report.figures.words import about, band, label, mean_of
from reid_lab.report.groups import ABSENT, shown, value_of
from reid_lab.report.reading import COSTS

Row = dict[str, object]

UNITS: Mapping[str, tuple[str, float]] = {
    "seconds": ("time, minutes", 60.0),
    "parameters": ("parameters, millions", 1e6),
    "trainable": ("trained parameters, millions", 1e6),
    "peak_memory": ("peak memory, MiB", 2.0**20),
    "gflops_image": ("GFLOPs an image", 1.0),
    "gflops_caption": ("GFLOPs a caption", 1.0),
    "latency": ("latency, ms an embedding", 1e-3),
}
"""How an axis names each cost, and what it is divided by."""


def forest(asked: Asked) -> Drawn:
    """Differences from the baseline with their 95% t intervals, a panel for each metric."""
    if len(asked.groups) < 2:
        raise Lacking(f"forest needs two groups or more; the selection gives '{asked.groups[0].name}' alone")
    comparison = asked.compared()
    others = [line for line in comparison.lines if line.group.name != comparison.baseline]
    rows = [_difference(line, metric) for metric in comparison.metrics for line in others]
    count = len(comparison.metrics)
    with styled():
        widest = max(len(line.group.name) for line in others)
        figure, panels = sheet(1, count, width=1.2 + 0.06 * widest + 2.9 * count, height=1.3 + 0.32 * len(others))
        for axes, metric in zip(panels, comparison.metrics, strict=True):
            axes.axvline(0.0, color=GREY, linewidth=0.9)
            for place, line in enumerate(others):
                found = line.against[metric]
                known = math.isfinite(found.low)
                sure = known and found.adjusted <= 0.05
                colour = COLOURS[0] if sure else GREY
                if known:
                    axes.plot([found.low, found.high], [place, place], color=colour, solid_capstyle="butt")
                fill = colour if known else "white"
                axes.plot(found.difference, place, "o", color=colour, markerfacecolor=fill, markersize=5.5)
            names = [line.group.name for line in others] if axes is panels[0] else []
            axes.set_yticks(range(len(others)), labels=names or [""] * len(others))
            axes.set(xlabel=f"Δ {label(metric).replace(', %', ', points')}", ylim=(len(others) - 0.4, -0.6))
            axes.grid(visible=False, axis="y")
        caption = captioned(figure, _claim(comparison, others), about(asked, comparison))
    return Drawn("forest", figure, rows, caption)


def _difference(line: Line, metric: str) -> Row:
    found = line.against[metric]
    return {
        "metric": metric,
        "group": line.group.name,
        "seeds": len(line.group.runs),
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "adjusted p": found.adjusted,
        "g": found.effect,
    }


def _claim(comparison: Comparison, others: Sequence[Line]) -> str:
    first = f"Differences from {comparison.baseline}."
    known = [math.isfinite(line.against[metric].low) for line in others for metric in comparison.metrics]
    if not any(known):
        return f"{first} A single seed: no interval; nothing can be concluded about new training seeds."
    one = "" if all(known) else " Hollow: a single seed, no interval, nothing can be concluded."
    how = CORRECTIONS[comparison.correction]
    kind = (
        "" if all(a.pairs for line in others for a in line.against.values()) else " (Welch's where seeds do not pair)"
    )
    return (
        f"{first} Bars: 95% t intervals{kind} for new training seeds on these test items, not adjusted; blue: p ≤ .05, "
        f"{how} over the groups of one metric.{one}"
    )


def cost(asked: Asked) -> Drawn:
    """A metric against each cost; on the Pareto front is what nothing else beats in one without losing in the other."""
    comparison = asked.compared(asked.metrics[:1])
    metric = comparison.metrics[-1]
    names = _costs(asked, comparison)
    rows: list[Row] = []
    with styled():
        columns = min(len(names), 2 if len(names) in (2, 4) else 3)
        lines = -(-len(names) // columns)
        figure, panels = sheet(lines, columns, width=max(5.2, 3.1 * columns), height=2.8 * lines + 0.8)
        for axes, name in zip(panels, names, strict=False):
            title, unit = UNITS[name]
            found = [_costed(line, name, metric) for line in comparison.lines]
            front = pareto([(row["cost"], row["mean"]) for row in found])
            for place, (row, best) in enumerate(zip(found, front, strict=True)):
                rows.append({**row, "pareto": best})
                style: dict[str, Any] = {**look(place), "linestyle": "none", "markersize": 7.0, "label": row["group"]}
                edge: dict[str, Any] = {
                    "markeredgecolor": "black" if best else "white",
                    "markeredgewidth": 1.1 if best else 0.5,
                }
                error = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]]
                if math.isfinite(row["low"]):
                    axes.errorbar(row["cost"] / unit, row["mean"], error, color=style["color"], linewidth=0.9, zorder=1)
                axes.plot(row["cost"] / unit, row["mean"], **style, **edge, zorder=3)
            steps = sorted((row["cost"] / unit, row["mean"]) for row, best in zip(found, front, strict=True) if best)
            axes.step(*zip(*steps, strict=True), where="post", color=GREY, linewidth=0.9, linestyle=":", zorder=0)
            axes.set(xlabel=title, ylabel=label(metric))
            axes.margins(x=0.12, y=0.12)
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        legend(*panels, above=True)
        front_told = "Black rim: Pareto front, no group costs less and retrieves better (of the means)."
        told = f"{label(metric).removesuffix(', %')} against cost. {front_told} {band(asked.groups, 'Bar')}"
        caption = captioned(figure, told, about(asked, comparison))
    return Drawn("cost", figure, rows, caption)


def _costs(asked: Asked, comparison: Comparison) -> list[str]:
    everywhere = [name for name in COSTS if all(name in line.cost for line in comparison.lines)]
    wanted = [name.strip() for name in asked.options.get("costs", "").split(",") if name.strip()]
    faults = [unknown("cost", name, COSTS) for name in wanted if name not in COSTS]
    if faults:
        raise UserError(*faults)
    missing = [name for name in wanted if name not in everywhere]
    if missing or not everywhere:
        who = [line.group.name for line in comparison.lines if any(name not in line.cost for name in missing or COSTS)]
        what = ", ".join(missing) or "a cost that all groups recorded"
        raise Lacking(f"cost needs {what}; not recorded by {', '.join(who)}")
    if wanted:
        return wanted
    same = [
        n for n in everywhere if n == "trainable" and all(x.cost[n] == x.cost["parameters"] for x in comparison.lines)
    ]
    return [name for name in everywhere if name not in same]


def _costed(line: Line, name: str, metric: str) -> dict[str, Any]:
    interval = mean_of(line.values[metric])
    return {
        "group": line.group.name,
        "seeds": len(line.group.runs),
        "cost name": name,
        "cost": line.cost[name],
        "metric": metric,
        "mean": float(interval.mean),
        "low": float(interval.low),
        "high": float(interval.high),
    }


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of (cost, gain) pairs: whether no other costs as little and gains as much, and is better in one of both."""
    return [not any(c <= cost and g >= gain and (c < cost or g > gain) for c, g in points) for cost, gain in points]


def sensitivity(asked: Asked) -> Drawn:
    """Metrics against the one field of the spec in which the groups differ."""
    path = _swept(asked)
    comparison = asked.compared()
    values = [value_of(group.runs[0], path) for group in asked.groups]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    order = sorted(range(len(values)), key=lambda k: values[k]) if numeric else list(range(len(values)))
    at = [float(values[k]) for k in order] if numeric else [float(k) for k in range(len(order))]
    rows: list[Row] = []
    with styled():
        figure, (axes,) = sheet(width=5.4)
        for place, metric in enumerate(comparison.metrics):
            found = [mean_of(comparison.lines[k].values[metric]) for k in order]
            mean, low, high = (np.array([float(getattr(f, n)) for f in found]) for n in ("mean", "low", "high"))
            style = look(place)
            dotted = {**style, "linestyle": style["linestyle"] if numeric else "none"}
            axes.plot(at, mean, **dotted, label=label(metric))
            if numeric:
                axes.fill_between(at, low, high, color=style["color"], alpha=0.18, linewidth=0)
            else:
                axes.vlines(at, low, high, color=style["color"], linewidth=1.0)
            for k, m, lower, upper in zip(order, mean, low, high, strict=True):
                line = comparison.lines[k]
                about_it = {"field": path, "value": values[k], "group": line.group.name, "seeds": len(line.group.runs)}
                rows.append({**about_it, "metric": metric, "mean": m, "low": lower, "high": upper})
        axes.margins(x=0.05 if numeric else 0.2)
        if numeric and min(at) > 0 and max(at) / min(at) >= 8:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(at, labels=[shown(values[k]) for k in order])
        several = len(comparison.metrics) > 1
        axes.set(xlabel=path, ylabel="%" if several else label(comparison.metrics[0]))
        legend(axes)
        told = f"Sensitivity to {path}. {band(asked.groups, 'Band' if numeric else 'Bar')}"
        caption = captioned(figure, told, about(asked, comparison))
    return Drawn("sensitivity", figure, rows, caption)


def _swept(asked: Asked) -> str:
    """The one path in which the groups' specs differ."""
    specs = [group.runs[0].spec for group in asked.groups]
    paths = {path for spec in specs for path in spec}
    differ = sorted(p for p in paths if len({shown(spec.get(p, ABSENT)) for spec in specs}) > 1)
    # A slot that is filled in some groups brings its fields along; the slot is what differs.
    heads = [path for path in differ if not any(path.startswith(f"{other}.") for other in differ)]
    if len(heads) == 1:
        return heads[0]
    told = f"in {len(heads)}: {', '.join(heads[:6])}{', …' if len(heads) > 6 else ''}" if heads else "in none"
    raise Lacking(f"sensitivity needs groups that differ in one field of the spec; these differ {told}")
