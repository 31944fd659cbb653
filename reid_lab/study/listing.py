"""The study files of a folder and how each stands, read without validating them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reid_lab.errors import SpecError
from reid_lab.spec import loader
from reid_lab.spec.layers import gather
from reid_lab.spec.tree import plain
from reid_lab.study.book import Book
from reid_lab.study.words import left

COLUMNS = ("file", "architecture", "design", "progress", "description")


def study_rows(folder: Path, runs: Path) -> Iterator[tuple[str, ...]]:
    """One row per study file (it names a base), by path."""
    for path in sorted(folder.rglob("*.yaml")):
        try:
            told = _read(path)
        except SpecError as error:
            yield str(path), "", "", "", f"broken: {error.faults[0]}"
            continue
        if "base" not in told:
            continue  # an experiment file, or something else
        base = loader.outline(path.parent / str(told["base"]))
        state = Book.of(runs, study_name(path)).read()
        progress = "{} of {}".format(*left(state)) if state else ""
        yield str(path), base.architecture, str(told.get("design", "")), progress, str(told.get("description", ""))


def study_name(path: Path) -> str:
    """The name of a study: its own, or the file's."""
    return str(_read(path).get("name") or path.stem)


def study_storage(path: Path) -> str | None:
    """The storage that a study names."""
    named = _read(path).get("storage")
    return None if named is None else str(named)


def _read(path: Path) -> dict[str, Any]:
    layers = gather(path, ())
    if layers.faults:
        raise SpecError(*layers.faults)
    merged: dict[str, Any] = {}
    for one in layers.tables:
        found = plain(one)
        merged |= found if isinstance(found, dict) else {}
    return merged
