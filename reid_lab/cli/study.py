"""Commands of a study: list them, drive one, ask how it stands, stop it, look at it with Optuna's dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reid_lab.cli.options import RUNS, Runs, Sets
from reid_lab.cli.output import table


class Studies(TyperGroup):
    """`study FILE` drives; the other commands are named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the command in that a bare FILE leaves out."""
        if args and args[0] not in (*self.commands, "--help", "--runs") and not args[0].startswith("--folder"):
            args = ["drive", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=Studies, invoke_without_command=True, rich_markup_mode=None)
StudyFile = Annotated[Path, typer.Argument(help="A study file.", show_default=False)]


@app.callback()
def studies(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where the study files lie.")] = Path("studies"),
    runs: Runs = RUNS,
) -> None:
    """Tune and ablate as a study file plans it.

    `reid-lab study FILE` goes on with it; alone, `study` lists the study files here and how they stand.

    `reid-lab study drive --help` shows the options of FILE.
    """
    if ctx.invoked_subcommand is not None:
        return
    from reid_lab.errors import UserError
    from reid_lab.study.listing import COLUMNS, study_rows

    found = list(study_rows(folder, runs))
    if not found:
        raise UserError(f"no study files in {folder}; `reid-lab study --folder FOLDER` looks elsewhere")
    table(COLUMNS, found)


@app.command(hidden=True)
def drive(
    file: StudyFile,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Complete or pruned trials of each arm.", show_default=False)
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="0,1,2", help="Seeds of the reported runs.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at a time, on Ray; by default as the file says.", show_default=False),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Trials that are asked for at a time; by default the workers.", show_default=False),
    ] = None,
    gpus_per_trial: Annotated[
        float, typer.Option(min=0, help="GPUs of each trial: a share, or several, with a rank of torchrun on each.")
    ] = 0.0,
    ranks: Annotated[
        int | None, typer.Option(min=1, help="Ranks of torchrun that compute a trial.", show_default=False)
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="auto|HOST:PORT", help="An existing Ray cluster.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The plan: cells, what they change, cost.")] = False,
    sets: Sets = [],  # noqa: B006 - typer copies it
    runs: Runs = RUNS,
) -> None:
    """Compute what is missing of a study.

    The same command goes on after an interruption; runs that exist are not computed again.
    """
    from reid_lab.errors import Interrupted
    from reid_lab.study.load import load_study

    study = load_study(file, sets)
    chosen = None if seeds is None else _seeds(seeds)
    from reid_lab.study import executors, status
    from reid_lab.study.driver import Driver
    from reid_lab.study.planned import dry_lines
    from reid_lab.study.view import view

    if dry_run:
        head, rows, told = dry_lines(study, runs, trials=trials, seeds=chosen)
        table(head, rows)
        for line in told:
            typer.echo(line)
        return
    executor = executors.choose(
        runs,
        workers=workers or study.spec.workers,
        batch=batch,
        gpus=gpus_per_trial,
        ranks=ranks,
        cluster=cluster,
    )
    try:
        driver = Driver(study, runs, executor=executor, view=view(), trials=trials, seeds=chosen)
        state = driver.drive()
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing is lost, the same command goes on") from None
    finally:
        executor.close()
    table(status.COLUMNS, status.rows(state))
    for line in status.lines(state, driven=False):
        typer.echo(line)
    if any(arm["stopped"] for arm in state["arms"]):
        raise typer.Exit(1)


@app.command("status")
def show_status(file: StudyFile, runs: Runs = RUNS) -> None:
    """How a study stands."""
    from reid_lab.errors import UserError
    from reid_lab.study import status
    from reid_lab.study.book import Book
    from reid_lab.study.listing import study_name

    book = Book.of(runs, study_name(file))
    state = book.read()
    if not state:
        raise UserError(f"{file}: this study was never begun in {runs}; `reid-lab study {file}` begins it")
    table(status.COLUMNS, status.rows(state))
    for line in status.lines(state, driven=book.driven):
        typer.echo(line)


@app.command()
def stop(file: StudyFile, runs: Runs = RUNS) -> None:
    """Let the running trials finish, then end; everything is kept."""
    from reid_lab.errors import UserError
    from reid_lab.study.book import Book
    from reid_lab.study.listing import study_name

    book = Book.of(runs, study_name(file))
    if not book.driven:
        raise UserError(f"{file}: no process drives this study in {runs}")
    book.stop()
    typer.echo("asked to stop; the running trials finish first")


@app.command()
def dashboard(
    file: StudyFile,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the server.")] = 8080,
    runs: Runs = RUNS,
) -> None:
    """Look at the trials with optuna-dashboard (extra `dashboard`)."""
    from reid_lab.study.book import Book
    from reid_lab.study.listing import study_name, study_storage
    from reid_lab.study.search import serve_dashboard

    serve_dashboard(study_storage(file) or Book.of(runs, study_name(file)).folder / "trials", port)


def _seeds(text: str) -> tuple[int, ...]:
    """The seeds of `--seeds 0,1,2`."""
    from reid_lab.errors import UserError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise UserError(f"--seeds: expected different whole numbers such as 0,1,2, got '{text}'")
    return tuple(int(part) for part in parts)
