"""The runs of a folder as rows, from what their folders tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_lab.tracking.lock import in_use
from reid_lab.tracking.records import read
from reid_lab.tracking.runs import RunFolder, folders, marks

RUN_COLUMNS = ("run", "experiment", "seed", "state", "val mAP", "test mAP", "test R1")


def run_rows(runs: Path) -> Iterator[tuple[str, ...]]:
    """One row per run, in the order of `RUN_COLUMNS`."""
    for folder in folders(runs):
        found = folder.summary()
        found = found if "name" in found else {**found, **_begun(folder)}
        state = state_of(folder, found)
        val, test = found.get("val") or {}, found.get("test") or {}
        numbers = [f"{m[k]:.2f}" if k in m else "" for m, k in ((val, "mAP"), (test, "mAP"), (test, "R1"))]
        yield folder.run_id, str(found.get("name", "")), str(found.get("seed", "")), state, *numbers


def _begun(folder: RunFolder) -> dict[str, Any]:
    """The name and seed of a run that has finished no stage; empty when it was killed before it recorded them."""
    first = next(read(folder.journal), None)
    if first is None or first[0].kind != "start":
        return {}
    value = first[0].value
    return {"name": value["experiment"], "seed": value["tags"].get("reid_lab.seed", "")}


def state_of(folder: RunFolder, summary: Mapping[str, Any] | None = None) -> str:
    """How a run stands: finished, pruned, imported, running, fitted or unfinished, with its marks.

    summary: the folder's, when the caller has it.
    """
    found = folder.summary() if summary is None else summary
    state = "imported" if "imported" in found else _state(folder, found.get("stages", ()))
    return ", ".join((state, *marks(found.get("selected_on", ""), found.get("fitted_on", "train"))))


def _state(folder: RunFolder, stages: Sequence[str]) -> str:
    if "test" in stages or "pruned" in stages:
        return "finished" if "test" in stages else "pruned"
    if in_use(folder.path):
        return "running"
    return "fitted" if "fit" in stages else "unfinished"
