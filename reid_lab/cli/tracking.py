"""Commands of the MLflow store: send what it lacks, serve its UI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reid_lab.cli.options import RUNS, Runs
from reid_lab.cli.output import table

app = typer.Typer()


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
    table(("run", "records"), ((s.run_id, str(s.records)) for s in sent if s.problem is None))
    problems = [f"{s.run_id}: {s.problem}" for s in sent if s.problem is not None]
    if problems:
        raise RunError(*problems)


@app.command()
def ui(
    selection: Annotated[
        list[str],
        typer.Argument(help="Runs, studies, STUDY/ARM, experiments, KEY=VALUE; all if none.", show_default=False),
    ] = [],  # noqa: B006
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the server.")] = 5000,
    browse: Annotated[bool, typer.Option("--open", help="Open the first link in the browser.")] = False,
    uri: Annotated[str | None, typer.Option(help="Another MLflow store.", show_default=False)] = None,
    runs: Runs = RUNS,
) -> None:
    """Serve the MLflow UI here and print its links."""
    import webbrowser

    from reid_lab.tracking.ui import open_ui

    words, studies = _named(selection, runs)
    opener = webbrowser.open if browse else None
    open_ui(runs, typer.echo, port=port, words=words, studies=studies, uri=uri, browse=opener)


def _named(selection: list[str], runs: Path) -> tuple[list[str], list[str]]:
    """The words of a selection and the names of its studies; a filter `KEY=VALUE` chooses runs as in `compare`."""
    from reid_lab.errors import SpecError
    from reid_lab.spec.loader import outline

    if any("=" in word for word in selection):
        from reid_lab.report.selection import select

        groups, _ = select(selection, runs)
        return [run.run_id for group in groups for run in group.runs], []
    words, studies = list[str](), list[str]()
    for word in selection:
        if not word.endswith((".yaml", ".yml")):
            words.append(word)
            continue
        told = outline(Path(word))
        if told.fault:
            raise SpecError(told.fault)
        (words if told.architecture else studies).append(told.name or Path(word).stem)
    return words, studies
