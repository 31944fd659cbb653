"""Whether the CSV of a figure still says what the runs say."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reid_lab.report.figures.style import Drawn, digest, table


def changed(body: Sequence[str], facts: Mapping[str, Any]) -> bool:
    """Whether the data is not what was written."""
    return bool(digest("\n".join(body) + "\n") != facts["data"])


def differences(body: Sequence[str], facts: Mapping[str, Any], drawn: Drawn) -> Iterator[str]:
    """Each cell that the runs do not confirm. What is as written may differ in the last bits between machines."""
    found, wanted = list(csv.reader(body)), list(csv.reader(table(drawn.rows).splitlines()))
    touched = changed(body, facts)
    told = False
    for number, (own, right) in enumerate(zip(found, wanted, strict=False)):
        if len(own) != len(right):
            told = True
            yield f"row {number} has {len(own)} columns, the runs give {len(right)}"
            continue
        for column, says, runs in zip(wanted[0], own, right, strict=True):
            if says != runs and (touched or not _same(says, runs)):
                told = True
                where = f"row {number} ({_named(wanted[0], right)}), column '{column}'"
                yield f"{where}: the file says '{says}', the runs '{runs}'"
    if len(found) != len(wanted):
        told = True
        yield f"has {len(found) - 1} rows, the runs give {len(wanted) - 1}"
    if touched and not told:
        yield "the data was changed after it was written"


def numbers(body: Sequence[str]) -> int:
    """How many numbers stand in the data."""
    return sum(_number(cell) is not None for row in list(csv.reader(body))[1:] for cell in row)


def _named(head: Sequence[str], row: Sequence[str]) -> str:
    """What tells a row from others: its first cells that are words or whole numbers."""
    told = [f"{name} {cell}" for name, cell in zip(head, row, strict=True) if cell and "." not in cell]
    return ", ".join(told[:3])


def _same(one: str, other: str) -> bool:
    a, b = _number(one), _number(other)
    return a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
