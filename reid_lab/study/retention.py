"""Which files of runs are worth their space: what goes, and why.

Weights are kept by every run of its own, by the cells of studies, and by the best trial of each arm. Other trials lose
theirs, and a finished run its optimiser's state. A run keeps all else; why it has no weights stands in its summary.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lab.engine.checkpoint import BEST, LAST, PREVIOUS, identify
from reid_lab.errors import CheckpointError, RunError
from reid_lab.tracking.lock import RunLock, in_use
from reid_lab.tracking.members import Member, members
from reid_lab.tracking.records import read
from reid_lab.tracking.runs import STUDIES, RunFolder, folders

STATE = (LAST, PREVIOUS)


@dataclass(frozen=True)
class Going:
    """Files of a run that may go: their names in the run's folder, the bytes that this frees, and why.

    note: what the run's summary says from then on; empty where it keeps its weights. Bytes that mlflow holds, too,
    are not freed.
    """

    folder: RunFolder
    files: tuple[str, ...]
    size: int
    why: str
    note: str = ""


def drop_weights(folder: RunFolder, why: str) -> int:
    """Deletes the weights of a trial and says why in its summary; the bytes that were freed.

    why: `trial 7 of clip_mer/full was not its arm's best`. A run that is a cell of a study keeps its weights: nothing
    happens. Doing it again changes nothing. Raises `RunError` when a process works on the run.
    """
    if any(member.trial is None for member in members(folder.journal)):
        return 0
    return remove(_going(folder, (*STATE, BEST), why, f"dropped: {why}"))


def remove(going: Going) -> int:
    """Deletes files; the bytes that were freed. The note comes first: a kill in between leaves the rest to go later.

    Raises `RunError` when a process works on the run.
    """
    with RunLock(going.folder.path):
        if going.note and not going.folder.dropped:
            going.folder.amend({"weights": going.note})
        for name in going.files:
            (going.folder.path / name).unlink(missing_ok=True)
    return going.size


def sweep(runs: Path) -> Iterator[Going]:
    """What may go in a folder of runs, run by run; nothing of a run that a process works on.

    The best trial of an arm is the one that its study's `state.json` names; trials of a study that is being driven, or
    of which no best is known, stay. So do the weights that another run began from.
    """
    found = list(folders(runs))
    named = {_identity(folder).get("init_from") for folder in found} - {None}
    arms = _arms(runs)
    for folder in found:
        if "imported" in folder.summary() or in_use(folder.path):
            continue
        going = _spared(folder, arms, named)
        if going is not None and going.files:
            yield going


@dataclass(frozen=True)
class _Arm:
    """What a study says of an arm: the run of its best trial, and whether somebody drives the study."""

    best: str | None
    driven: bool


def _spared(folder: RunFolder, arms: dict[tuple[str, str], _Arm], named: set[Any]) -> Going | None:
    places = list(members(folder.journal))
    why = folder.dropped.removeprefix("dropped: ") or _unwanted(folder, places, arms)
    if why and not _begun_from(folder, named):
        return _going(folder, (*STATE, BEST), why, f"dropped: {why}")
    if folder.finished("fit"):
        return _going(folder, STATE, "optimiser's state of a finished run")
    return None


def _unwanted(folder: RunFolder, places: list[Member], arms: dict[tuple[str, str], _Arm]) -> str:
    """Why a run's weights are not wanted; empty where they are."""
    if folder.finished("pruned"):
        return "pruned"
    if not places or any(place.trial is None for place in places):
        return ""
    what = f"trial {places[0].trial} of {places[0].study}/{places[0].arm}"
    if not folder.finished("fit"):
        return f"{what} failed" if _last_status(folder) == "failed" else ""
    for place in places:
        arm = arms.get((place.study, place.arm))
        if arm is None or arm.driven or arm.best in (None, folder.run_id):
            return ""
    return f"{what} was not its arm's best"


def _last_status(folder: RunFolder) -> str:
    stops = [record.value["status"] for record, _ in read(folder.journal) if record.kind == "stop"]
    return stops[-1] if stops else ""


def _begun_from(folder: RunFolder, named: set[Any]) -> bool:
    """Whether another run began from these weights."""
    for kept in (folder.checkpoints, folder.refit):
        try:
            if identify(kept / BEST)[1] in named:
                return True
        except CheckpointError:
            continue
    return False


def _going(folder: RunFolder, names: tuple[str, ...], why: str, note: str = "") -> Going:
    there = [file for kept in (folder.checkpoints, folder.refit) for name in names if (file := kept / name).is_file()]
    contents: dict[int, list[int]] = {}  # inode -> size, links, of them those that go
    for file in there:
        stat = file.stat()
        contents.setdefault(stat.st_ino, [stat.st_size, stat.st_nlink, 0])[2] += 1
    size = sum(size for size, links, go in contents.values() if go == links)
    return Going(folder, tuple(file.relative_to(folder.path).as_posix() for file in there), size, why, note)


def _identity(folder: RunFolder) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder.path / "identity.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _arms(runs: Path) -> dict[tuple[str, str], _Arm]:
    """What all studies say of their arms."""
    found = {}
    for file in sorted((runs / STUDIES).glob("*/state.json")):
        driven = in_use(file.parent)
        for arm in json.loads(file.read_text(encoding="utf-8")).get("arms", ()):
            best = arm.get("best") or {}
            found[file.parent.name, str(arm["name"])] = _Arm(best.get("run"), driven)
    return found


def collect(runs: Path) -> Iterator[tuple[Going, str]]:
    """Removes what may go; each with what kept it from going, empty where nothing did."""
    for going in list(sweep(runs)):
        try:
            remove(going)
        except RunError as error:
            yield going, str(error)
        else:
            yield going, ""
