"""What callers give: overrides as Python values, runs by name or as what `run` returned, the folder of runs."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_lab.errors import UserError
from reid_lab.spec.show import scalar

PathLike = str | os.PathLike[str]


def folder(runs: PathLike | None) -> Path:
    """The folder of runs: the given one, that of REID_LAB_RUNS, or `runs` here."""
    return Path(os.environ.get("REID_LAB_RUNS") or "runs") if runs is None else Path(runs)


def name_of(run: Any) -> str:
    """A run's id, how it begins, or its folder; of whatever has a `run_id` (what `run` returned), that one's folder.

    Raises `UserError` for anything else.
    """
    found = getattr(run, "folder", run)
    found = getattr(found, "path", found)
    if isinstance(found, str | os.PathLike) and str(found):
        return str(found)
    raise UserError(f"a run is named by its id, or how it begins; got {run!r}")


def teller(quiet: bool) -> Callable[[str], object]:
    """Says lines of what goes on, on stderr as the commands do; quiet: to nobody."""
    return lambda line: None if quiet else print(line, file=sys.stderr)  # noqa: T201


def words(given: str | Sequence[str]) -> list[str]:
    """Words as a list; a single one is a list of it. Raises `UserError` for whatever is no text."""
    listed = [given] if isinstance(given, str) else list(given)
    for word in listed:
        if not isinstance(word, str | os.PathLike):
            raise UserError(f"expected text, got {word!r}")
    return [os.fspath(word) for word in listed]


def overrides(sets: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Overrides as the command line writes them: `sets` as they are, then each of `values` (dotted path -> value)."""
    if isinstance(sets, str):
        raise UserError(f"sets: expected a list of 'PATH=VALUE', got '{sets}'")
    return [*sets, *(f"{path}={yaml(value, path)}" for path, value in values.items() if value is not ...)]


def yaml(value: Any, path: str = "") -> str:
    """A plain value as YAML in one line. Raises `UserError` for what no spec can hold."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of numpy's
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    if value is None or isinstance(value, bool | int | float | str):
        return scalar(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(_entries(value, path)) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(yaml(one, f"{path}.{k}") for k, one in enumerate(value)) + "]"
    raise UserError(
        f"{path}: {type(value).__name__} is no value of a spec; allowed: numbers, text, lists, mappings, None"
    )


def _entries(value: Mapping[Any, Any], path: str) -> Iterator[str]:
    for key, one in value.items():
        if not isinstance(key, str):
            raise UserError(f"{path}: keys are text, got {key!r}")
        yield f"{scalar(key)}: {yaml(one, f'{path}.{key}')}"
