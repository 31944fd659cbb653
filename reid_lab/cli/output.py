"""What all commands print alike: tables on stdout, complaints on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns, plain enough for `grep` and `cut`."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    for line in lines:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def note(line: str) -> None:
    """Print one line beside what the command does."""
    typer.echo(f"note: {' '.join(line.splitlines())}", err=True)


def complain(lines: Iterable[str], code: int) -> int:
    """Print each as one line of the program; the exit code is handed back."""
    for line in lines:
        typer.echo(f"reid-lab: {' '.join(line.splitlines())}", err=True)
    return code
