"""Commands of an experiment file: run it, show it resolved, and the schema of all of them."""

from __future__ import annotations

from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, Device, File, Runs, Sets

app = typer.Typer()


@app.command()
def run(
    file: File,
    sets: Sets = [],  # noqa: B006 - typer copies it
    seed: Annotated[int | None, typer.Option(min=0, help="Override the seed.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Only go on with a run; never begin one.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin another attempt; nothing is deleted.")] = False,
    device: Device = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Two real steps; print time, memory and disk.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Train and test an experiment, or go on with it.

    The same command goes on after an interruption, and prints a finished run.
    """
    from reid_lab.catalogue import load_spec
    from reid_lab.errors import UserError

    if resume and fresh:
        raise UserError("--resume goes on with a run and --fresh begins another; give one of them")
    loaded = load_spec(file, sets, seed, device)
    from reid_lab import console, experiment, rehearsal

    if dry_run:
        rehearsal.dry_run(loaded, runs)
    else:
        experiment.run(loaded, runs=runs, fresh=fresh, resume=resume, console=console.stdout())


@app.command()
def show(file: File, sets: Sets = []) -> None:  # noqa: B006
    """Print the resolved spec and its origins."""
    from reid_lab.catalogue import load_spec
    from reid_lab.spec.show import resolved_yaml

    typer.echo(resolved_yaml(load_spec(file, sets)), nl=False)


@app.command()
def schema(
    study: Annotated[bool, typer.Option("--study", help="Of study files.")] = False,
) -> None:
    """Print the JSON Schema of experiment files."""
    import json

    from reid_lab.catalogue import registries
    from reid_lab.spec.schema import json_schema, study_schema

    typer.echo(json.dumps(study_schema() if study else json_schema(registries()), indent=1))
