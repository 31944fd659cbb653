"""Where a test failed: `reid-lab slices`, of one run or of two on the same queries."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_lab.errors import DataError, Fault, RunError, UserError, unknown
from reid_lab.probing.keeping import check_out, keep
from reid_lab.probing.queries import METRICS, Queries, read_queries
from reid_lab.probing.slices import CLAIM, Slicing, by_task, sliced
from reid_lab.tracking.looks import record_look
from reid_lab.tracking.runs import RunFolder, find

FILE, AGAINST = "probing/slices.json", "probing/slices_{}.json"
FROM_RECORDS = ("modality", "modalities")
PAIRS = "camera pair"
KNOWN = (
    *FROM_RECORDS,
    *("camera", "occlusion", "view", "upper", "upper_colour", "gender"),
    *("caption length", "colour word", "garment word", "clothes change", PAIRS),
)


def slices_run(
    name: str,
    runs: Path,
    other: str | None = None,
    *,
    by: Sequence[str] = (),
    metric: str = "mAP",
    seed: int = 0,
    device: str | None = None,
    out: Path | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Slices a run's test, compared with another run where one is named.

    by: names of slicings; empty: all that records and data tell. `camera pair` must be asked for: it embeds the test
    again with the weights of each run, and that look is recorded. Without it nothing is computed with a model; of
    modalities alone the data are not opened.

    Raises `UserError`s: a run without a test or its queries, runs that were asked other things, an unknown slicing or
    metric, a slicing that the data do not know.
    """
    faults = [f"--by: {unknown('slicing', one, KNOWN)}" for one in by if one not in KNOWN]
    if metric not in METRICS:
        faults.append(f"--metric: {unknown('metric', metric, METRICS)}")
    if faults:
        raise UserError(*faults)
    check_out(out)
    folders = [find(runs, one) for one in (name, other) if one is not None]
    told = [read_queries(folder) for folder in folders]
    if len(told) > 1 and not told[0].same(told[1]):
        raise RunError(Fault(f"was tested with other queries than {folders[0].run_id}", folders[1].run_id))
    slicings, notes = _slicings(folders[0], told[0], by)
    rows = sliced(told[0], slicings, *told[1:], metric=metric, seed=seed) if not by or slicings else []
    if PAIRS in by:
        pairs = [_pairs(folder, device, say, notes) for folder in folders]
        both = sliced(pairs[0][0], [pairs[0][1]], *(queries for queries, _ in pairs[1:]), metric=metric, seed=seed)
        rows += both[1:] if rows else both
    found = {
        "version": 1,
        "run": folders[0].run_id,
        "other": folders[1].run_id if len(folders) > 1 else None,
        "names": [_title(folder) for folder in folders],
        "metric": metric,
        "seed": seed,
        "claim": CLAIM,
        "overlapping": [one.name for one in slicings if not one.whole],
        "rows": rows,
        "notes": notes,
    }
    place = FILE if len(folders) == 1 else AGAINST.format(folders[1].run_id)
    keep(folders[0], found, name=place, out=out, csv=csv_of, looked=PAIRS in by, say=say)
    return found


def _title(folder: RunFolder) -> str:
    summary = folder.summary()
    name, seed = summary.get("name", "unnamed"), summary.get("seed", "")
    return f"{name}, seed {seed} ({folder.run_id})" if seed != "" else f"{name} ({folder.run_id})"


def _slicings(folder: RunFolder, queries: Queries, by: Sequence[str]) -> tuple[list[Slicing], list[str]]:
    """The slicings that are asked for, and why others are not there."""
    found = by_task(queries)
    notes: list[str] = []
    if not by or set(by) - {*FROM_RECORDS, PAIRS}:
        try:
            found += _of_data(folder, queries)
        except UserError as error:
            if by:
                raise
            notes.append(f"sliced by modality alone: {error.faults[0]}")
    if not by:
        return found, notes
    there = [one.name for one in found]
    missing = [one for one in by if one not in there and one != PAIRS]
    if missing:
        raise DataError(
            *(f"--by {one}: the queries of {folder.run_id} are all alike in it, or nothing is known" for one in missing)
        )
    return [one for one in found if one.name in by], notes


def _of_data(folder: RunFolder, queries: Queries) -> list[Slicing]:
    """What only the data set tells; torch is imported with it."""
    from reid_lab.assembly import open_source
    from reid_lab.probing.asked import check_same, slicings, tasks_of
    from reid_lab.reload import respecified

    if folder.summary().get("features"):
        raise RunError(Fault("measured features of other code, and names no data set", folder.run_id))
    spec = respecified(folder)
    dataset = open_source(spec.data).dataset
    tasks = tasks_of(spec, dataset)
    check_same(queries, tasks)
    return list(slicings(dataset, tasks))


def _pairs(
    folder: RunFolder, device: str | None, say: Callable[[str], object], notes: list[str]
) -> tuple[Queries, Slicing]:
    from reid_lab import measuring
    from reid_lab.assembly import open_source
    from reid_lab.probing.asked import camera_pairs
    from reid_lab.reload import recorded, reloaded, respecified

    facts = recorded(folder)
    spec = respecified(folder, device=device)
    left = [name for name in ("rerank", "expansion") if getattr(spec.eval, name) is not None]
    if left:
        notes.append(f"{PAIRS}: ranked by inner products, without eval.{' and eval.'.join(left)} of {folder.run_id}")
    say(f"embedding the test of {folder.run_id}")
    parts = reloaded(folder, spec, open_source(spec.data), facts)
    record_look(folder, {"sliced": PAIRS, "data": parts.source.dataset.digest})
    return camera_pairs(parts, measuring.tasks(parts, "test"))


def csv_of(found: Mapping[str, Any]) -> str:
    """Every slice as a line, in full precision."""
    text = io.StringIO()
    keys = ("slicing", "slice", "n", "people", *METRICS, "other", "difference", "low", "high", "p", "p_adjusted")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(keys)
    for row in found["rows"]:
        low, high = row["interval"]
        lines.writerow([{**row, "low": low, "high": high}.get(key, "") for key in keys])
    return text.getvalue()


def head_and_rows(found: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The slices as a table to print."""
    metric = found["metric"]
    head: tuple[str, ...] = ("slicing", "slice", "n", "people", *METRICS)
    head += (f"{metric} [95%]",) if found["other"] is None else (f"other {metric}", "Δ [95%]", "p")
    rows = []
    for row in found["rows"]:
        low, high = row["interval"]
        cells = [row["slicing"], row["slice"], str(row["n"]), str(row["people"])]
        cells += [f"{row[key]:.2f}" for key in METRICS]
        if found["other"] is None:
            cells.append(f"[{low:.2f}, {high:.2f}]")
        else:
            cells += [f"{row['other']:.2f}", f"{row['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"]
            cells.append(f"{row['p_adjusted']:.3f}")
        rows.append(tuple(cells))
    return head, rows
