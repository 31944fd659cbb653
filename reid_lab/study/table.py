"""The plan of a study as a table: what each arm changes in the base, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reid_lab.spec.patch import diff
from reid_lab.spec.show import scalar
from reid_lab.study.load import LoadedStudy
from reid_lab.study.plan import Arm

ARM_COLUMNS = ("arm", "changes", "lacks")


def arm_rows(study: LoadedStudy) -> Iterator[tuple[str, str, str]]:
    """A row for each arm of the plan."""
    before = study.base.spec.plain()
    searched = study.spec.tune is not None
    for arm in study.plan.arms:
        lacking = study.space(arm)[1] if searched else ()
        yield arm.name, ", ".join(changes(study, arm, before)), ", ".join(lacking)


REJECTED_COLUMNS = ("rejected", "why")


def rejected_rows(study: LoadedStudy) -> Iterator[tuple[str, str]]:
    """A row for each cell that cannot be."""
    for cell in study.plan.rejected:
        yield cell.name, cell.reason


def changes(study: LoadedStudy, arm: Arm, before: Mapping[str, Any] | None = None) -> list[str]:
    """`path: value` for each path at which the arm differs from the base; nothing when it is the base.

    before: the base as plain data, when the caller has it.
    """
    base = study.base.spec.plain() if before is None else before
    return [f"{change.path}: {_short(change.after)}" for change in diff(base, study.specs[arm.name].plain())]


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_short, value)) + "]"
    return scalar(value)
