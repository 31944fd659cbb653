"""Which arms of which studies a run belongs to: events of its journal, named `member`.

A run may be a cell of several studies, and may be older than any of them. The first study that claims it
gives it its parent in mlflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.records import Record, read
from reid_lab.tracking.runs import RunFolder

NOTE = "member"


@dataclass(frozen=True)
class Member:
    """A run's place in a study.

    parent: the id of the arm's own journal (`tracking.arms`), `STUDY/ARM`. trial: its number; None for a cell.
    """

    study: str
    arm: str
    parent: str
    trial: int | None = None


def member_of(record: Record) -> Member | None:
    """The membership that a record tells; None when it tells something else."""
    return Member(**record.value) if (record.kind, record.name) == ("note", NOTE) else None


def members(path: Path) -> Iterator[Member]:
    """The memberships that a journal holds, oldest first."""
    for record, _ in read(path):
        found = member_of(record)
        if found is not None:
            yield found


def enter(journal: Journal, member: Member) -> None:
    """Adds a membership to an open journal, unless it holds it."""
    if member not in map(member_of, journal.records()):
        journal.record("note", NOTE, 0, asdict(member))
        journal.flush()


def claim(folder: RunFolder, member: Member) -> None:
    """Adds a membership to a run that nobody works on. Raises `RunError` when the run is in use."""
    if member not in members(folder.journal):
        with RunLock(folder.path), Journal(folder.journal, strict=False) as journal:
            enter(journal, member)
