"""Functions that read what runs left, without torch: tables of runs, comparisons, studies, single queries."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from reid_lab.api.given import PathLike, folder, name_of, words
from reid_lab.errors import Fault, RunError

if TYPE_CHECKING:
    from pandas import DataFrame

    from reid_lab.report.document import Recipe


def runs(*selection: str, runs: PathLike | None = None) -> DataFrame:
    """Runs as a table, one a row.

    Args:
        *selection: as in `compare`: the finished runs that it would choose. Without any, all runs that are here, the
            latest first, finished or not.
        runs: the folder of runs; None: REID_LAB_RUNS, else `runs` here.

    Returns:
        Columns `run`, `experiment`, `architecture`, `data`, `seed`, `status`; metrics in percent (`test/mAP`,
        `val/mAP` at the selected step, …); costs (`seconds`, `parameters`, …); every path of the spec.

    Raises:
        UserError: no such folder, and every word that chooses nothing.
    """
    from reid_lab.report.frames import all_runs, runs_frame
    from reid_lab.report.selection import select

    place = folder(runs)
    if not selection:
        return runs_frame(all_runs(place))
    groups, _ = select(words(selection), place)
    return runs_frame(run for group in groups for run in group.runs)


def compare(
    *selection: str,
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    by: Sequence[str] = (),
    correction: str = "holm",
    queries: bool = False,
    ablation: bool = False,
    runs: PathLike | None = None,
) -> Comparison:
    """Compares groups of finished runs: `reid-lab compare`.

    Args:
        *selection: study files and names, experiments, runs, filters such as `"data=synthetic"`.
        baseline: the group that others are compared with; None: the first.
        metrics: such as `["mAP", "R1", "val/mAP"]`; by default those of test that all runs have.
        by: what groups runs: `arm`, `architecture`, `data`, `experiment`, dotted paths of the spec.
        correction: of p-values: `holm`, `bh` or `none`.
        queries: also compares these trained models over queries.
        ablation: a column for each component of a study.
        runs: the folder of runs.

    Raises:
        UserError: what cannot stand in one table, all of it.
    """
    from reid_lab.report import document

    recipe = document.chosen(
        words(selection),
        folder(runs),
        baseline=baseline,
        metrics=words(metrics),
        by=words(by),
        form="table",
        correction=correction,
        queries=queries,
        ablation=ablation,
    )
    asked = {
        "baseline": baseline,
        "metrics": metrics,
        "by": by,
        "correction": correction,
        "queries": queries,
        "ablation": ablation,
    }
    told = [*map(repr, selection), *(f"{name}={value!r}" for name, value in asked.items() if value)]
    return Comparison(recipe, f"reid_lab.compare({', '.join(told)})")


def queries(run: Any, *, runs: PathLike | None = None) -> DataFrame:
    """What each query of a run's test found, as it was recorded: no further look at test.

    Returns:
        A row for each task, draw of the gallery and query: `pid`, `image_id`, `ap`, `inp`, the rank of the `first_hit`
        (from 1), and whether it is `valid` (has a match in the gallery).

    Raises:
        UserError: no such run, or one that was not tested.
    """
    from reid_lab.report.frames import queries_frame
    from reid_lab.tracking.runs import find

    return queries_frame(find(folder(runs), name_of(run)))


@final
class Comparison:
    """A table of groups of runs, in any of its forms; all show the same numbers."""

    def __init__(self, recipe: Recipe, call: str) -> None:
        self._recipe, self._call = recipe, call
        recipe.compared()  # what cannot be compared is told here

    @functools.cached_property
    def frame(self) -> DataFrame:
        """A row for each group in full precision: `mAP`, `mAP deviation`, and of the difference from the baseline
        `mAP difference`, `mAP low`, `mAP high`, `mAP effect`, `mAP p`; costs; NaN where nothing can be said."""
        from reid_lab.report.frames import compared_frame

        return compared_frame(self._recipe.compared()[0])

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands below the table: what is claimed, what was left out."""
        return self._recipe.compared()[1].notes

    def table(self) -> str:
        """Aligned columns."""
        return self._as("table")

    def markdown(self) -> str:
        """A table of GitHub's Markdown."""
        return self._as("markdown")

    def latex(self) -> str:
        """A table of LaTeX, the best mean bold, the second underlined."""
        return self._as("latex")

    def html(self) -> str:
        """An HTML table."""
        return self._as("html")

    def csv(self) -> str:
        """A column for each number."""
        return self._as("csv")

    def write(self, path: PathLike) -> Path:
        """Writes the table, in the form that the file's ending asks for, with its manifest: `reid-lab verify` reads it.

        Raises `UserError` for an ending without a form, and where the file cannot be written.
        """
        from reid_lab.report.document import form_of, write

        file = Path(path)
        write(replace(self._recipe, form=form_of(file)), file, self._call)
        return file

    def _as(self, form: str) -> str:
        from reid_lab.report.document import body

        return body(replace(self._recipe, form=form))

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.html()


@final
class Study:
    """Where a study stands. state: as its `state.json` holds it."""

    def __init__(self, state: Mapping[str, Any], runs: Path) -> None:
        self.state, self._runs = state, runs

    @classmethod
    def of(cls, path: Path, runs: Path) -> Study:
        """The study of a file, or of this name. Raises `UserError` when it was never begun in these runs."""
        from reid_lab.report.selection import study_state

        state = study_state(str(path), runs)
        if state is None:
            raise RunError(Fault(f"no study of this name was begun in {runs}", str(path)))
        return cls(state, runs)

    @property
    def name(self) -> str:
        """The study's name, which selects its cells in `compare` and `runs`."""
        return str(self.state["study"])

    @functools.cached_property
    def frame(self) -> DataFrame:
        """A row for each arm: trials that are complete, pruned and failed, the best one with its score (a lucky one:
        it was chosen for being high), seeds that are measured, and their mean metrics."""
        from reid_lab.report.frames import arms_frame

        return arms_frame(self.state)

    @functools.cached_property
    def cells(self) -> DataFrame:
        """A row for each arm and seed that is measured: its run, its metrics, its time."""
        from reid_lab.report.frames import cells_frame

        return cells_frame(self.state)

    @functools.cached_property
    def trials(self) -> DataFrame:
        """A row for each trial that is complete or pruned: its run, its metrics of val, and the values that it tried.

        Raises `UserError` where there are none.
        """
        from reid_lab.report.frames import trials_frame

        frame = trials_frame(self.name, self._runs)
        order = [arm["name"] for arm in self.state["arms"]]
        return frame.sort_values(
            ["arm", "trial"], key=lambda column: column.map(order.index) if column.name == "arm" else column
        ).reset_index(drop=True)

    def compare(self, **options: Any) -> Comparison:
        """The arms compared, with the options of `compare`."""
        return compare(self.name, **{"runs": self._runs, **options})

    def __repr__(self) -> str:
        return f"study {self.name}\n{self.frame.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return str(self.frame.to_html(index=False))
