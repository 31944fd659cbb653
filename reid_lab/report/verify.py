"""Whether a written table still says what the runs say: everything is recomputed from their journals and compared."""

from __future__ import annotations

import csv
import html
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_lab.errors import Fault, UserError
from reid_lab.report.document import FORMATS, cells, groups_of, recipe_of
from reid_lab.report.manifest import VERSION, Block, blocks, intact
from reid_lab.report.reading import tampered
from reid_lab.report.table import Grid


def verified(file: Path, runs: Path) -> tuple[str, list[Fault]]:
    """What was checked, in words, and each cell of each table in a file that the runs do not confirm.

    Raises `UserError` when the file holds no table with a manifest.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(Fault("no such file", str(file))) from None
    except UnicodeDecodeError:
        raise UserError(Fault("is no text", str(file))) from None
    found = list(blocks(text))
    if not found:
        what = "holds no table with a manifest; `reid-lab compare … --out FILE` writes one"
        raise UserError(Fault(what, str(file)))
    faults, counted, members = list[Fault](), 0, 0
    for block in found:
        told, numbers, used = _block(block, runs)
        where = f"{file}:{block.line}"
        faults += [Fault(what, where) for what in told]
        counted, members = counted + numbers, members + used
    alone = "figure" if '"figure": {' in found[0].manifest else "table"
    tables = f"1 {alone}" if len(found) == 1 else f"{len(found)} tables"
    if not counted and not faults:
        return f"the data of a figure of {members} runs is as it was written; its numbers need weights", faults
    return f"{tables}, {counted} numbers from {members} runs, all as the runs say", faults


def _block(block: Block, runs: Path) -> tuple[list[str], int, int]:
    """The faults of a table, how many numbers stand in it, and how many runs it was made from."""
    try:
        facts = json.loads(block.manifest)
        version = facts["version"]
    except (ValueError, TypeError, KeyError):
        return ["the manifest is damaged; nothing can be checked"], 0, 0
    if version != VERSION:
        return [f"the manifest is of version {version}; this code reads {VERSION}"], 0, 0
    faults = []
    if not intact(block.manifest, facts):
        faults.append("the manifest was changed after it was written")
    try:
        if "figure" in facts:
            told, numbers, members = _figure(block, facts, runs)
            return [*faults, *told], numbers, members
        recipe = recipe_of(facts, runs)
        faults += _runs(facts, recipe.groups)
        _, made = recipe.compared()
    except UserError as error:
        return [*faults, *map(str, error.faults)], 0, 0
    except (KeyError, TypeError, AttributeError):
        return [*faults, "the manifest is damaged; nothing can be checked"], 0, 0
    faults += _values(facts["cells"], cells(made))
    expected = FORMATS[recipe.form](made).splitlines()
    faults += _lines(block.body, expected, made, recipe.form)
    numbers = sum(len(cell.values) for row in made.rows for cell in row)
    return faults, numbers, sum(len(group.runs) for group in recipe.groups)


def _figure(block: Block, facts: Mapping[str, Any], runs: Path) -> tuple[list[str], int, int]:
    """As `_block`, of the data of a figure; that of a kind which reads weights is compared with what was written."""
    from reid_lab.report.figures import checking  # imports matplotlib
    from reid_lab.report.figures.making import recomputed

    if not facts["figure"]["recomputed"]:
        told = ["the data was changed after it was written"] if checking.changed(block.body, facts) else []
        groups = groups_of(facts, runs)
        return [*_runs(facts, groups), *told], 0, sum(len(group.runs) for group in groups)
    asked, drawn = recomputed(facts, runs)
    found = [*_runs(facts, asked.groups), *checking.differences(block.body, facts, drawn)]
    return found, checking.numbers(block.body), len(asked.members)


def _runs(facts: Mapping[str, Any], groups: Sequence[Any]) -> Iterator[str]:
    """Runs whose identity or metrics are not those of the manifest, or whose results are not those of the journal."""
    for told, group in zip(facts["groups"], groups, strict=True):
        for one, run in zip(told["runs"], group.runs, strict=True):
            if one["identity"] != run.identity:
                yield f"{run.run_id}: the manifest says identity {one['identity'][:12]}…, the run {run.identity[:12]}…"
            for name, value in one["metrics"].items():
                if run.metrics.get(name) != value:
                    yield f"{run.run_id}, {name}: the manifest says {value!r}, the journal {run.metrics.get(name)!r}"
            why = tampered(run)
            if why:
                yield f"{run.run_id}: {why}"


def _values(told: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Cells of the manifest that are not what is recomputed; the last bits may differ between machines."""
    for row in dict.fromkeys((*told, *found)):
        columns = dict.fromkeys((*told.get(row, {}), *found.get(row, {})))
        for column in columns:
            one, other = told.get(row, {}).get(column), found.get(row, {}).get(column)
            if one is None or other is None or not _same(one, other):
                yield f"row '{row}', column '{column}': the manifest says {one}, the runs {other}"


def _same(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    return len(one) == len(other) and all(
        a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12))
        for a, b in zip(one, other, strict=True)
    )


def _lines(found: Sequence[str], expected: Sequence[str], made: Grid, form: str) -> Iterator[str]:
    """What stands in a file that the runs do not say, and what they say that does not stand there.

    Rows are compared cell by cell; other lines with digits must stand there as they were written.
    """
    width = len(_split(expected[0], form)) if form == "csv" else len(made.columns)
    names = _split(expected[0], form) if form == "csv" else [column.title for column in made.columns]
    (rows, beside), (wanted, besides) = (_parted(lines, made, form, width) for lines in (found, expected))
    by_name = {row[0]: row for row in rows}
    for place, row in enumerate(wanted):
        own = rows[place] if len(rows) == len(wanted) else by_name.get(row[0])
        if own is None:
            yield f"row '{row[0]}' is not there"
            continue
        for column, says, right in zip(names, own, row, strict=True):
            if says != right:
                yield f"row '{row[0]}', column '{column}': the file says '{says}', the runs '{right}'"
    known = {row[0] for row in wanted}
    if len(rows) != len(wanted):
        yield from (f"row '{row[0]}' is not from the runs" for row in rows if row[0] not in known)
    yield from _beside(beside, besides)


def _parted(lines: Sequence[str], made: Grid, form: str, width: int) -> tuple[list[list[str]], list[str]]:
    """The rows of a table, the head among them, and the lines beside them, their spaces evened."""
    if form == "table":  # its columns are told by where they stand
        widths = [max(len(c.title), *(len(row[k].text) for row in made.rows)) for k, c in enumerate(made.columns)]
        starts = [sum(widths[:k]) + 2 * k for k in range(width)]
        split = [[line[at : at + size].strip() for at, size in zip(starts, widths, strict=True)] for line in lines]
        rows, rest = split[: len(made.rows) + 1], list(lines[len(made.rows) + 1 :])
    else:
        rows = [_split(line, form) for line in lines if len(_split(line, form)) == width]
        rest = [line for line in lines if len(_split(line, form)) != width]
    return rows, [" ".join(line.split()) for line in rest]


def _beside(found: Sequence[str], expected: Sequence[str]) -> Iterator[str]:
    left = list(found)
    for line in expected:
        if line in left:
            left.remove(line)
        elif line:
            yield f"as written, there was a line '{line}'"
    yield from (f"'{line}' is not from the runs" for line in left if re.search(r"\d", line))


def _split(line: str, form: str) -> list[str]:
    """The cells of a line; a single one where it is no row."""
    line = line.strip()
    if form == "latex":
        return (
            [c.strip() for c in re.split(r"(?<!\\)&", line.removesuffix("\\\\"))] if line.endswith("\\\\") else [line]
        )
    if form == "markdown":
        return [c.strip() for c in re.split(r"(?<!\\)\|", line.strip("|"))] if line.startswith("|") else [line]
    if form == "html":
        found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line)
        return [html.unescape(cell) for cell in found] or [line]
    return [line] if line.startswith("#") else next(csv.reader([line]), [""])
