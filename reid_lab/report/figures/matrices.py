"""Matrices with a number in each cell: combinations of query modalities, sources and targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from reid_lab.data.omni import FOUR, ONE, QUERY_KINDS
from reid_lab.report.figures.kind import Asked, Lacking
from reid_lab.report.figures.style import SEQUENTIAL, Drawn, captioned, sheet, styled
from reid_lab.report.figures.words import about, label, mean_of, seeds
from reid_lab.report.groups import Group, value_of
from reid_lab.report.reading import full_name
from reid_lab.report.transfer import matrix as transferred

Cells = Mapping[tuple[str, str], float]
"""(row, column) -> value; a cell that is absent or NaN stays empty."""


def modalities(asked: Asked) -> Drawn:
    """The omni protocol's kinds of query by anchor (row) and what is added to it (column), a panel for each group."""
    metric = asked.metrics[0] if asked.metrics else "mAP"
    split, _, last = full_name(metric).partition("/")
    for run in asked.members:
        if f"{split}/{QUERY_KINDS[-1]}/{last}" not in run.metrics:
            raise Lacking(f"modalities needs the omni protocol; {run.run_id} has no {split}/{QUERY_KINDS[-1]}/{last}")
    comparison = asked.compared([full_name(metric)])
    columns = [*(f"+ {one}" for one in ONE), *(f"all but {one}" for one in ONE), "all"]
    rows: list[dict[str, object]] = []
    cells: dict[str, dict[tuple[str, str], float]] = {}
    for line in comparison.lines:
        own = cells.setdefault(line.group.name, {})
        for kind in QUERY_KINDS:
            values = [run.metric(f"{split}/{kind}/{last}") for run in line.group.runs]
            found = mean_of(values)
            own[_place(kind)] = float(found.mean)
            about_it = {"group": line.group.name, "query": kind, "anchor": _place(kind)[0], "column": _place(kind)[1]}
            rows.append({**about_it, "seeds": len(values), "mean": found.mean, "low": found.low, "high": found.high})
    with styled():
        known = [value for one in cells.values() for value in one.values()]
        count = len(asked.groups)
        figure, panels = sheet(count, 1, width=7.4, height=0.9 + 2.1 * count)
        for axes, group in zip(panels, asked.groups, strict=True):
            filled(axes, ONE, columns, cells[group.name], limits=(min(known), max(known)))
            _divided(axes)
            axes.set(ylabel="anchor", title=_title(group, count))
        told = (
            f"{label(metric)} by kind of query, means over {seeds(asked.groups)}. Left: the anchor alone (+ itself) "
            "and with one other modality; middle: three modalities; right: all four."
        )
        caption = captioned(figure, told, about(asked, comparison))
    return Drawn("modalities", figure, rows, caption)


def _place(kind: str) -> tuple[str, str]:
    """The row and column of a kind of query."""
    anchor, *others = kind.split("+")
    if kind in FOUR:
        return anchor, "all"
    if len(others) == 2:
        (missing,) = set(ONE) - {anchor, *others}
        return anchor, f"all but {missing}"
    return anchor, f"+ {others[0] if others else anchor}"


def _title(group: Group, count: int) -> str:
    return group.name if count > 1 else ""


def _divided(axes: Axes) -> None:
    for place in (len(ONE) - 0.5, 2 * len(ONE) - 0.5):
        axes.axvline(place, color="white", linewidth=5)


def transfer(asked: Asked) -> Drawn:
    """Sources × targets: a metric of runs that were trained on one data set and tested on others."""
    sets = [name.strip() for name in asked.options.get("sets", "").split(",") if name.strip()]
    names = sets or sorted({str(value_of(run, "data")) for run in asked.members})
    if len(names) < 2:
        raise Lacking(f"transfer needs runs of two data sets or more (or --with sets=A,B); here is {', '.join(names)}")
    metric = (*asked.metrics, "mAP")[0]
    _, grid = transferred(asked.groups, names, [metric])
    rows: list[dict[str, object]] = []
    cells: dict[tuple[str, str], float] = {}
    for line in grid.rows:
        for target, cell in zip(names, line[1:], strict=True):
            mean, deviation, count = (*cell.values, math.nan, len(cell.values))[:3] if cell.values else (math.nan,) * 3
            source = line[0].text
            cells[source, target] = mean
            found = {"mean": mean, "deviation": deviation, "seeds": None if math.isnan(count) else int(count)}
            rows.append({"trained on": source, "tested on": target, "metric": metric, **found})
    sources = list(dict.fromkeys(str(row["trained on"]) for row in rows))
    told = f"{label(metric)}, means over training seeds; white: not measured. On the diagonal the data of the training."
    note = " ".join(f"{one[:1].upper()}{one[1:]}." for one in asked.told)
    caption = f"{told} {note}".strip()
    figure = matrix(
        "transfer", sources, names, cells, caption=caption, row_label="trained on", column_label="tested on"
    )
    return Drawn("transfer", figure.figure, rows, caption)


def matrix(
    name: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Cells,
    *,
    caption: str,
    row_label: str = "",
    column_label: str = "",
    digits: int = 1,
) -> Drawn:
    """A matrix of values, such as sources × targets, a number in each cell.

    values: in percent, (row, column) -> value. The CSV has a line for each cell.
    """
    with styled():
        widest = max(map(len, (*rows, *columns)))
        width = max(4.0, 0.09 * max(map(len, rows)) + len(columns) * (0.35 + 0.07 * widest) + 1.2)
        figure, (axes,) = sheet(width=width, height=1.4 + 0.45 * len(rows))
        known = [value for value in values.values() if math.isfinite(value)] or [0.0]
        filled(axes, rows, columns, values, limits=(min(known), max(known)), digits=digits)
        axes.set(xlabel=column_label, ylabel=row_label)
        captioned(figure, caption)
    data = [{"row": r, "column": c, "value": values.get((r, c), math.nan)} for r in rows for c in columns]
    return Drawn(name, figure, data, caption)


def filled(
    axes: Axes,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Cells,
    *,
    limits: tuple[float, float],
    digits: int = 1,
) -> None:
    """Fills axes with coloured cells and their numbers; the same `limits` make panels comparable."""
    grid = np.array([[values.get((row, column), math.nan) for column in columns] for row in rows])
    low, high = limits if limits[1] > limits[0] else (limits[0] - 1.0, limits[1] + 1.0)
    axes.imshow(np.ma.masked_invalid(grid), cmap=SEQUENTIAL, vmin=low, vmax=high, aspect="auto")
    colours = matplotlib.colormaps[SEQUENTIAL]
    for row, line in enumerate(grid):
        for column, value in enumerate(line):
            if math.isfinite(value):
                red, green, blue, _ = colours((value - low) / (high - low))
                ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
                axes.text(column, row, f"{value:.{digits}f}", ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(columns)), labels=[name.replace("all but ", "all but\n") for name in columns])
    axes.set_yticks(range(len(rows)), labels=rows)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if max(map(len, columns)) > 12:
        axes.tick_params(axis="x", labelrotation=30)
        for text in axes.get_xticklabels():
            text.set_horizontalalignment("right")
            text.set_rotation_mode("anchor")
