"""Two groups query by query: where each wins, and by how much on the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_lab.errors import UserError, unknown
from reid_lab.report import stats
from reid_lab.report.figures.kind import Asked, Lacking
from reid_lab.report.figures.style import COLOURS, GREY, Drawn, captioned, sheet, styled
from reid_lab.report.figures.words import about, seeds
from reid_lab.report.groups import Group
from reid_lab.report.queries import Queries, per_query

VALUES = {"ap": "average precision, %", "rank": "rank of the first match"}
_EQUAL = 1e-9  # points of a mean over seeds that are rounding
Array = NDArray[np.float64]


def win_loss(asked: Asked) -> Drawn:
    """A point for each query: what the baseline found, and what the other group found, means over seeds."""
    if len(asked.groups) != 2:
        what = f"win_loss compares two groups; the selection gives {len(asked.groups)}"
        raise Lacking(f"{what}: {', '.join(group.name for group in asked.groups)}")
    value = asked.options.get("value", "ap")
    if value not in VALUES:
        raise UserError(f"--with value: {unknown('value', value, VALUES)}")
    comparison = asked.compared()
    lines = sorted((line.group for line in comparison.lines), key=lambda group: group.name != comparison.baseline)
    (x, queries), (y, others) = (_mean(group, value, asked.options.get("task", "")) for group in lines)
    names = lines[0].name, lines[1].name
    if not queries.same(others):
        what = "were asked other queries; the same test items, protocol and task are needed on both sides"
        raise Lacking(f"{names[0]} and {names[1]} {what}")
    better = y - x if value == "ap" else x - y
    won, lost = int((better > _EQUAL).sum()), int((better < -_EQUAL).sum())
    shares = stats.shares(y - x, queries.pids)
    low, high = stats.bootstrap(shares)
    p = stats.randomisation(shares)
    rows: list[dict[str, object]] = [
        {"pid": int(pid), "image_id": int(image), names[0]: a, names[1]: b, "difference": b - a}
        for pid, image, a, b in zip(queries.pids, queries.image_ids, x.tolist(), y.tolist(), strict=True)
    ]
    unit = "points" if value == "ap" else "ranks"
    with styled():
        figure, (axes,) = sheet(1, 1, width=4.8, height=5.1)
        _points(axes, x, y, better, logarithmic=value == "rank")
        axes.set(xlabel=f"{names[0]}: {VALUES[value]}", ylabel=f"{names[1]}: {VALUES[value]}")
        up = (0.03, 0.97, "left", "top"), (0.97, 0.03, "right", "bottom")
        for (left, bottom, ha, va), count, colour, name in zip(
            up if value == "ap" else up[::-1], (won, lost), COLOURS[:2], names[::-1], strict=True
        ):
            text = f"{name} better: {count}"
            plate = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85}
            at: dict[str, Any] = {"ha": ha, "va": va, "transform": axes.transAxes, "zorder": 4}
            axes.text(left, bottom, text, color=colour, fontsize=8, bbox=plate, **at)
        axes.set_title(f"mean difference {(y - x).mean():+.2f} {unit} [{low:+.2f}, {high:+.2f}]", loc="left")
        caption = captioned(
            figure,
            f"{len(x)} test queries of {len(shares)} people: {names[1]} is better in {won}, {names[0]} in {lost}, "
            f"{len(x) - won - lost} are equal ({seeds(lines)} each, averaged); larger points are several queries.",
            f"Mean difference {(y - x).mean():+.2f} {unit}, 95% bootstrap interval {low:+.2f} to {high:+.2f}, "
            f"randomisation p {p:.4f}, both over identities: these trained models only.",
            about(asked, comparison),
        )
    return Drawn("win_loss", figure, rows, caption)


def _mean(group: Group, value: str, task: str) -> tuple[Array, Queries]:
    """What the group's seeds found on the average, query by query. Raises `UserError`."""
    found = [per_query(run, task) for run in group.runs]
    first = found[0]
    if any(not first.same(other) for other in found[1:]):
        raise Lacking(f"the seeds of {group.name} were asked other queries")
    # A query without a match has no rank, and is none that both could be compared by.
    columns = [100 * one.ap if value == "ap" else np.where(one.first_hit > 0, one.first_hit, np.nan) for one in found]
    values = np.mean(columns, axis=0)
    if np.isnan(values).any():
        raise Lacking(f"{group.name}: {int(np.isnan(values).sum())} queries have no match, hence no rank; use value=ap")
    return values, first


def _points(axes: Any, x: Array, y: Array, better: Array, *, logarithmic: bool) -> None:
    """Equal points become one, its area their number."""
    places, count = np.unique(np.round(np.stack([x, y, np.sign(better)]), 6), axis=1, return_counts=True)
    for sign, colour, marker in ((0, GREY, "o"), (-1, COLOURS[1], "v"), (1, COLOURS[0], "^")):
        own = places[2] == sign
        axes.scatter(
            *places[:2, own],
            s=12 * np.sqrt(count[own]),
            color=colour,
            marker=marker,
            alpha=0.55,
            linewidths=0,
            zorder=3,
        )
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    room = 0.04 * (high - low or 1.0)
    span = (low / 1.2, high * 1.2) if logarithmic else (low - room, high + room)
    axes.plot(span, span, color=GREY, linewidth=0.9, zorder=2)
    scale = "log" if logarithmic else "linear"
    axes.set(xscale=scale, yscale=scale, xlim=span, ylim=span, aspect="equal")
