"""What a study would compute: its cells, what each changes, the runs that exist already, the cost of the rest."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reid_lab import experiment
from reid_lab.study.load import LoadedStudy
from reid_lab.study.table import ARM_COLUMNS, arm_rows, rejected_rows
from reid_lab.study.words import duration
from reid_lab.tracking.runs import RunFolder, folders


def dry_lines(
    study: LoadedStudy, runs: Path, *, trials: int | None = None, seeds: Sequence[int] | None = None
) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]:
    """The plan as a table (columns, rows), and what is said below it."""
    tune = study.spec.tune
    wanted = tuple(seeds if seeds is not None else study.spec.seeds)
    per_arm = 0 if tune is None else tune.trials if trials is None else trials
    there: dict[str, list[RunFolder]] = {}
    if tune is None:
        for arm in study.plan.arms:
            spec = study.specs[arm.name]
            seeded = (spec.model_copy(update={"seed": seed}) for seed in wanted)
            identities = (experiment.identified(one, runs) for one in seeded)
            found = (experiment.found(identity, runs, "test") for identity in identities)
            there[arm.name] = [folder for folder in found if folder is not None]
    rows: list[tuple[str, ...]] = []
    for row in arm_rows(study):
        done = there.get(row[0], [])
        cells = f"{len(wanted)} seeds" + (f", {len(done)} exist" if done else "")
        rows.append((*row, f"{per_arm} trials, {cells}" if per_arm else cells))
    rows += [(name, "", "", f"cannot be: {why}") for name, why in rejected_rows(study)]
    existing = sum(map(len, there.values()))
    arms = len(study.plan.arms)
    told = [f"{arms} arms x {len(wanted)} seeds = {arms * len(wanted)} runs, {existing} of them exist"]
    if tune is not None:
        names = [d.name for d in study.space(study.plan.arms[0])[0].dimensions]
        told.append(f"before them {arms} x {per_arm} trials over {', '.join(names)}")
    told.append(_cost(study, runs, there, arms * len(wanted) - existing, arms * per_arm))
    return (*ARM_COLUMNS, "runs"), rows, told


def _cost(study: LoadedStudy, runs: Path, there: dict[str, list[RunFolder]], cells: int, trials: int) -> str:
    """The time of what is missing, from finished runs of these arms, else of this architecture on these data."""
    known = [f.summary() for found in there.values() for f in found] or _alike(study, runs)
    seconds = [float(summary["seconds"]) for summary in known if "seconds" in summary]
    if not seconds:
        return "cost: not known before a first run has finished"
    each = statistics.median(seconds)
    share = 1.0 if study.spec.tune is None else _share(study)
    whole = duration(each * (cells + share * trials))
    return f"cost: about {whole} on one worker, at {duration(each)} a run (the median of {len(seconds)} finished)"


def _share(study: LoadedStudy) -> float:
    """How long a trial is, of a whole run; 1 where the two lengths have different units."""
    assert study.spec.tune is not None
    arm = study.plan.arms[0]
    short = study.arm(arm, study.spec.tune.fidelity).spec.train.length.span()
    whole = study.arm(arm).spec.train.length.span()
    return short.amount / whole.amount if short.unit == whole.unit else 1.0


def _alike(study: LoadedStudy, runs: Path) -> list[dict[str, Any]]:
    """The summaries of finished runs of the base experiment."""
    name = study.arm(study.plan.arms[0]).spec.name
    summaries = (folder.summary() for folder in folders(runs))
    return [s for s in summaries if s.get("name") == name and "test" in s.get("stages", ())]
