"""The workspace to copy: settings of MLflow on one machine and on a server, descriptions of the experiments."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from reid_lab.errors import Fault, UserError

_PACKAGE = Path(__file__).parents[1]


def template() -> Path:
    """The folder of the template: inside an installed package, beside the package in a clone."""
    places = (_PACKAGE / "mlruns_template", _PACKAGE.parent / "mlruns_template")
    for place in places:
        if (place / "experiments.yaml").is_file():
            return place
    raise UserError(Fault("the workspace to copy is missing; install reid-lab again", str(places[0])))


def copy_workspace(target: Path) -> list[str]:
    """Copies the template into a new or empty folder, whole or not at all; the names of its files.

    Raises `UserError` when something is there already, and where it cannot be written.
    """
    source = template()
    if target.exists() and not target.is_dir():
        raise UserError(Fault("is a file; name a folder", str(target)))
    there = sorted(path.name for path in target.iterdir()) if target.is_dir() else []
    if there:
        raise UserError(Fault(f"is not empty ({_first(there)}); name a new folder", str(target)))
    whole = target.absolute()
    staged = whole.parent / f".{whole.name}.{os.getpid()}"
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, staged, ignore=shutil.ignore_patterns("__pycache__", "secrets.env"))
        names = sorted(path.name for path in staged.iterdir())
        if whole.is_dir():
            _fill(whole, staged)  # it may be somebody's working directory, which must stay the same folder
        else:
            staged.rename(whole)
    except OSError as error:
        raise UserError(Fault(f"cannot be written: {error.strerror or error}", str(target))) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return names


def _fill(target: Path, staged: Path) -> None:
    moved: list[Path] = []
    try:
        for path in sorted(staged.iterdir()):
            path.rename(target / path.name)
            moved.append(target / path.name)
    except BaseException:
        for path in moved:
            path.unlink()
        raise


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
