"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(help="An experiment file.", show_default=False)]
Name = Annotated[str, typer.Argument(help="A data set; `reid-lab list datasets` names them.", show_default=False)]
RunName = Annotated[str, typer.Argument(help="A run's id, or how it begins.", show_default=False)]
Sets = Annotated[list[str], typer.Option("--set", metavar="A.B=VALUE", help="Override a field; may be repeated.")]
Runs = Annotated[Path, typer.Option("--runs", envvar="REID_LAB_RUNS", help="The folder of runs.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, …", show_default=False)]
RUNS = Path("runs")


def words(text: str | None) -> tuple[str, ...]:
    """The parts of a text with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip()) if text else ()
