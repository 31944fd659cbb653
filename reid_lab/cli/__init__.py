"""The command line: each command hands over to a room; a mistake is one line on stderr.

A file holds a group of commands, and a line below adds it; commands are listed in this order.
The files import only the standard library and typer, so that `--help` is instant; a command imports what it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from reid_lab.cli import (
    compare,
    data,
    doctor,
    evaluation,
    experiments,
    figures,
    gc,
    init,
    inspection,
    listing,
    probe,
    replay,
    study,
    tracking,
    weights,
)
from reid_lab.cli.guard import guarded

app = typer.Typer(
    help="A laboratory for person re-identification: one YAML file in, a tracked, resumable, tested result out.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(experiments.app)
app.add_typer(study.app, name="study")
app.add_typer(evaluation.app)
app.add_typer(compare.app)
app.add_typer(figures.app)
app.add_typer(replay.app)
app.add_typer(probe.app)
app.add_typer(inspection.app)
app.add_typer(weights.app)
app.add_typer(init.app)
app.add_typer(tracking.app)
app.add_typer(gc.app)
app.add_typer(doctor.app)
app.add_typer(listing.app, name="list")
app.add_typer(data.app, name="data")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 a mistake of the user, 130 Ctrl-C."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    # Read when torch is loaded: threads that wait by spinning take the cores of others (docs/benchmarks.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code = guarded(lambda: app(given or ["--help"], prog_name="reid-lab", standalone_mode=False))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # A rank that is done: threads of gloo that outlive the interpreter abort it now and then (torch 2.13).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
