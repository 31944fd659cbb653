"""`reid-lab list`: what there is to choose from, and the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, Runs
from reid_lab.cli.output import table

app = typer.Typer(help="List what there is.", rich_markup_mode=None)


@app.command()
def architectures(
    name: Annotated[str | None, typer.Argument(help="All knobs of this one.", show_default=False)] = None,
) -> None:
    """The registered architectures and their knobs.

    Without NAME, the knobs that a study can search.
    """
    from reid_lab.architectures import ARCHITECTURES
    from reid_lab.errors import UserError, unknown
    from reid_lab.spec.knobs import knobs

    if name is not None and name not in ARCHITECTURES:
        raise UserError(unknown("architecture", name, ARCHITECTURES))
    chosen = ARCHITECTURES if name is None else {name: ARCHITECTURES[name]}
    table(("name", "title", "paper", "code"), ((key, e.title, e.paper, e.code) for key, e in chosen.items()))
    found = [(key, knob) for key, entry in chosen.items() for knob in knobs(entry.load().spec.model_validate({}))]
    typer.echo()
    if name is None:
        searched = ((f"{key}: {k.path}", k.default, k.searched) for key, k in found if k.searched)
        table(("knob", "default", "searched"), searched)
    else:
        table(
            ("knob", "default", "searched", "allowed"), ((k.path, k.default, k.searched, k.allowed) for _, k in found)
        )


@app.command()
def datasets() -> None:
    """The data sets that can be read."""
    from reid_lab.data import DATASETS

    table(("name", "protocol", ""), ((name, entry.protocol, entry.doc) for name, entry in DATASETS.items()))


@app.command()
def protocols() -> None:
    """The evaluation protocols."""
    from reid_lab.data.protocols import PROTOCOLS

    table(("name", ""), ((name, protocol.doc) for name, protocol in PROTOCOLS.items()))


@app.command()
def experiments(
    folder: Annotated[Path, typer.Argument(help="Where the experiment files lie.")] = Path("experiments"),
) -> None:
    """The experiment files here."""
    from reid_lab.catalogue import outlines
    from reid_lab.errors import UserError

    found = outlines(folder)
    if not found:
        raise UserError(f"no experiment files in {folder}; `reid-lab list experiments FOLDER` looks elsewhere")
    rows = ((str(o.path), o.architecture, o.dataset, f"broken: {o.fault}" if o.fault else o.description) for o in found)
    table(("file", "architecture", "data", "description"), rows)


@app.command()
def figures() -> None:
    """The kinds of figures that `figure` draws."""
    from reid_lab.looking import kinds

    table(
        ("name", "shows", "needs"),
        (
            (name, kind.what, kind.needs + (" (loads the weights)" if kind.weights else ""))
            for name, kind in kinds().items()
        ),
    )
    typer.echo()
    options = ((name, option, what) for name, kind in kinds().items() for option, what in kind.options.items())
    table(("name", "--with", ""), options)


@app.command("runs")
def list_runs(runs: Runs = RUNS) -> None:
    """The runs here, the latest first."""
    from reid_lab.report.listing import RUN_COLUMNS, run_rows

    table(RUN_COLUMNS, run_rows(runs))
