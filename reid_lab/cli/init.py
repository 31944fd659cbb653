"""`reid-lab init`: a folder of runs with MLflow's settings and the descriptions of the experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reid_lab.cli.output import table

app = typer.Typer()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)],
) -> None:
    """Make a folder of runs with settings for MLflow."""
    from reid_lab.tracking.template import copy_workspace

    names = copy_workspace(folder)
    table(("file",), ((str(folder / name),) for name in names))
    typer.echo(f"\n{folder / 'README.md'} explains them; runs go there with --runs {folder} or REID_LAB_RUNS={folder}")
