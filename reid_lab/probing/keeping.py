"""Where a probe or slices are written, and what the run's journal learns of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reid_lab.errors import UserError
from reid_lab.tracking.attempts import catch_up
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.runs import RunFolder, write_atomic

SUFFIXES = (".json", ".csv")


def check_out(out: Path | None) -> None:
    """Raises `UserError` for a file of another kind, before anything is computed."""
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {out}: a result is one of {', '.join(SUFFIXES)}")


def keep(
    folder: RunFolder,
    found: Mapping[str, Any],
    *,
    name: str,
    out: Path | None,
    csv: Callable[[Mapping[str, Any]], str],
    looked: bool = False,
    say: Callable[[str], object],
) -> Path:
    """Writes a result to `out`, else as the artifact `name` of the run, which MLflow is sent.

    looked: whether the journal has got a look at test, which MLflow is sent in any case.
    """
    path = folder.path / name if out is None else out
    text = csv(found) if path.suffix.lower() == ".csv" else as_json(found)
    write_atomic(path, text)
    if out is None:
        with RunLock(folder.path), Journal(folder.journal, strict=False) as journal:
            journal.artifact(name, path, folder.summary().get("best_step", 0))
    if out is None or looked:
        catch_up(folder, tracked_at(folder), say)
    return path


def tracked_at(folder: RunFolder) -> str | None:
    """`tracking.uri` of a run's spec; `off` where nothing was tracked."""
    import yaml

    try:
        spec = yaml.safe_load((folder.path / "spec.yaml").read_text(encoding="utf-8"))
        uri: str | bool | None = spec["tracking"]["uri"]
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        return "off"
    return "off" if isinstance(uri, bool) else uri  # the word `off` is a boolean to PyYAML


def as_json(found: Mapping[str, Any]) -> str:
    """JSON without NaN: what cannot be said is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, Mapping):
            return {str(key): plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    return json.dumps(plain(found), indent=1, ensure_ascii=False)
