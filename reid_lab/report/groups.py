"""Runs in groups: by the arms of a study, by fields of the spec, or by the whole spec but for the seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from reid_lab.errors import UserError, nearest, unknown
from reid_lab.report.reading import Run

SHORT = {"architecture": "model.name", "data": "data.name"}
"""Short names of paths of the spec, in filters and in `--by`."""

ABSENT = "absent"
LONGEST = 40
"""A group is named by its one change when that is no longer; else by a number, and the table tells the changes."""


@final
@dataclass(frozen=True)
class Group:
    """The runs of one line of a table, by seed; `levels` tells a study's components (`mer` -> `on`)."""

    name: str
    runs: tuple[Run, ...]
    levels: Mapping[str, str] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seeds, in the order of the runs."""
        return tuple(run.seed for run in self.runs)


def value_of(run: Run, key: str) -> Any:
    """The value of a run at a key of filters and of `--by`; `absent` where its spec has no such path."""
    if key == "experiment":
        return run.name
    if key == "seed":
        return run.seed
    path = SHORT.get(key, key)
    if path in run.spec:
        return run.spec[path]
    head, _, rest = path.rpartition(".")
    while head:  # a path below an empty slot, or inside a list
        if head in run.spec:
            inner: Any = run.spec[head]
            for part in rest.split("."):
                inner = inner.get(part, ABSENT) if isinstance(inner, Mapping) else ABSENT
            return inner
        head, _, last = head.rpartition(".")
        rest = f"{last}.{rest}"
    below = {name for name in run.spec if name.startswith(f"{path}.")}
    return "on" if below else ABSENT


def shown(value: Any) -> str:
    """A value of a spec as text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def check_keys(found: Sequence[Run], keys: Iterable[str], kind: str) -> None:
    """Raises `UserError` for a key that none of the runs has."""
    faults = []
    for key in keys:
        if found and all(value_of(run, key) == ABSENT for run in found):
            near = nearest(key, {*SHORT, "experiment", "seed", *(path for run in found for path in run.spec)})
            hint = f"; did you mean '{near}'?" if near else ""
            faults.append(f"{kind} '{key}': no run here has such a field{hint}")
    if faults:
        raise UserError(*faults)


def grouped(
    runs: Mapping[str, Run],
    arms: Mapping[str, Sequence[str]],
    levels: Mapping[str, Mapping[str, str]],
    by: Sequence[str],
) -> list[Group]:
    """The groups of runs (by id). arms: of studies, with the ids of their cells; levels: of an arm's components.

    Raises `UserError` for a grouping that these runs do not have.
    """
    found = list(runs.values())
    if by == ("arm",) or (not by and arms):
        if not arms:
            raise UserError(unknown("grouping here", "arm", ("architecture", "experiment", "data", "PATH.OF.THE.SPEC")))
        groups = [
            Group(name, tuple(runs[i] for i in members if i in runs), levels[name]) for name, members in arms.items()
        ]
        taken = {i for members in arms.values() for i in members}
        groups += _by_spec([run for run in found if run.run_id not in taken])
    elif by:
        if "arm" in by:
            raise UserError("--by arm stands alone")
        check_keys(found, by, "--by")
        groups = _by_keys(found, by)
    else:
        groups = _by_spec(found)
    return [Group(name, _by_seed(g.runs), g.levels) for name, g in _distinct([g for g in groups if g.runs])]


def _distinct(groups: Sequence[Group]) -> Iterator[tuple[str, Group]]:
    """The groups with names of their own: an arm may be called as an experiment is."""
    names = [group.name for group in groups]
    for place, group in enumerate(groups):
        before = names[:place].count(group.name)
        yield f"{group.name} ({group.runs[0].name})" if before else group.name, group


def _by_seed(found: Sequence[Run]) -> tuple[Run, ...]:
    return tuple(sorted(found, key=lambda run: (-1 if run.seed is None else run.seed, run.run_id)))


def _by_keys(found: Sequence[Run], by: Sequence[str]) -> list[Group]:
    parts: dict[str, list[Run]] = {}
    for run in found:
        values = [
            shown(value_of(run, key)) if key in (*SHORT, "experiment") else f"{key}={shown(value_of(run, key))}"
            for key in by
        ]
        parts.setdefault(", ".join(values), []).append(run)
    return [Group(name, tuple(members)) for name, members in parts.items()]


def _by_spec(found: Sequence[Run]) -> list[Group]:
    """Runs that differ in nothing but the seed, named by what tells them from the others of their name."""
    parts: dict[str, list[Run]] = {}
    for run in found:
        parts.setdefault(json.dumps([run.name, run.spec], sort_keys=True), []).append(run)
    groups: list[Group] = []
    by_name: dict[str, list[list[Run]]] = {}
    for members in parts.values():
        by_name.setdefault(members[0].name, []).append(members)
    for name, alike in by_name.items():
        for number, members in enumerate(alike, 1):
            told = changes(alike[0][0].spec, members[0].spec)
            short = f"{name} ({told[0]})" if len(told) == 1 and len(told[0]) <= LONGEST else f"{name} #{number}"
            groups.append(Group(short if number > 1 else name, tuple(members)))
    return groups


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """`path: value` wherever `after` differs from `before`, both flat; what lies in an emptied slot is not told."""
    told = [f"{path}: {shown(value)}" for path, value in after.items() if before.get(path, ABSENT) != value]
    for path in before:
        if path not in after and not any(path.startswith(f"{other}.") for other in after):
            emptied = any(other.startswith(f"{path}.") for other in after)  # a slot that is filled now
            if not emptied:
                told.append(f"{path}: {ABSENT}")
    return told
