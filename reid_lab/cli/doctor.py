"""The command that says what is installed."""

from __future__ import annotations

from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, Runs

app = typer.Typer()


@app.command()
def doctor(
    smoke: Annotated[bool, typer.Option(help="Also train and test for a few seconds.")] = True, runs: Runs = RUNS
) -> None:
    """Say what is installed and whether it works."""
    from reid_lab.doctor import examine

    checks = []
    for check in examine(runs, smoke):
        typer.echo(str(check))
        checks.append(check)
    if any(check.failed for check in checks):
        raise typer.Exit(1)
