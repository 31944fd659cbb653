"""Commands over finished runs: compare them, and check a table that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, Runs, words

app = typer.Typer(rich_markup_mode=None)


@app.command()
def compare(
    selection: Annotated[
        list[str],
        typer.Argument(help="Study files, experiments, runs, or filters such as data=synthetic.", show_default=False),
    ] = [],  # noqa: B006 - typer copies it
    baseline: Annotated[
        str | None, typer.Option(help="The group that others are compared with; else the first.", show_default=False)
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="mAP,R1", help="By default R1 to mINP of test.", show_default=False)
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="arm|architecture|…", help="What groups runs; PATHs of the spec, too.", show_default=False
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="table|markdown|latex|csv|html", help="Else as --out ends.", show_default=False
        ),
    ] = None,
    correction: Annotated[str, typer.Option(metavar="holm|bh|none", help="For several groups.")] = "holm",
    queries: Annotated[bool, typer.Option("--queries", help="Also test these trained models over queries.")] = False,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="A column with a tick for each component of the study.")
    ] = False,
    transfer: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Data sets: trained on each, tested on each.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file, with what it was made from.", show_default=False)
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also draw every figure that the selection can give, here.", show_default=False
        ),
    ] = None,
    log: Annotated[bool, typer.Option(help="Log the figures to MLflow, too.")] = True,
    runs: Runs = RUNS,
) -> None:
    """Compare groups of finished runs.

    Means over seeds, differences from a baseline with intervals, effect sizes, adjusted p-values, cost.
    """
    from reid_lab.errors import UserError
    from reid_lab.report import document

    if not selection and transfer is None:
        raise UserError(
            "what is to be compared? name studies, experiments, runs or filters (see reid-lab compare --help)"
        )
    recipe = document.chosen(
        selection,
        runs,
        baseline=baseline,
        metrics=words(metrics),
        by=words(by),
        form=form,
        out=out,
        correction=correction,
        queries=queries,
        ablation=ablation,
        transfer=words(transfer),
    )
    if out is not None:
        document.write(recipe, out)
        typer.echo(f"wrote {out}; `reid-lab verify {out}` checks it against the runs")
    else:
        typer.echo(document.body(recipe) if recipe.form == "table" else document.document(recipe), nl=False)
    if figures is not None:
        from reid_lab.cli.figures import draw_all

        given = {"metrics": words(metrics), "by": words(by), "transfer": words(transfer)}
        draw_all(selection, runs, figures, baseline=baseline, log=log, **given)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A table that `compare --out` wrote, or a text with several.")],
    runs: Runs = RUNS,
) -> None:
    """Recompute every number of a written table from the runs.

    Each cell that does not match is named.
    """
    from reid_lab.errors import UserError
    from reid_lab.report.verify import verified

    checked, faults = verified(file, runs)
    if faults:
        raise UserError(*faults)
    typer.echo(f"{file}: {checked}")
