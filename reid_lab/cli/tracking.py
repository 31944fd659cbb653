"""Commands of the MLflow store: send what it lacks, serve its UI."""

from __future__ import annotations

from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, Runs
from reid_lab.cli.output import table

app = typer.Typer()


@app.command()
def sync(
    names: Annotated[list[str], typer.Argument(metavar="RUN", help="Run ids; all runs when none.")] = [],  # noqa: B006
    uri: Annotated[str | None, typer.Option(help="Another MLflow store.", show_default=False)] = None,
    full: Annotated[bool, typer.Option("--full", help="Send everything again; what is held is unchanged.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Send to MLflow what it does not hold yet."""
    from reid_lab.errors import RunError
    from reid_lab.tracking.mirror import sync as send

    sent = send(runs, names or None, uri, full=full)
    table(("run", "records"), ((s.run_id, str(s.records)) for s in sent if s.problem is None))
    problems = [f"{s.run_id}: {s.problem}" for s in sent if s.problem is not None]
    if problems:
        raise RunError(*problems)


@app.command()
def ui(
    names: Annotated[list[str], typer.Argument(metavar="RUN", help="Run ids to open or compare.")] = [],  # noqa: B006
    experiment: Annotated[str | None, typer.Option(help="Open this experiment.", show_default=False)] = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    uri: Annotated[str | None, typer.Option(help="Another MLflow store.", show_default=False)] = None,
    runs: Runs = RUNS,
) -> None:
    """Serve the MLflow UI here and print the link."""
    from reid_lab.tracking.ui import open_ui

    open_ui(runs, typer.echo, port=port, run_ids=names, experiment=experiment, uri=uri)
