"""Commands that use a trained run: evaluate it again, search with it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid_lab.cli.options import RUNS, Device, RunName, Runs, Sets
from reid_lab.cli.output import table

if TYPE_CHECKING:
    from torch import Tensor

    from reid_lab.assembly import Parts
    from reid_lab.measuring import Found
    from reid_lab.rankings import Ranking

app = typer.Typer()


class Metric(StrEnum):
    """How features of other code are compared."""

    cosine = "cosine"
    inner = "inner"


@app.command()
def evaluate(
    run: Annotated[str | None, typer.Argument(help="A run's id, or how it begins.", show_default=False)] = None,
    features: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="QUERY.npz GALLERY.npz", help="Measure features of other code instead.", show_default=False
        ),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Test with another protocol.", show_default=False)] = None,
    dataset: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="Test on another data set.", show_default=False)
    ] = None,
    rankings: Annotated[
        Path | None, typer.Option(help="Write ranked gallery ids: .csv, .json or .npz.", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many ids of each ranking are written.")] = 100,
    name: Annotated[str | None, typer.Option(help="What a run of features is called.", show_default=False)] = None,
    metric: Annotated[
        Metric | None, typer.Option(help="How features are compared: cosine (which normalises them) or inner.")
    ] = None,
    sets: Sets = [],  # noqa: B006
    device: Device = None,
    runs: Runs = RUNS,
) -> None:
    """Test a run's checkpoint again, or features.

    `--data NAME --set data.root=…` tests on other data; every look at test data is recorded.
    """
    from reid_lab import console
    from reid_lab.errors import UserError

    if (run is None) == (features is None):
        raise UserError("give a RUN, or --features QUERY.npz GALLERY.npz" + (", not both" if run else ""))
    if features is not None:
        if dataset is not None:
            raise UserError("--data is for a RUN: features are computed already")
        from reid_lab.features import evaluate_features

        evaluate_features(
            features,
            runs,
            console=console.stdout(),
            protocol=protocol,
            name=name,
            metric="cosine" if metric is None else metric.value,
            sets=sets,
            device=device,
            ranked=rankings,
            top=top,
        )
        return
    from reid_lab import experiment
    from reid_lab.rankings import check, ids, ranked, write

    assert run is not None
    if name is not None or metric is not None:
        raise UserError("--name and --metric are for --features: a RUN has its name, and its model's embeddings")
    if rankings is not None:
        check(rankings)
    chosen = [f"data={{name: {dataset}}}"] if dataset is not None else []
    chosen += [f"eval.protocol={protocol}"] if protocol is not None else []
    made: list[Ranking] = []

    def kept(parts: Parts, found: Found, queries: Tensor, gallery: Tensor) -> None:
        items = parts.source.dataset.items
        names = ids(items, found.task.queries), ids(items, found.task.gallery)
        made.append(ranked(found.task, queries, gallery, found.how, top=top, names=names))

    experiment.evaluate_run(
        run,
        runs,
        sets=[*chosen, *sets],
        device=device,
        console=console.stdout(),
        seen=kept if rankings is not None else None,
    )
    if rankings is not None:
        write(rankings, made)
        typer.echo(f"rankings {rankings}")


@app.command()
def search(
    run: RunName,
    words: Annotated[str | None, typer.Argument(help="Who is looked for, in words.", show_default=False)] = None,
    images: Annotated[
        list[str], typer.Option("--image", metavar="[ROLE=]FILE", help="An image of the query; one for each modality.")
    ] = [],  # noqa: B006
    gallery: Annotated[
        str | None,
        typer.Option(metavar="[ROLE=]FOLDER", help="Images to search; without it, the run's test gallery."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many are shown.")] = 20,
    pid: Annotated[int | None, typer.Option(help="The identity looked for, if known.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="Write a page: .html or .png.", show_default=False)] = None,
    device: Device = None,
    runs: Runs = RUNS,
) -> None:
    """Rank the images of a gallery for words, images, or both.

    The gallery's embeddings are kept; a second search reads no images.
    """
    import gc

    gc.disable()  # importing leaves no garbage; looking for it takes a tenth of a search
    try:
        from reid_lab.search import search as find

        found = find(
            run,
            runs,
            words=words,
            images=images,
            gallery=gallery,
            top=top,
            pid=pid,
            out=out,
            device=device,
            say=lambda line: typer.echo(line, err=True),
        )
    finally:
        gc.enable()
    for note in found.notes:
        typer.echo(note, err=True)
    known = any(right is not None for right in found.correct)
    rows = zip(found.scores, found.names, found.correct, strict=True)
    table(
        ("rank", "score", "image", "correct")[: 4 if known else 3],
        (
            (str(rank), f"{score:.4f}", name, "yes" if right else "no")[: 4 if known else 3]
            for rank, (score, name, right) in enumerate(rows, 1)
        ),
    )
    if out is not None:
        typer.echo(str(out))
