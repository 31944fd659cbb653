"""The command that tells what a model is made of."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, Device, Runs, Sets

app = typer.Typer()


class Form(StrEnum):
    """How an inspection is told."""

    table = "table"
    json = "json"
    mermaid = "mermaid"


@app.command()
def inspect(
    target: Annotated[str, typer.Argument(help="An experiment file, a run, or a checkpoint.", show_default=False)],
    form: Annotated[Form, typer.Option("--format", help="How it is told.")] = Form.table,
    identities: Annotated[
        int | None, typer.Option(min=1, help="Leave the data alone: so many people.", show_default=False)
    ] = None,
    depth: Annotated[int, typer.Option(min=0, help="How deep the table of modules goes.")] = 3,
    sets: Sets = [],  # noqa: B006
    device: Device = None,
    runs: Runs = RUNS,
) -> None:
    """Tell what a model is made of, and check it.

    Modules, operations, groups, one step. Exit code 1 when a check fails.
    """
    import json

    from reid_lab.errors import UserError
    from reid_lab.inspecting import inspect as look
    from reid_lab.inspecting.show import mermaid, table

    found = look(target, runs, sets=sets, identities=identities, device=device)
    if form is Form.mermaid and found["kind"] == "weights":
        raise UserError("a file of weights has no graph; give an experiment file or a run")
    if form is Form.json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        typer.echo(mermaid(found) if form is Form.mermaid else table(found, depth))
    if not all(check["passed"] for check in found["checks"]):
        raise typer.Exit(1)
