"""`reid-lab gc`: make room."""

from __future__ import annotations

from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, Runs
from reid_lab.cli.output import table

app = typer.Typer()


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; delete nothing.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Delete weights that nobody needs.

    Trials of studies that are not the best of their arm lose their weights, finished runs the optimiser's state.
    """
    from reid_lab.errors import RunError
    from reid_lab.study.retention import collect, sweep

    done = [(going, "") for going in sweep(runs)] if dry_run else list(collect(runs))
    gone = [going for going, problem in done if not problem]
    table(("run", "MiB", "files", "why"), ((g.folder.run_id, _mib(g.size), " ".join(g.files), g.why) for g in gone))
    typer.echo(f"{_mib(sum(going.size for going in gone))} MiB {'would be' if dry_run else 'were'} freed")
    problems = [problem for _, problem in done if problem]
    if problems:
        raise RunError(*problems)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"
