"""The command that computes a run again and proves that the same comes out."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, RunName, Runs

app = typer.Typer()


@app.command()
def replay(
    run: RunName,
    anyway: Annotated[bool, typer.Option("--anyway", help="Compute it although an input differs.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep what is computed, in replays/ below the runs.")] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="On a GPU: the relative difference that counts as the same.", show_default=False),
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Compute a finished run again and compare every result.

    Exit code 0: the same came out; 1: an input or a result differs, and is named.
    """
    from rich.console import Console

    from reid_lab.reproducing.replay import replay as again

    done = again(
        run,
        runs,
        console=Console(stderr=True, soft_wrap=True, highlight=False, quiet=not sys.stderr.isatty()),
        say=typer.echo,
        anyway=anyway,
        keep=keep,
        tolerance=tolerance,
    )
    inputs, verdict = done.inputs.differences, done.verdict
    what = "1 input differs" if len(inputs) == 1 else f"{len(inputs)} inputs differ"
    if done.folder is not None:
        typer.echo(f"kept     {done.folder}")
    if verdict is None:
        fatal = any(one.fatal for one in inputs)
        hint = "it cannot be computed" if fatal else "--anyway computes it nevertheless"
        typer.echo(f"{done.run_id}: {what}; nothing was computed ({hint})")
        raise typer.Exit(1)
    if verdict.proven:
        how = "bit for bit" if not verdict.largest else f"to {verdict.largest:.1g}, tolerance {done.tolerance:g}"
        beside = f", although {what}" if inputs else ""
        typer.echo(f"{done.run_id}: the same results, {how}{beside} ({verdict.counted})")
        return
    typer.echo(f"differs  {verdict.first}")
    told = f"{verdict.differing} of {sum(verdict.compared.values())} results differ, that one first"
    why = "" if inputs else "; no recorded input does"
    largest = f"; numbers by {verdict.largest:.1g} at most" if verdict.largest else ""
    typer.echo(f"{done.run_id}: {told}{largest}{why}")
    raise typer.Exit(1)
