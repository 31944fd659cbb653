"""`reid-lab data`: write, check, look at and count data sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reid_lab.cli.options import Name, Sets
from reid_lab.cli.output import complain, table

app = typer.Typer(help="Write, look at and count data sets.", rich_markup_mode=None)


class Pixels(StrEnum):
    """The file formats of written images."""

    jpeg = "jpeg"
    png = "png"


@app.command()
def make(
    layout: Annotated[str, typer.Argument(help="The data set whose layout is written.", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="The folder to write.", show_default=False)],
    pixels: Annotated[Pixels, typer.Option("--pixels", help="JPEG (quality 95) or PNG files.")] = Pixels.jpeg,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Write the embedded world in the layout of a data set.

    `--set preset=smoke` and the like say how the world is drawn (see `reid-lab data stats synthetic`).
    """
    from reid_lab.datasets import write_layout

    write_layout(layout, folder, pixels.value, sets)
    typer.echo(str(folder))


@app.command()
def check(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="The data set's folder.", show_default=False)],
    contents: Annotated[bool, typer.Option("--hash", help="Also hash the contents of every file.")] = False,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Verify a data set's folder: annotations, every image, counts.

    All faults are listed, not the first; exit code 2 when there are any.
    """
    from reid_lab.datasets import check_folder

    report = check_folder(name, folder, sets, contents=contents)
    table(report.head, report.rows)
    for line in report.told():
        typer.echo(line)
    if report.faults:
        raise typer.Exit(complain([str(fault) for fault in report.faults], 2))


@app.command()
def preview(
    name: Name,
    out: Annotated[Path, typer.Option(help="The image file to write.")] = Path("preview.png"),
    pids: Annotated[list[int], typer.Option("--pid", help="A person to show; may be repeated.")] = [0, 1, 2, 3, 4, 5],  # noqa: B006
    sets: Sets = [],  # noqa: B006
) -> None:
    """Write a contact sheet of a few identities."""
    from reid_lab.data.synthetic import write_contact_sheet
    from reid_lab.datasets import open_world

    write_contact_sheet(open_world(name, sets), pids, out)
    typer.echo(str(out))


@app.command()
def stats(
    name: Name,
    folder: Annotated[Path | None, typer.Argument(help="Its folder (data.root).", show_default=False)] = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Count identities and items of each split, role and camera."""
    from reid_lab.data.items import left_out_in_words
    from reid_lab.datasets import CAMERA_COLUMNS, COUNT_COLUMNS, camera_counts, counts, open_data

    dataset = open_data(name, sets, folder)
    table(COUNT_COLUMNS, counts(dataset))
    cameras = camera_counts(dataset)
    if cameras:
        typer.echo()
        table(CAMERA_COLUMNS, cameras)
    if dataset.left_out:
        typer.echo(left_out_in_words(dataset))
    typer.echo(f"digest {dataset.digest}")


@app.command("split-captions")
def split_captions(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="The data set's folder.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="The side file; FOLDER/parts.json when not given.", show_default=False)
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a side file that is there.")] = False,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Split whole captions into identity and clothes parts.

    The side file that it writes (JSON or CSV, by its suffix) is named by `data.parts`.
    """
    from reid_lab import datasets

    target = out or folder / "parts.json"
    table(("", "captions", "share"), datasets.split_captions(name, folder, target, sets, replace=replace))
    typer.echo(str(target))
