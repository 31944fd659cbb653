"""The command line: each command hands over to a room; a mistake is one line on stderr.

Only the standard library and typer are imported here, so that `--help` is instant.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

if TYPE_CHECKING:
    from torch import Tensor

    from reid_lab.assembly import Parts
    from reid_lab.measuring import Found
    from reid_lab.rankings import Ranking

app = typer.Typer(
    help="A laboratory for person re-identification: one YAML file in, a tracked, resumable, tested result out.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
listing = typer.Typer(help="List what there is.", rich_markup_mode=None)
data = typer.Typer(help="Write, look at and count data sets.", rich_markup_mode=None)
app.add_typer(listing, name="list")
app.add_typer(data, name="data")


class Pixels(StrEnum):
    """The file formats of written images."""

    jpeg = "jpeg"
    png = "png"


class Metric(StrEnum):
    """How features of other code are compared."""

    cosine = "cosine"
    inner = "inner"


class Form(StrEnum):
    """How an inspection is told."""

    table = "table"
    json = "json"
    mermaid = "mermaid"


File = Annotated[Path, typer.Argument(help="An experiment file.", show_default=False)]
Name = Annotated[str, typer.Argument(help="A data set; `reid-lab list datasets` names them.", show_default=False)]
RunName = Annotated[str, typer.Argument(help="A run's id, or how it begins.", show_default=False)]
Sets = Annotated[list[str], typer.Option("--set", metavar="A.B=VALUE", help="Override a field; may be repeated.")]
Runs = Annotated[Path, typer.Option("--runs", envvar="REID_LAB_RUNS", help="The folder of runs.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, …", show_default=False)]
RUNS = Path("runs")


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
def schema() -> None:
    """Print the JSON Schema of experiment files."""
    import json

    from reid_lab.catalogue import registries
    from reid_lab.spec.schema import json_schema

    typer.echo(json.dumps(json_schema(registries()), indent=1))


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
    _table(
        ("rank", "score", "image", "correct")[: 4 if known else 3],
        (
            (str(rank), f"{score:.4f}", name, "yes" if right else "no")[: 4 if known else 3]
            for rank, (score, name, right) in enumerate(rows, 1)
        ),
    )
    if out is not None:
        typer.echo(str(out))


@app.command()
def inspect(
    target: Annotated[str, typer.Argument(help="An experiment file, a run, or a checkpoint.", show_default=False)],
    form: Annotated[Form, typer.Option("--format", help="How it is told.")] = Form.table,
    identities: Annotated[
        int | None, typer.Option(min=1, help="Leave the data alone: so many people.", show_default=False)
    ] = None,
    depth: Annotated[int, typer.Option(min=0, help="How deep the table of modules goes.")] = 3,
    sets: Sets = [],  # noqa: B006
    device: Device = None,
    runs: Runs = RUNS,
) -> None:
    """Tell what a model is made of, and check it.

    Modules, operations, groups, one step. Exit code 1 when a check fails.
    """
    import json

    from reid_lab.errors import UserError
    from reid_lab.inspecting import inspect as look
    from reid_lab.inspecting.show import mermaid, table

    found = look(target, runs, sets=sets, identities=identities, device=device)
    if form is Form.mermaid and found["kind"] == "weights":
        raise UserError("a file of weights has no graph; give an experiment file or a run")
    if form is Form.json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        typer.echo(mermaid(found) if form is Form.mermaid else table(found, depth))
    if not all(check["passed"] for check in found["checks"]):
        raise typer.Exit(1)


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="The project that wrote the checkpoint.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="Its checkpoint.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The run's folder to write.", show_default=False)],
    spec: Annotated[Path | None, typer.Option(help="The experiment to evaluate with.", show_default=False)] = None,
    allow_unused: Annotated[bool, typer.Option("--allow-unused", help="Leave out keys that are not known.")] = False,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Read a checkpoint of another project.

    It becomes the folder of a run, which `evaluate` and `search` take.
    """
    from reid_lab.importing import import_checkpoint

    found = import_checkpoint(source, file, out, experiment=spec, sets=sets, allow_unused=allow_unused)
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


@app.command()
def sync(
    names: Annotated[list[str], typer.Argument(metavar="RUN", help="Run ids; all runs when none.")] = [],  # noqa: B006
    uri: Annotated[str | None, typer.Option(help="Another MLflow store.", show_default=False)] = None,
    full: Annotated[bool, typer.Option("--full", help="Send everything again; what is held is unchanged.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Send to MLflow what it does not hold yet."""
    from reid_lab.errors import RunError
    from reid_lab.tracking.mirror import sync as send

    sent = send(runs, names or None, uri, full=full)
    _table(("run", "records"), ((s.run_id, str(s.records)) for s in sent if s.problem is None))
    problems = [f"{s.run_id}: {s.problem}" for s in sent if s.problem is not None]
    if problems:
        raise RunError(*problems)


@app.command()
def ui(
    names: Annotated[list[str], typer.Argument(metavar="RUN", help="Run ids to open or compare.")] = [],  # noqa: B006
    experiment: Annotated[str | None, typer.Option(help="Open this experiment.", show_default=False)] = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    uri: Annotated[str | None, typer.Option(help="Another MLflow store.", show_default=False)] = None,
    runs: Runs = RUNS,
) -> None:
    """Serve the MLflow UI here and print the link."""
    from reid_lab.tracking.ui import open_ui

    open_ui(runs, typer.echo, port=port, run_ids=names, experiment=experiment, uri=uri)


@app.command()
def doctor(
    smoke: Annotated[bool, typer.Option(help="Also train and test for a few seconds.")] = True, runs: Runs = RUNS
) -> None:
    """Say what is installed and whether it works."""
    from reid_lab.doctor import examine

    checks = []
    for check in examine(runs, smoke):
        typer.echo(str(check))
        checks.append(check)
    if any(check.failed for check in checks):
        raise typer.Exit(1)


@listing.command()
def architectures(
    name: Annotated[str | None, typer.Argument(help="All knobs of this one.", show_default=False)] = None,
) -> None:
    """The registered architectures and their knobs.

    Without NAME, the knobs that a study can search.
    """
    from reid_lab.architectures import ARCHITECTURES
    from reid_lab.errors import UserError, unknown
    from reid_lab.spec.knobs import knobs

    if name is not None and name not in ARCHITECTURES:
        raise UserError(unknown("architecture", name, ARCHITECTURES))
    chosen = ARCHITECTURES if name is None else {name: ARCHITECTURES[name]}
    _table(("name", "title", "paper", "code"), ((key, e.title, e.paper, e.code) for key, e in chosen.items()))
    found = [(key, knob) for key, entry in chosen.items() for knob in knobs(entry.load().spec.model_validate({}))]
    typer.echo()
    if name is None:
        searched = ((f"{key}: {k.path}", k.default, k.searched) for key, k in found if k.searched)
        _table(("knob", "default", "searched"), searched)
    else:
        _table(
            ("knob", "default", "searched", "allowed"), ((k.path, k.default, k.searched, k.allowed) for _, k in found)
        )


@listing.command()
def datasets() -> None:
    """The data sets that can be read."""
    from reid_lab.data import DATASETS

    _table(("name", "protocol", ""), ((name, entry.protocol, entry.doc) for name, entry in DATASETS.items()))


@listing.command()
def protocols() -> None:
    """The evaluation protocols."""
    from reid_lab.data.protocols import PROTOCOLS

    _table(("name", ""), ((name, protocol.doc) for name, protocol in PROTOCOLS.items()))


@listing.command()
def experiments(
    folder: Annotated[Path, typer.Argument(help="Where the experiment files lie.")] = Path("experiments"),
) -> None:
    """The experiment files here."""
    from reid_lab.catalogue import outlines
    from reid_lab.errors import UserError

    found = outlines(folder)
    if not found:
        raise UserError(f"no experiment files in {folder}; `reid-lab list experiments FOLDER` looks elsewhere")
    rows = ((str(o.path), o.architecture, o.dataset, f"broken: {o.fault}" if o.fault else o.description) for o in found)
    _table(("file", "architecture", "data", "description"), rows)


@listing.command("runs")
def list_runs(runs: Runs = RUNS) -> None:
    """The runs here, the latest first."""
    from reid_lab.results import RUN_COLUMNS, run_rows

    _table(RUN_COLUMNS, run_rows(runs))


@data.command()
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


@data.command()
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
    _table(report.head, report.rows)
    for line in report.told():
        typer.echo(line)
    if report.faults:
        raise typer.Exit(_complain([str(fault) for fault in report.faults], 2))


@data.command()
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


@data.command()
def stats(
    name: Name,
    folder: Annotated[Path | None, typer.Argument(help="Its folder (data.root).", show_default=False)] = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Count identities and items of each split, role and camera."""
    from reid_lab.data.items import left_out_in_words
    from reid_lab.datasets import CAMERA_COLUMNS, COUNT_COLUMNS, camera_counts, counts, open_data

    dataset = open_data(name, sets, folder)
    _table(COUNT_COLUMNS, counts(dataset))
    cameras = camera_counts(dataset)
    if cameras:
        typer.echo()
        _table(CAMERA_COLUMNS, cameras)
    if dataset.left_out:
        typer.echo(left_out_in_words(dataset))
    typer.echo(f"digest {dataset.digest}")


@data.command("split-captions")
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
    _table(("", "captions", "share"), datasets.split_captions(name, folder, target, sets, replace=replace))
    typer.echo(str(target))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns, plain enough for `grep` and `cut`."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    for line in lines:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 a mistake of the user, 130 Ctrl-C."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    code = _guarded(given or ["--help"])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    sys.exit(code)


def _guarded(arguments: list[str]) -> int:
    from reid_lab.errors import UserError

    try:
        return int(app(arguments, prog_name="reid-lab", standalone_mode=False) or 0)
    except UserError as error:
        return _complain([str(fault) for fault in error.faults], error.exit_code)
    except TyperException as error:
        return _complain([_usage(error)], 2)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.errno in _FULL:
            what = f"the disk is full ({_place(error)}); make room, and the same command goes on"
        elif error.errno in _DENIED:
            what = f"{_place(error)}: {(error.strerror or str(error)).lower()}"
        else:
            raise
        return _complain([what], 2)


def _complain(lines: Iterable[str], code: int) -> int:
    for line in lines:
        typer.echo(f"reid-lab: {' '.join(line.splitlines())}", err=True)
    return code


def _place(error: OSError) -> str:
    return str(error.filename) if error.filename else "no file named"


def _usage(error: TyperException) -> str:
    """typer's message as one sentence of ours."""
    text = " ".join(error.format_message().split()).rstrip(".").replace(". Did you", "; did you")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "reid-lab"
    return f"{text[:1].lower()}{text[1:]} (see {command} --help)"


if __name__ == "__main__":
    main()
