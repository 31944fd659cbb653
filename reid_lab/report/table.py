"""A comparison as a grid of cells, and the grid as plain text, Markdown, CSV or HTML: the same numbers everywhere."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from reid_lab.errors import UserError
from reid_lab.report.comparison import CORRECTIONS, Comparison, Line


@final
@dataclass(frozen=True)
class Cell:
    """What stands in a cell: `shape` with the `parts` put in; `values` are the parts in full precision.

    style: `best`, `second` or `weak` (a difference that is not significant), for formats that can show it.
    """

    parts: tuple[str, ...] = ()
    shape: str = "{}"
    values: tuple[float, ...] = ()
    style: str = ""

    @property
    def text(self) -> str:
        """The cell as text; empty without parts."""
        return self.shape.format(*self.parts) if self.parts else ""


@final
@dataclass(frozen=True)
class Column:
    """A column: its title, what its cells' parts are called, whether they are numbers, and its title standing alone."""

    title: str
    parts: tuple[str, ...] = ()
    numeric: bool = True
    alone: str = ""


@final
@dataclass(frozen=True)
class Grid:
    """Columns, rows of cells, and the sentences below them. The first cell of a row is its name."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]


EMPTY = Cell()
TICKS = {"on": "✓", "off": "–"}
"""How the levels of a component are shown; other levels are named."""


def number(value: float, digits: int = 2) -> str:
    """A rounded number, never `-0.00`."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def probability(value: float) -> str:
    """A p-value with three digits."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def grid(comparison: Comparison, *, ablation: bool = False, differs: bool = True) -> Grid:
    """The table of a comparison; columns in which nothing stands are left out.

    ablation: as papers print it: a column for each component, metrics and differences, the seeds below the table.
    differs: with what the specs differ in.
    Raises `UserError` for an ablation of groups without components.
    """
    columns: list[tuple[Column, Callable[[Line], Cell]]] = [(Column("group", numeric=False), _name)]
    if ablation:
        columns += [(Column(name, numeric=False), _level(name)) for name in components(comparison)]
    else:
        columns.append((Column("seeds"), _count))
    for metric in comparison.metrics:
        columns += [
            (Column(metric, ("mean", "deviation")), _measured(comparison, metric)),
            (Column(f"Δ {metric} [95%]", ("difference", "low", "high"), alone=f"Δ {metric}"), _difference(metric)),
        ]
        if not ablation:
            columns.append((Column("g", alone=f"g {metric}"), _of(metric, lambda a: a.effect, number)))
        columns += [
            (Column("p", alone=f"p {metric}"), _of(metric, lambda a: a.adjusted, probability)),
            (Column(f"{metric}, these trained models only", ("p", "low", "high")), _trained(metric)),
        ]
    if not ablation:
        columns += [(column, _cost(name, of)) for name, (column, of) in _COSTS.items()]
    if differs and not ablation:
        columns.append((Column("differs", numeric=False), _differs))
    cells = [[cell(line) for line in comparison.lines] for _, cell in columns]
    kept = [k for k, column in enumerate(cells) if any(cell.parts for cell in column)]
    rows = tuple(tuple(cells[k][row] for k in kept) for row in range(len(comparison.lines)))
    told = (*_of_ablation(comparison), *notes(comparison, short=True)) if ablation else notes(comparison)
    return Grid(tuple(columns[k][0] for k in kept), rows, told)


def components(comparison: Comparison) -> tuple[str, ...]:
    """The components of a study's arms. Raises `UserError` where there are none."""
    names = tuple(dict.fromkeys(name for line in comparison.lines for name in line.group.levels))
    if not names:
        raise UserError("--ablation: these groups have no components; it needs the arms of a study that lists some")
    return names


def _of_ablation(comparison: Comparison) -> Iterable[str]:
    seeds = {line.group.name: ", ".join(map(str, line.group.seeds)) for line in comparison.lines}
    alike = len(set(seeds.values())) == 1
    yield f"seeds {next(iter(seeds.values()))}" if alike else "; ".join(f"{k}: seeds {v}" for k, v in seeds.items())


def _level(name: str) -> Callable[[Line], Cell]:
    def cell(line: Line) -> Cell:
        level = line.group.levels.get(name, "")
        return Cell((TICKS.get(level, level),)) if level else EMPTY

    return cell


def _count(line: Line) -> Cell:
    n = len(line.group.runs)
    return Cell((str(n),), values=(float(n),))


def notes(comparison: Comparison, *, short: bool = False) -> tuple[str, ...]:
    """The sentences below a table: what its numbers mean, and what they do not. short: of one without g."""
    told = list(comparison.notes)
    if len(comparison.lines) > 1:
        known = any(not math.isnan(one.low) for line in comparison.lines for one in line.against.values())
        how = "with the 95% t interval for new training seeds on these test items"
        if not short:
            how += "; g: in deviations among seeds (Hedges 1981)"
        how += f"; p: {CORRECTIONS[comparison.correction]} over the groups of one metric"
        told.insert(0, f"Δ: from {comparison.baseline}, {how if known else 'without an interval'}")
    told += _wider(comparison)
    if any(not math.isnan(one.trained[0]) for line in comparison.lines for one in line.against.values()):
        told.append(
            "these trained models only: randomisation test (p, not adjusted) and bootstrap over queries, a person's "
            "together, weights held fixed; no claim about a training that is repeated"
        )
    return tuple(told)


def _wider(comparison: Comparison) -> Iterable[str]:
    """Where the choice of test people matters: a claim about other people is wider by a tenth or more."""
    for metric in comparison.metrics:
        found = []
        for line in comparison.lines:
            if not line.against:
                continue
            one = line.against[metric]
            low, high = one.wide
            if math.isnan(low) or high - low < 1.1 * (one.high - one.low):
                continue
            found.append(f"{line.group.name} [{number(low)}, {number(high)}]")
        if found:
            yield f"Δ {metric} with 95% for new seeds and other people, too (Clark 1973): {', '.join(found)}"


def _name(line: Line) -> Cell:
    marks = "".join(line.marks)
    return Cell((f"{line.group.name} {marks}" if marks else line.group.name,))


def _measured(comparison: Comparison, metric: str) -> Callable[[Line], Cell]:
    ranked = sorted({number(line.mean(metric)) for line in comparison.lines}, key=float, reverse=True)
    styles = dict(zip(ranked, ("best", "second"), strict=False)) if len(ranked) > 1 else {}

    def cell(line: Line) -> Cell:
        mean, deviation = line.mean(metric), line.deviation(metric)
        style = styles.get(number(mean), "")
        if math.isnan(deviation):
            return Cell((number(mean),), values=(mean,), style=style)
        return Cell((number(mean), number(deviation)), "{} ± {}", (mean, deviation), style)

    return cell


def _difference(metric: str) -> Callable[[Line], Cell]:
    def cell(line: Line) -> Cell:
        if not line.against:
            return EMPTY
        one = line.against[metric]
        told = number(one.difference)
        if math.isnan(one.low):
            return Cell((told,), values=(one.difference,), style="weak")
        values = (one.difference, one.low, one.high)
        style = "" if one.adjusted < 0.05 else "weak"
        return Cell((told, number(one.low), number(one.high)), "{} [{}, {}]", values, style)

    return cell


def _of(metric: str, of: Callable[..., float], show: Callable[[float], str]) -> Callable[[Line], Cell]:
    def cell(line: Line) -> Cell:
        if not line.against:
            return EMPTY
        value = of(line.against[metric])
        return EMPTY if math.isnan(value) else Cell((show(value),), values=(value,))

    return cell


def _trained(metric: str) -> Callable[[Line], Cell]:
    def cell(line: Line) -> Cell:
        if not line.against or math.isnan(line.against[metric].trained[0]):
            return EMPTY
        p, low, high = line.against[metric].trained
        return Cell((probability(p), number(low), number(high)), "p {}, [{}, {}]", (p, low, high))

    return cell


_COSTS: Mapping[str, tuple[Column, Callable[[float], str]]] = {
    "seconds": (Column("time, s"), lambda v: number(v, 0)),
    "trainable": (Column("trained, M"), lambda v: number(v / 1e6)),
    "parameters": (Column("parameters, M"), lambda v: number(v / 1e6)),
    "peak_memory": (Column("memory, MiB"), lambda v: number(v / 2**20, 0)),
    "gflops_image": (Column("GFLOPs, image"), number),
    "gflops_caption": (Column("GFLOPs, caption"), number),
    "latency": (Column("latency, ms"), lambda v: number(1000 * v)),
}


def _cost(name: str, show: Callable[[float], str]) -> Callable[[Line], Cell]:
    def cell(line: Line) -> Cell:
        return Cell((show(line.cost[name]),), values=(line.cost[name],)) if name in line.cost else EMPTY

    return cell


def _differs(line: Line) -> Cell:
    return Cell((", ".join(line.differs),)) if line.differs else EMPTY


def plain(found: Grid) -> str:
    """Aligned columns, plain enough for `grep`."""
    lines = [tuple(column.title for column in found.columns), *(tuple(c.text for c in row) for row in found.rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(found.columns))]
    told = ["  ".join(f"{t:<{w}}" for t, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*told, *found.notes]) + "\n"


def markdown(found: Grid) -> str:
    """A table of GitHub's Markdown, the notes as a list below it."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    rule = [("---:" if column.numeric else "---") for column in found.columns]
    rows = [line([cell.text for cell in row]) for row in found.rows]
    told = [line([column.title for column in found.columns]), line(rule), *rows, ""]
    return "\n".join([*told, *(f"* {note}" for note in found.notes)]) + "\n"


def comma_separated(found: Grid) -> str:
    """One column for each number; the notes as comments below."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = []
    for column in found.columns:
        title = column.alone or column.title
        head += [f"{title} {part}" for part in column.parts] or [title]
    writer.writerow(head)
    for row in found.rows:
        cells: list[str] = []
        for column, cell in zip(found.columns, row, strict=True):
            width = max(1, len(column.parts))
            cells += [*cell.parts, *("" for _ in range(width - len(cell.parts)))]
        writer.writerow(cells)
    return out.getvalue() + "".join(f"# {note}\n" for note in found.notes)


def webpage(found: Grid) -> str:
    """An HTML table, the notes as a list below it."""
    head = "".join(f"<th>{html.escape(column.title)}</th>" for column in found.columns)
    rows = []
    for row in found.rows:
        cells = [
            f'<td class="number">{html.escape(cell.text)}</td>'
            if column.numeric
            else f"<td>{html.escape(cell.text)}</td>"
            for column, cell in zip(found.columns, row, strict=True)
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    told = "\n".join(f"<li>{html.escape(note)}</li>" for note in found.notes)
    body = "\n".join(rows)
    return f"<table>\n<thead>\n<tr>{head}</tr>\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n<ul>\n{told}\n</ul>\n"


FORMATS: Mapping[str, Callable[[Grid], str]] = {
    "table": plain,
    "markdown": markdown,
    "csv": comma_separated,
    "html": webpage,
}
