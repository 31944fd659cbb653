"""`reid-lab figure`: figures of finished runs, and which kinds there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid_lab.cli.options import RUNS, Runs, words
from reid_lab.cli.output import note

if TYPE_CHECKING:
    from reid_lab.report.figures.kind import Asked, Kind

app = typer.Typer(rich_markup_mode=None)


@app.command()
def figure(
    kind: Annotated[str, typer.Argument(help="`reid-lab list figures` names them.")],
    selection: Annotated[list[str], typer.Argument(help="As of `compare`; of a study, to see its trials.")],
    out: Annotated[Path, typer.Option(metavar="FILE|DIR", help="A folder, or a file: PNG, PDF and CSV are written.")],
    metric: Annotated[
        str | None, typer.Option(metavar="mAP,R1", help="By default those of the kind.", show_default=False)
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="As of `compare`.", show_default=False)] = None,
    by: Annotated[str | None, typer.Option(metavar="arm|PATH", help="As of `compare`.", show_default=False)] = None,
    given: Annotated[
        list[str], typer.Option("--with", metavar="NAME=VALUE", help="An option of the kind; may be repeated.")
    ] = [],  # noqa: B006
    log: Annotated[bool, typer.Option(help="Log it to MLflow, too.")] = True,
    uri: Annotated[str | None, typer.Option(help="Another MLflow store.", show_default=False)] = None,
    runs: Runs = RUNS,
) -> None:
    """Draw a figure of finished runs.

    Its data lies beside it as CSV, which `verify` recomputes from the runs.
    """
    from reid_lab.errors import UserError
    from reid_lab.looking import kind_named
    from reid_lab.report.figures import making
    from reid_lab.report.figures.kind import ENDINGS

    chosen = kind_named(kind)
    named = out.suffix.lower() in ENDINGS
    if out.suffix and not named and not out.is_dir():
        raise UserError(f"--out {out}: a folder, or a file that ends in {', '.join(ENDINGS)}")
    asked = making.ask(
        chosen,
        selection,
        runs,
        metrics=words(metric),
        baseline=baseline,
        by=words(by),
        options=_options(given),
    )
    folder, name = (out.parent, out.stem) if named else (out, "")
    files = write(kind, chosen, asked, folder, name)
    typer.echo(f"wrote {', '.join(map(str, files))}; `reid-lab verify {files[-1]}` checks the data")
    if log:
        keep(files, asked, " ".join(selection), uri)


def draw_all(
    selection: list[str],
    runs: Path,
    folder: Path,
    *,
    metrics: tuple[str, ...],
    baseline: str | None,
    by: tuple[str, ...],
    transfer: tuple[str, ...] = (),
    log: bool = True,
) -> None:
    """Draws every kind that needs no weights and that the selection can give; what is left out is told, and why.

    transfer: data sets of which the matrix alone is drawn; nothing else may mix them. log: to MLflow, too.
    """
    from reid_lab.errors import UserError
    from reid_lab.report.figures import KINDS, making
    from reid_lab.report.transfer import filters

    selection = [*selection, *filters(transfer)]
    options = {"sets": ",".join(transfer)} if transfer else {}
    for name in ("transfer",) if transfer else KINDS:
        kind = KINDS[name]
        try:
            # Metrics of a table are of the test; curves and trials are of val.
            wanted = metrics if kind.of_test else ()
            asked = making.ask(kind, selection, runs, metrics=wanted, baseline=baseline, by=by, options=options)
            files = write(name, kind, asked, folder)
        except UserError as error:
            note(f"no {name}: {'; '.join(map(str, error.faults))}")
            continue
        typer.echo(f"wrote {', '.join(map(str, files))}")
        if log:
            keep(files, asked, " ".join(selection), None)


def write(name: str, kind: Kind, asked: Asked, folder: Path, stem: str = "") -> tuple[Path, ...]:
    """Draws and writes a figure. stem: what its files are called; by default as the figure is."""
    import dataclasses

    from reid_lab.report.figures import making
    from reid_lab.report.figures.style import written

    drawn, facts = making.made(name, kind, asked)
    return written(dataclasses.replace(drawn, name=stem or drawn.name), folder, facts)


def keep(files: tuple[Path, ...], asked: Asked, selection: str, uri: str | None) -> None:
    """Logs a figure to MLflow; a store that is not there is told, and no failure."""
    from reid_lab.tracking.figures import keep as log

    members = asked.members
    ids = list(dict.fromkeys(run.run_id for run in members))
    problem = log(files, asked.runs, ids, experiment=members[0].experiment, selection=selection, uri=uri)
    if problem:
        note(problem)


def _options(given: list[str]) -> dict[str, str]:
    from reid_lab.errors import UserError

    faults = [f"--with {word}: NAME=VALUE is needed" for word in given if "=" not in word]
    if faults:
        raise UserError(*faults)
    return {name.strip(): value.strip() for name, _, value in (word.partition("=") for word in given)}
