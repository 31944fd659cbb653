"""From one data set to another: a matrix of sources and targets, from the looks at test that runs recorded.

The run of a source is measured on its own data when it is tested, on others by `reid-lab evaluate RUN --data TARGET`.
A cell is the mean over the seeds that were measured on the target; of several looks the last one counts.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from reid_lab.errors import UserError, nearest
from reid_lab.report.comparison import METRICS, PROTOCOL, Comparison, Line
from reid_lab.report.groups import Group, shown
from reid_lab.report.reading import Run, full_name
from reid_lab.report.table import Cell, Column, Grid, number
from reid_lab.tracking.records import parse

_LOOK = re.compile(rb'^\{"kind":"note","name":"look_at_test",.*\n', re.MULTILINE)


@final
@dataclass(frozen=True)
class Look:
    """What a run found on the test items of one data set.

    metrics: `test/mAP`, … in percent. digests: of the data; any one tells it (a carved val split changes one of
    them). spec: dotted path -> value of what was measured, as far as it was recorded. version: of the metrics' code.
    """

    run: Run
    metrics: Mapping[str, float]
    digests: frozenset[str]
    spec: Mapping[str, Any]
    version: Any


def matrix(groups: Sequence[Group], names: Sequence[str], metrics: Sequence[str]) -> tuple[Comparison, Grid]:
    """The table of a transfer: a row for each group and source, a column for each metric and target.

    groups: runs that differ in the seed only. names: of the data sets, in the order of the table. metrics: as in
    `comparison.compare`. Raises `UserError` for names of which no run knows, and for columns that mix protocols,
    data or versions of the metrics.
    """
    runs = [run for group in groups for run in group.runs if _source(run) in names]
    known = _known(runs)
    looks = {run.run_id: _looks(run, known) for run in runs}
    _refuse_unknown(names, {name for found in looks.values() for name in found})
    looks = {run: {name: found[name] for name in names if name in found} for run, found in looks.items()}
    chosen = tuple(dict.fromkeys(metrics)) or tuple(
        m for m in METRICS if all(f"test/{m}" in look.metrics for found in looks.values() for look in found.values())
    )
    if not chosen:
        raise UserError("these looks at test have no metric in common; --metrics names some")
    faults = [fault for name in names for fault in _mixed(name, [f[name] for f in looks.values() if name in f])]
    if faults:
        raise UserError(*faults)
    rows = [(name, group) for name in names for group in groups if _source(group.runs[0]) == name]
    columns = [Column("trained on", numeric=False)]
    columns += [Column(f"{m} on {name}", ("mean", "deviation", "seeds")) for m in chosen for name in names]
    made, lacking = list[tuple[Cell, ...]](), dict[str, None]()
    for source, group in rows:
        cells = [_row_name(source, group, groups)]
        for metric in chosen:
            for target in names:
                found = [looks[run.run_id].get(target) for run in group.runs]
                cells.append(_cell(metric, [look for look in found if look is not None]))
                lacking |= dict.fromkeys(_lacking(group, source, target, looks))
        made.append(tuple(cells))
    sources = {source for source, _ in rows}
    notes = [*_notes(rows), *_measured_with(names, looks)]
    notes += [f"missing: no run here was trained on {name}" for name in names if name not in sources]
    notes += list(lacking)
    comparison = Comparison((), chosen, "", "none", ())
    return comparison, Grid(tuple(columns), tuple(made), tuple(notes))


def filters(names: Sequence[str]) -> tuple[str, ...]:
    """The words of a selection that choose the runs of these sources."""
    return tuple(f"data={name}" for name in names)


def _source(run: Run) -> str:
    return str(run.spec.get("data.name", ""))


def _known(runs: Sequence[Run]) -> dict[str, str]:
    """Digest of a data set -> its name, from the runs that were trained on it."""
    return {digest: _source(run) for run in runs for digest in _own(run)}


def _own(run: Run) -> frozenset[str]:
    found = {run.digests.get(_source(run), ""), str(run.inputs.get("tested", ""))}
    return frozenset(found - {""})


def _looks(run: Run, known: Mapping[str, str]) -> dict[str, Look]:
    """What a run found, by data set; known: digest -> name, for looks that an earlier version recorded without one."""
    found = dict[str, Look]()
    for line in _LOOK.finditer(run.folder.journal.read_bytes()):
        value = parse(line[0]).value
        name = str(value.get("name") or known.get(str(value.get("data")), ""))
        if not name or "metrics" not in value:
            continue
        metrics = {full_name(key): number for key, number in value["metrics"].items()}
        digests = frozenset({str(value.get("data", "")), str(value.get("tested", ""))} - {""})
        spec = value.get("spec") or {"eval.protocol": value.get("protocol")}
        found[name] = Look(run, metrics, digests, spec, value.get("metrics_version", run.metrics_version))
    tested = {key: value for key, value in run.metrics.items() if key.startswith("test/")}
    return {**found, _source(run): Look(run, tested, _own(run), run.spec, run.metrics_version)}


def _refuse_unknown(names: Sequence[str], told: set[str]) -> None:
    faults = []
    for name in names:
        if name not in told:
            near = nearest(name, told)
            hint = f"; did you mean '{near}'?" if near else f"; they know {', '.join(sorted(told))}" if told else ""
            faults.append(f"--transfer {name}: none of these runs was trained or tested on it{hint}")
    if len(set(names)) < max(2, len(names)):
        faults.append("--transfer: name two data sets or more, each once")
    if faults:
        raise UserError(*faults)


def _mixed(target: str, looks: Sequence[Look]) -> Iterator[str]:
    """What differs in a column that may not."""
    for path in (f"eval.{name}" for name in PROTOCOL):
        values: dict[str, list[str]] = {}
        for look in looks:
            below = {name: value for name, value in look.spec.items() if name.startswith(f"{path}.")}
            if below or path in look.spec:
                values.setdefault(shown(below or look.spec[path]), []).append(look.run.run_id)
        yield from _told(f"on {target}, protocols differ in {path}", values)
    if looks and not frozenset.intersection(*(look.digests for look in looks)):
        parts: dict[str, list[str]] = {}
        for look in looks:
            parts.setdefault(", ".join(sorted(digest[:12] for digest in look.digests)), []).append(look.run.run_id)
        yield from _told(f"on {target}, data differ", parts)
    versions: dict[str, list[str]] = {}
    for look in looks:
        versions.setdefault(shown(look.version), []).append(look.run.run_id)
    yield from _told(f"on {target}, metrics versions differ", versions)


def _told(what: str, values: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if len(values) > 1:
        each = "; ".join(f"{value} in {', '.join(ids[:3])}" for value, ids in values.items())
        yield f"{what}: {each}; narrow the selection, or evaluate again"


def _row_name(source: str, group: Group, groups: Sequence[Group]) -> Cell:
    alone = sum(_source(other.runs[0]) == source for other in groups) == 1
    marks = "".join(Line(group, {}, {}, {}, ()).marks)
    told = source if alone else f"{source} ({group.name})"
    return Cell((f"{told} {marks}" if marks else told,))


def _cell(metric: str, looks: Sequence[Look]) -> Cell:
    if not looks:
        return Cell(("missing",))
    values = []
    for look in looks:
        value = look.metrics.get(full_name(metric), math.nan)
        if not math.isfinite(value):
            known = ", ".join(sorted(look.metrics)) or "none"
            raise UserError(f"{look.run.run_id}: a look at test has no {metric}; it has {known}")
        values.append(value)
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Cell((number(mean), "–", "1"), "{} ± {} (n {})", (mean,))
    deviation = statistics.stdev(values)
    parts = number(mean), number(deviation), str(len(values))
    return Cell(parts, "{} ± {} (n {})", (mean, deviation, float(len(values))))


def _lacking(group: Group, source: str, target: str, looks: Mapping[str, Mapping[str, Look]]) -> Iterator[str]:
    """The sentence of a cell that lacks seeds, with the command that fills one of them."""
    missing = [run for run in group.runs if target not in looks[run.run_id]]
    if not missing:
        return
    whole = len(missing) == len(group.runs)
    there = [look for found in looks.values() if (look := found.get(target)) is not None]
    words = ["reid-lab", "evaluate", missing[0].run_id, "--data", target]
    protocol = there[0].spec.get("eval.protocol") if there else None
    if protocol is not None and protocol != missing[0].spec.get("eval.protocol"):
        words += ["--protocol", str(protocol)]
    if target != "synthetic":
        words += ["--set", "data.root=FOLDER"]
    what = "missing" if whole else f"{len(missing)} of {len(group.runs)} seeds missing"
    yield f"{what}: {source} to {target}; `{' '.join(words)}` fills {'one' if len(missing) > 1 else 'it'}"


def _notes(rows: Sequence[tuple[str, Group]]) -> Iterator[str]:
    yield "a row: trained on; a column: tested on; mean ± standard deviation over n training seeds, percent"
    marks = {mark for _, group in rows for mark in Line(group, {}, {}, {}, ()).marks}
    if "†" in marks:
        yield "† selected on TEST: the best of several looks at test, no estimate of anything new"
    if "‡" in marks:
        yield "‡ fitted on more than train"


def _measured_with(names: Sequence[str], looks: Mapping[str, Mapping[str, Look]]) -> Iterator[str]:
    for name in names:
        there = [found[name] for found in looks.values() if name in found]
        if there:
            common = sorted(frozenset.intersection(*(look.digests for look in there)))
            protocol = shown(there[0].spec.get("eval.protocol"))
            yield f"{name}: protocol {protocol}; data {common[0][:12]}; metrics version {shown(there[0].version)}"
