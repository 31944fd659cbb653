"""A table as it is written: chosen, computed, rendered, with its manifest."""

from __future__ import annotations

import importlib.metadata
import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final, get_args

from reid_lab.errors import Fault, RunError, UserError, unknown
from reid_lab.report import manifest, table
from reid_lab.report.comparison import Comparison, Correction, compare
from reid_lab.report.groups import Group
from reid_lab.report.latex import latex
from reid_lab.report.reading import Run, full_name, read_run
from reid_lab.report.selection import select
from reid_lab.report.table import Grid, grid
from reid_lab.report.transfer import filters, matrix
from reid_lab.tracking.provenance import source
from reid_lab.tracking.runs import RunFolder, write_atomic

FORMATS = {**table.FORMATS, "latex": latex}
ENDINGS = {".txt": "table", ".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html", ".htm": "html"}


@final
@dataclass(frozen=True)
class Recipe:
    """What decides a table: the groups, what is computed of them, and how it is shown.

    told: what the selection left out. transfer: the data sets of a matrix of sources and targets.
    """

    groups: tuple[Group, ...]
    metrics: tuple[str, ...]
    baseline: str | None
    correction: Correction
    queries: bool
    ablation: bool
    form: str
    told: tuple[str, ...] = ()
    transfer: tuple[str, ...] = ()

    def compared(self) -> tuple[Comparison, Grid]:
        """The numbers, and the grid of them; of a transfer, the grid alone."""
        if self.transfer:
            found, made = matrix(self.groups, self.transfer, self.metrics)
            return found, Grid(made.columns, made.rows, (*made.notes, *self.told))
        found = compare(
            self.groups,
            metrics=self.metrics,
            baseline=self.baseline,
            correction=self.correction,
            queries=self.queries,
        )
        made = grid(found, ablation=self.ablation, differs=self.form != "latex")
        told = (*made.notes, *self.told)
        if self.form == "latex":
            told += tuple(f"{line.group.name}: {', '.join(line.differs)}" for line in found.lines if line.differs)
        return found, Grid(made.columns, made.rows, told)

    def plain(self) -> dict[str, Any]:
        """The recipe as it stands in a manifest, without the runs."""
        return {
            "format": self.form,
            "metrics": list(self.metrics),
            "baseline": self.baseline,
            "correction": self.correction,
            "queries": self.queries,
            "ablation": self.ablation,
            "told": list(self.told),
            "transfer": list(self.transfer),
        }


def chosen(
    words: Sequence[str],
    runs: Path,
    *,
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    by: Sequence[str] = (),
    form: str | None = None,
    out: Path | None = None,
    correction: str = "holm",
    queries: bool = False,
    ablation: bool = False,
    transfer: Sequence[str] = (),
) -> Recipe:
    """The recipe of a selection. form: of `FORMATS`; by default as `out` ends, else `table`.

    Raises `UserError` for names that are not known, and for a selection of nothing.
    """
    faults = []
    if form is not None and form not in FORMATS:
        faults.append(unknown("format", form, FORMATS))
    if form is None and out is not None and out.suffix not in ENDINGS:
        faults.append(_formless(out))
    if correction not in get_args(Correction):
        faults.append(unknown("correction", correction, get_args(Correction)))
    if faults:
        raise UserError(*faults)
    if transfer and (baseline is not None or by or queries or ablation):
        raise UserError("--transfer has sources and targets; --baseline, --by, --queries and --ablation are of others")
    groups, told = select((*words, *filters(transfer)), runs, by=tuple(by))
    shown = form or ("table" if out is None else ENDINGS[out.suffix])
    kind = cast(Correction, correction)
    names = tuple(transfer)
    return Recipe(tuple(groups), tuple(metrics), baseline, kind, queries, ablation, shown, tuple(told), names)


def form_of(path: Path) -> str:
    """The format of a file that ends so. Raises `UserError` where there is none."""
    if path.suffix not in ENDINGS:
        raise UserError(_formless(path))
    return ENDINGS[path.suffix]


def _formless(path: Path) -> str:
    return f"--out {path}: a file that ends so has no format here; allowed: {', '.join(ENDINGS)}, or --format"


def body(recipe: Recipe) -> str:
    """The table without its manifest."""
    return FORMATS[recipe.form](recipe.compared()[1])


def document(recipe: Recipe, command: str | None = None) -> str:
    """The table with its manifest. command: that made it; by default that of this process."""
    comparison, made = recipe.compared()
    facts = _facts(recipe, comparison, made, command)
    return manifest.framed(FORMATS[recipe.form](made), facts, recipe.form)


def write(recipe: Recipe, path: Path, command: str | None = None) -> None:
    """Writes the table with its manifest, whole or not at all. Raises `UserError` where that cannot be.

    command: that made it; by default that of this process.
    """
    text = document(recipe, command)
    try:
        write_atomic(path, text)
    except OSError as error:
        raise UserError(Fault(f"cannot be written: {(error.strerror or str(error)).lower()}", str(path))) from None


def _facts(recipe: Recipe, comparison: Comparison, made: Grid, command: str | None) -> dict[str, Any]:
    about = origin(recipe.groups, lambda run: {full_name(m): run.metric(m) for m in comparison.metrics}, command)
    return {**about, "table": recipe.plain(), "cells": cells(made)}


def origin(
    groups: Sequence[Group], metrics: Callable[[Run], Mapping[str, float]], command: str | None = None
) -> dict[str, Any]:
    """What every manifest tells: command (by default that of this process), code, groups, runs and their metrics."""
    code = source()
    return {
        "version": manifest.VERSION,
        "command": command or shlex.join(["reid-lab", *sys.argv[1:]]),
        "code": {
            "reid-lab": importlib.metadata.version("reid-lab"),
            "commit": code.get("commit", ""),
            "changed": bool(code.get("diff")),
        },
        "metrics_version": groups[0].runs[0].metrics_version,
        "groups": [
            {
                "name": group.name,
                "levels": dict(group.levels),
                "runs": [
                    {"run": run.run_id, "identity": run.identity, "seed": run.seed, "metrics": dict(metrics(run))}
                    for run in group.runs
                ],
            }
            for group in groups
        ],
    }


def cells(made: Grid) -> dict[str, dict[str, list[float | None]]]:
    """Row -> column -> values in full precision."""
    return {
        row[0].text: {
            column.alone or column.title: [value if math.isfinite(value) else None for value in cell.values]
            for column, cell in zip(made.columns, row, strict=True)
            if cell.values
        }
        for row in made.rows
    }


def recipe_of(facts: Mapping[str, Any], runs: Path) -> Recipe:
    """The recipe that a manifest tells, its runs read anew. Raises `UserError` with every run that is gone."""
    groups = groups_of(facts, runs)
    how = facts["table"]
    return Recipe(
        groups,
        tuple(how["metrics"]),
        how["baseline"],
        how["correction"],
        how["queries"],
        how["ablation"],
        how["format"],
        tuple(how["told"]),
        tuple(how.get("transfer", ())),
    )


def groups_of(facts: Mapping[str, Any], runs: Path) -> tuple[Group, ...]:
    """The groups that a manifest tells, their runs read anew. Raises `UserError` with every run that is gone."""
    groups, faults = [], list[Fault]()
    for told in facts["groups"]:
        found = []
        for one in told["runs"]:
            folder = RunFolder(runs / str(one["run"]))
            if folder.journal.is_file():
                found.append(read_run(folder))
            else:
                faults.append(Fault(f"no run '{one['run']}', which '{told['name']}' was made from", str(runs)))
        groups.append(Group(told["name"], tuple(found), told["levels"]))
    if faults:
        raise RunError(*faults)
    return tuple(groups)
