"""Records real short runs, on which searches are compared (`benchmarks/study.py --part search`).

    python benchmarks/record_study_runs.py [--study studies/irra.yaml] [--trials 64] [--out benchmarks/study_runs.csv]

Values are drawn at random from the study's own space, seeds derive from the number of the run: the same table
again, apart from its seconds. A run is `fit` only, short and evaluated often. Every finished run is one line, written
at once; the same command goes on where it was interrupted. One line: the run's number and seed, a column per knob,
`val/mAP@k` of the k-th evaluation, seconds. A knob's column is JSON, empty where the knob does not exist.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
METRIC = "val/mAP@"
FIDELITY = "data.preset: smoke, train.length: {epochs: 3}, eval.every: {epochs: null, fraction: 0.1112}"
SHORT = ("tune.sampler=random", "tune.pruner=null", f"tune.fidelity={{{FIDELITY}}}")


def lines(out: Path) -> dict[int, dict[str, str]]:
    """What is recorded, by number; a torn last line is not."""
    if not out.exists():
        return {}
    with out.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("seconds")]
    return {int(row["number"]): row for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=ROOT / "studies" / "irra.yaml")
    parser.add_argument("--trials", type=int, default=64, help="runs in the whole table")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "study_runs.csv")
    parser.add_argument("--runs", type=Path, help="keep the runs here; else in a folder that is thrown away")
    parser.add_argument("--more", type=int, help="at most so many runs in this call")
    parser.add_argument("--set", action="append", default=list(SHORT), help="as in `reid-lab study --set`")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record(given, given.runs or Path(folder) / "runs", Path(folder) / "drawn.journal")
    return 0


def record(given: argparse.Namespace, runs: Path, drawn: Path) -> None:
    from reid_lab import experiment
    from reid_lab.console import Console
    from reid_lab.study.load import load_study
    from reid_lab.study.search import Search, Storage

    study = load_study(given.study, given.set)
    (arm,) = study.plan.arms
    assert study.spec.tune is not None
    space, _ = study.space(arm)
    search = Search(Storage.open(drawn), arm.name, {"key": "recorded"}, space, sampler="random")
    done, left = lines(given.out), given.trials if given.more is None else given.more
    for _ in range(given.trials):
        asked = search.ask()  # values depend on the number alone, whether it is run or not
        if asked.number in done or left == 0:
            continue
        left -= 1
        curve: dict[int, float] = {}

        def keep(step: int, metrics: Mapping[str, float], curve: dict[int, float] = curve) -> None:
            if step > 0:  # before training nothing was chosen
                curve[step] = metrics["mAP"]

        loaded = study.arm(arm, {**study.spec.tune.fidelity, **space.patch(asked.values)}, seed=asked.seed)
        began = time.perf_counter()
        experiment.run(loaded, runs=runs, console=Console(quiet=True), until="fit", on_eval=keep)
        seconds = time.perf_counter() - began
        row: dict[str, Any] = {"number": asked.number, "seed": asked.seed}
        row |= {d.name: json.dumps(asked.values[d.name]) if d.name in asked.values else "" for d in space.dimensions}
        row |= {f"{METRIC}{k}": repr(curve[step]) for k, step in enumerate(sorted(curve), 1)}
        done[asked.number] = {**{k: str(v) for k, v in row.items()}, "seconds": f"{seconds:.1f}"}
        write(given.out, done)
        print(f"run {asked.number} of {given.trials}: mAP {list(curve.values())[-1]:.4f}, {seconds:.1f} s", flush=True)


def write(out: Path, done: Mapping[int, Mapping[str, str]]) -> None:
    """The whole table, in place of the old one."""
    rows = [done[number] for number in sorted(done)]
    new = out.with_suffix(".new")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    new.replace(out)


if __name__ == "__main__":
    raise SystemExit(main())
