"""Commands that bring or make weights: a checkpoint of other code, tiny pretrained trunks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, Device, Runs, Sets

app = typer.Typer()


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="Who wrote it: irra, reid5o, t2ireid, clip_mer, transreid, clipreid, mambapro; of trunks alone: "
            "openai_clip, timm_vit, hf_vit, hf_bert.",
            show_default=False,
        ),
    ],
    file: Annotated[Path, typer.Argument(help="Its checkpoint: a file, or a Hugging Face folder.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The run's folder to write.", show_default=False)],
    spec: Annotated[Path | None, typer.Option(help="The experiment to evaluate with.", show_default=False)] = None,
    allow_unused: Annotated[bool, typer.Option("--allow-unused", help="Leave out keys that are not known.")] = False,
    views: Annotated[
        int, typer.Option(min=0, help="Views, where side information counts cameras x views; 0: as the data has.")
    ] = 0,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Read a checkpoint of another project.

    It becomes the folder of a run, which `evaluate` and `search` take.
    """
    from reid_lab.importing import import_checkpoint

    found = import_checkpoint(source, file, out, experiment=spec, sets=sets, allow_unused=allow_unused, views=views)
    typer.echo(found.report.table())
    for note in found.notes:
        typer.echo(f"told by the tensors: {note}")
    typer.echo(f"run            {found.folder.path}")


@app.command("pretrain")
def make_trunks(
    folder: Annotated[Path, typer.Argument(help="The folder to write the trunks to.", show_default=False)],
    device: Device = None,
    runs: Runs = RUNS,
) -> None:
    """Make the tiny CLIP, ViT and BERT trunks.

    They are written as Hugging Face folders, with a card.
    """
    from reid_lab import console, pretrain

    pretrain.pretrain(folder, runs=runs, device=device, console=console.stdout())
