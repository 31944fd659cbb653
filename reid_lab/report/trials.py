"""The trials of tuning studies, from the journals of their runs: which arm, which number, what was tried, how it ended.

A trial is a run whose journal notes its place in a study; nothing is asked of the study's own storage.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from reid_lab.errors import Fault, RunError, UserError
from reid_lab.report.groups import ABSENT, Group, shown, value_of
from reid_lab.report.reading import Run, read_run
from reid_lab.report.selection import study_state
from reid_lab.tracking.members import Member, member_of
from reid_lab.tracking.records import parse
from reid_lab.tracking.runs import folders

_NOTES = re.compile(rb'^\{"kind":"(?:note","name":"member|stop","name":"run)",.*\n', re.MULTILINE)


@final
@dataclass(frozen=True)
class Trial:
    """A trial: its run, its number within the arm, and whether it was pruned."""

    run: Run
    study: str
    arm: str
    number: int
    pruned: bool


def trials_of(words: Sequence[str], runs: Path) -> tuple[list[Group], list[str], str]:
    """The arms of studies with the runs of their trials by number, what was left out, and the first objective on val.

    words: files or names of studies. Raises `UserError` for a word that is no study, or one without finished trials.
    """
    if not runs.is_dir():
        raise RunError(Fault("no such folder of runs", str(runs)))
    groups, told, faults, objective = list[Group](), list[str](), list[Fault | str](), ""
    for word in words:
        try:
            state = study_state(word, runs)
        except UserError as error:
            faults += error.faults
            continue
        if state is None:
            faults.append(Fault(f"'{word}' is no study; trials are those of a study's file or name", str(runs)))
            continue
        name = str(state["study"])
        of_val = (str(one) for one in state.get("objectives", ()) if str(one).startswith("val/"))  # others are costs
        objective = objective or next(of_val, "")
        found, unfinished = _ended(runs, name)
        if unfinished:
            told.append(f"left out: {unfinished} trials of {name} that neither finished nor were pruned")
        if not found:
            faults.append(Fault("has no finished trials", name))
        order = [arm["name"] for arm in state["arms"]]  # an arm that was edited out stands behind
        for arm in sorted(
            {trial.arm for trial in found}, key=lambda arm: (order.index(arm) if arm in order else len(order), arm)
        ):
            members = sorted((trial for trial in found if trial.arm == arm), key=lambda trial: trial.number)
            title = arm if len(words) == 1 else f"{name}/{arm}"
            groups.append(Group(title, tuple(trial.run for trial in members)))
    if faults:
        raise UserError(*faults)
    return groups, told, objective


def trial_of(run: Run) -> Trial | None:
    """The trial that a run is; None for another run, or for one that neither finished nor was pruned."""
    member, status = _told(run.folder.journal)
    if member is None or member.trial is None or status not in ("finished", "pruned"):
        return None
    return Trial(run, member.study, member.arm, member.trial, status == "pruned")


def knobs(found: Sequence[Run]) -> tuple[str, ...]:
    """The paths of the spec in which trials differ."""
    paths = dict.fromkeys(path for run in found for path in run.spec)
    return tuple(p for p in paths if len({shown(value_of(run, p)) for run in found}) > 1)


def tried(run: Run, knob: str) -> Any:
    """The value of a knob in a trial; `absent` where its slot is empty."""
    return run.spec.get(knob, ABSENT)


def _ended(runs: Path, study: str) -> tuple[list[Trial], int]:
    """The trials of a study that finished or were pruned, and how many others there are."""
    found, unfinished = list[Trial](), 0
    for folder in folders(runs):
        member, status = _told(folder.journal)
        if member is None or member.study != study or member.trial is None:
            continue
        if status in ("finished", "pruned"):
            found.append(Trial(read_run(folder), study, member.arm, member.trial, status == "pruned"))
        else:
            unfinished += 1
    return found, unfinished


def _told(journal: Path) -> tuple[Member | None, str]:
    """A run's place as a trial, and how its last process left it."""
    member, status = None, ""
    for line in _NOTES.finditer(journal.read_bytes()):
        record = parse(line[0])
        if record.kind == "stop":
            status = str(record.value["status"])
        else:
            place = member_of(record)
            member = place if place is not None and (member is None or place.trial is not None) else member
    return member, status
