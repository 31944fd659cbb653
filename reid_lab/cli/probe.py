"""Commands that look into finished runs: what embeddings hold, and where a test failed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, Device, RunName, Runs, Sets, words
from reid_lab.cli.output import note, table

app = typer.Typer()


class Form(StrEnum):
    """How a result is told."""

    table = "table"
    json = "json"
    csv = "csv"


class Part(StrEnum):
    """Whose people are probed."""

    train = "train"
    val = "val"
    test = "test"


Out = Annotated[Path | None, typer.Option(help="Write here (.json or .csv), not into the run.", show_default=False)]
Told = Annotated[Form, typer.Option("--format", help="How it is printed.")]


@app.command()
def probe(
    run: RunName,
    split: Annotated[Part, typer.Option(help="Whose people are probed; a look at test is recorded.")] = Part.val,
    attributes: Annotated[
        str | None, typer.Option(metavar="A,B", help="What is read; else the usual ones.", show_default=False)
    ] = None,
    embeddings: Annotated[
        str | None, typer.Option(metavar="A,B", help="From what; else from all.", show_default=False)
    ] = None,
    people: Annotated[int, typer.Option(min=10, help="At most so many people.")] = 500,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, permutations and resamples.")] = 0,
    images: Annotated[int, typer.Option(min=1, help="Of each person that are changed.")] = 2,
    form: Told = Form.table,
    out: Out = None,
    sets: Sets = [],  # noqa: B006
    device: Device = None,
    runs: Runs = RUNS,
) -> None:
    """Read clothes, body, camera and identity from a run's embeddings.

    Linear probes across people, and how far embeddings move when one thing is changed.
    """
    from reid_lab.probing.keeping import as_json
    from reid_lab.probing.run import FILE, Asked, probe_run
    from reid_lab.probing.show import csv_of, tables

    asked = Asked(
        split=split.value,
        people=people,
        folds=folds,
        seed=seed,
        images=images,
        attributes=words(attributes),
        embeddings=words(embeddings),
    )
    found = probe_run(run, runs, asked, sets=sets, device=device, out=out, say=lambda line: typer.echo(line, err=True))
    for line in found["notes"]:
        note(line)
    if form is Form.json:
        typer.echo(as_json(found))
    elif form is Form.csv:
        typer.echo(csv_of(found), nl=False)
    else:
        typer.echo(f"{found['name']}, seed {found['seed']} ({found['run']}), people of {split.value}")
        for shown in tables(found):
            typer.echo(f"\n{shown.title}")
            table(shown.head, shown.rows)
        typer.echo(f"\nwrote {out or runs / found['run'] / FILE}")


@app.command()
def slices(
    run: RunName,
    other: Annotated[str | None, typer.Argument(help="A run to compare with.", show_default=False)] = None,
    by: Annotated[
        str | None, typer.Option(metavar="A,B", help="Slicings; else all but camera pairs.", show_default=False)
    ] = None,
    metric: Annotated[str, typer.Option(metavar="mAP|R1|R5|mINP", help="What gets an interval.")] = "mAP",
    seed: Annotated[int, typer.Option(min=0, help="Of resamples.")] = 0,
    form: Told = Form.table,
    out: Out = None,
    device: Device = None,
    runs: Runs = RUNS,
) -> None:
    """Show where a test failed: metrics of slices of its queries.

    With OTHER, the difference of two runs on each slice, query by query. `--by "camera pair"` embeds the test again.
    """
    from reid_lab.probing.failures import AGAINST, FILE, csv_of, head_and_rows, slices_run
    from reid_lab.probing.keeping import as_json

    found = slices_run(
        run,
        runs,
        other,
        by=words(by),
        metric=metric,
        seed=seed,
        device=device,
        out=out,
        say=lambda line: typer.echo(line, err=True),
    )
    for line in found["notes"]:
        note(line)
    if form is Form.json:
        typer.echo(as_json(found))
    elif form is Form.csv:
        typer.echo(csv_of(found), nl=False)
    else:
        typer.echo(f"{' less '.join(found['names'])}; {found['claim']}")
        table(*head_and_rows(found))
        if found["overlapping"]:
            typer.echo(f"slices overlap: {', '.join(found['overlapping'])}")
        place = FILE if found["other"] is None else AGAINST.format(found["other"])
        typer.echo(f"wrote {out or runs / found['run'] / place}")
