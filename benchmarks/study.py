"""What a search costs and what it saves.

    python benchmarks/study.py [--part overhead] [--part storage] [--part search] [--trials 200] [--pairs 5]

overhead: our `Search` and a bare Optuna ask/report/tell loop on the same kind of storage, in turn, 3 reports a
    trial, TPE, no pruner; nothing is trained. The median ratio of wall time and of processor time over the pairs; at
    most 1.3 is allowed.
    Once the search alone, once the whole driver, whose jobs compute nothing: reading the study file, specs with
    their origins, what is shown and noted, and the arm's record in MLflow are included. The tables of the MLflow
    store are there: they are made once for a folder of runs, not for a study (docs/benchmarks.md, Tracking).
storage: the bare loop, then our search, on SQLite (WAL, BEGIN IMMEDIATE) and on a journal file with a lock of its own.
search: replays recorded runs (benchmarks/study_runs.csv, made by record_study_runs.py). A trial gets the curve of the
    *nearest* recorded run, by Euclidean distance over the knobs scaled to [0, 1] (logarithms where they are searched
    so, 0 or 1 apart for choices); nothing is interpolated. First every search has the same number of trials, then as
    many evaluations as that number of unpruned trials takes. Compared is the last mAP of the best complete trial.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from functools import cache, reduce
from pathlib import Path
from typing import Any

from reid_lab.study.driver import Driver
from reid_lab.study.executors import Executor
from reid_lab.study.jobs import Outcome
from reid_lab.study.load import load_study
from reid_lab.study.search import Search, Storage
from reid_lab.study.space import Dimension, Space
from reid_lab.study.view import view
from reid_lab.tracking.mlflow_store import Store

LIMIT = 1.3
TABLE = Path(__file__).with_name("study_runs.csv")
SPACE = Space(
    (
        Dimension("model.sdm", "float", 0.1, 10.0, True),
        Dimension("model.id", "float", 0.1, 10.0, True),
        Dimension("model.mlm.weight", "float", 0.1, 10.0, True),
        Dimension("train.optimizer.lr", "float", 1e-4, 1e-3, True),
        Dimension("model.mlm.depth", "int", 1, 4),
    )
)
Loop = Callable[[Path, int], None]


def value(values: Mapping[str, Any], step: int) -> float:
    return -sum(math.log10(values[d.name]) ** 2 for d in SPACE.dimensions) - 1 / step


def ours(path: Path, trials: int) -> None:
    """Our search: ask, three reports, tell; `told` before each, as a driver looks at it."""
    search = Search(Storage.open(path), "arm", {"key": "benchmark"}, SPACE, sampler="tpe", evaluations=3)
    while len(search.told()) < trials:
        for asked in search.unfinished() or [search.ask()]:
            for step in (1, 2, 3):
                search.report(asked.number, step, value(asked.values, step))
            search.tell(asked.number, "complete", [value(asked.values, 3)], {"run": "benchmark"})


class Pretend(Executor):
    """Computes nothing: three evaluations a trial, no cell."""

    def perform(self, jobs: Any, *, started: Any, evaluated: Any, ended: Any) -> None:
        for job in jobs:
            started(job)
            if job.number is None:
                ended(job, Outcome("failed", cause="nothing is trained here"))
                continue
            spec = job.loaded.spec.plain()
            values = {d.name: reduce(lambda inner, key: inner[key], d.name.split("."), spec) for d in SPACE.dimensions}
            for step in (1, 2, 3):
                evaluated(job, step, {"mAP": value(values, step)})
            ended(job, Outcome("complete", "", {"mAP": value(values, 3)}, cost={"seconds": 1.0}))


STUDY = """\
base: BASE
name: benchmark
seeds: [0]
storage: STORAGE
tune:
  fidelity: {train.length: {epochs: 3}}
  pruner: null
  search: [KNOBS]
"""


def driven(path: Path, trials: int) -> None:
    """The driver of a study around the search: specs, jobs, the arm's journal, where the study stands."""
    knobs = ", ".join(f"{{path: {d.name}, low: {d.low}, high: {d.high}}}" for d in SPACE.dimensions)
    base = Path(__file__).parents[1] / "experiments" / "irra.yaml"
    file = path.with_name("study.yaml")
    file.write_text(STUDY.replace("BASE", str(base)).replace("STORAGE", str(path)).replace("KNOBS", knobs))
    study = load_study(file)
    with redirect_stderr(io.StringIO()):
        Driver(study, path.parent / "runs", executor=Pretend(), view=view(), trials=trials).drive()


def bare(path: Path, trials: int) -> None:
    """Optuna alone on the same storage: the same settings of the file, no search around it."""
    import optuna

    study = optuna.create_study(
        storage=Storage.open(path).optuna,
        study_name="bare",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.NopPruner(),
    )
    for _ in range(trials):
        trial = study.ask()
        values = {}
        for d in SPACE.dimensions:
            if d.kind == "int":
                values[d.name] = trial.suggest_int(d.name, int(d.low or 0), int(d.high or 0))
            else:
                values[d.name] = trial.suggest_float(d.name, d.low or 0, d.high or 0, log=d.log)
        for step in (1, 2, 3):
            trial.report(value(values, step), step)
        study.tell(trial, value(values, 3))


@cache
def store() -> bytes:
    """An MLflow store with nothing in it."""
    with tempfile.TemporaryDirectory() as folder:
        Store.of(Path(folder)).client()
        return Path(folder, "mlflow.db").read_bytes()


def timed(loop: Loop, suffix: str, trials: int) -> tuple[float, float]:
    """Milliseconds a trial, wall and processor, on a storage of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "runs").mkdir()
        Path(folder, "runs", "mlflow.db").write_bytes(store())
        wall, cpu = time.perf_counter(), time.process_time()
        loop(Path(folder) / f"trials{suffix}", trials)
        return tuple(1000 * t / trials for t in (time.perf_counter() - wall, time.process_time() - cpu))  # type: ignore[return-value]


def overhead(loop: Loop, trials: int, pairs: int, suffix: str) -> float:
    """Prints a loop against the bare one, begun by each in turn; the median ratio of wall time."""
    walls, cpus, rows = [], [], []
    for pair in range(pairs):
        order = (loop, bare) if pair % 2 else (bare, loop)
        found = {one: timed(one, suffix, trials) for one in order}
        rows.append((found[bare], found[loop]))
        walls.append(found[loop][0] / found[bare][0])
        cpus.append(found[loop][1] / found[bare][1])
        print(
            f"| {suffix} | {found[bare][0]:.1f} | {found[loop][0]:.1f} | {walls[-1]:.2f} | {cpus[-1]:.2f} |", flush=True
        )
    wall = statistics.median(walls)
    print(
        f"median ratio at {trials} trials: {wall:.2f} (wall), {statistics.median(cpus):.2f} (processor); limit {LIMIT}"
    )
    return wall


def storages(counts: tuple[int, ...], pairs: int) -> None:
    """Prints milliseconds a trial, bare and ours, on both kinds of file."""
    print("| trials | loop | SQLite wall (cpu) | journal wall (cpu) |\n|---:|---|---:|---:|")
    for trials in counts:
        for name, loop in (("bare", bare), ("ours", ours)):
            cells = []
            found = [[timed(loop, suffix, trials) for suffix in (".db", ".journal")] for _ in range(pairs)]
            for kind in range(2):
                wall, cpu = (statistics.median(pair[kind][i] for pair in found) for i in range(2))
                cells.append(f"{wall:.1f} ({cpu:.1f})")
            print(f"| {trials} | {name} | {' | '.join(cells)} |", flush=True)


class Table:
    """Recorded runs, and the curve of the one that is nearest to some values."""

    METRIC = "val/mAP@"

    def __init__(self, path: Path) -> None:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        self.curves = [[float(v) for k, v in row.items() if k.startswith(self.METRIC)] for row in rows]
        names = [n for n in rows[0] if n not in ("number", "seed", "seconds") and not n.startswith(self.METRIC)]
        self.points = [{n: json.loads(row[n]) for n in names if row[n]} for row in rows]
        self.space = Space(tuple(self._dimension(name) for name in names))
        self.evaluations = len(self.curves[0])

    def _dimension(self, name: str) -> Dimension:
        """The box around the recorded values; logarithmic where they span a factor of five or more."""
        found = [point[name] for point in self.points if name in point]
        if all(type(v) in (int, float) for v in found):
            low, high = min(found), max(found)
            kind = "int" if all(type(v) is int for v in found) else "float"
            return Dimension(name, kind, low, high, low > 0 and high >= 5 * low)  # type: ignore[arg-type]
        return Dimension(name, "choice", values=tuple(json.loads(v) for v in sorted({json.dumps(v) for v in found})))

    def _scaled(self, d: Dimension, v: Any) -> float:
        if d.low is None or d.high is None or d.low == d.high:
            return 0.0
        scale = math.log if d.log else float
        return (scale(v) - scale(d.low)) / (scale(d.high) - scale(d.low))

    def curve(self, values: Mapping[str, Any]) -> list[float]:
        def apart(point: Mapping[str, Any]) -> float:
            total = 0.0
            for d in self.space.dimensions:
                a, b = point.get(d.name), values.get(d.name)
                if d.kind == "choice" or a is None or b is None:
                    total += a != b
                else:
                    total += (self._scaled(d, a) - self._scaled(d, b)) ** 2
            return total

        return self.curves[min(range(len(self.points)), key=lambda i: apart(self.points[i]))]


def replay(
    table: Table, sampler: str, pruner: str, seed: int, budget: float, trials: float = math.inf
) -> dict[str, float]:
    """A search until it has spent so many evaluations, or had so many trials: best mAP, evaluations, trials."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        search = Search(
            Storage.open(Path(folder) / "a.journal"),
            "arm",
            {"key": f"replay {seed}"},
            table.space,
            sampler=sampler,
            pruner=pruner,
            seed=seed,
            evaluations=table.evaluations,
        )
        spent = done = pruned = 0
        while spent < budget and done < trials:
            asked, done = search.ask(), done + 1
            curve = table.curve(asked.values)
            for step, score in enumerate(curve, 1):
                spent += 1
                if search.report(asked.number, step, score):
                    search.tell(asked.number, "pruned")
                    pruned += 1
                    break
            else:
                search.tell(asked.number, "complete", [curve[-1]])
        best = search.best()
        return {"best": best.scores[0] if best else math.nan, "spent": spent, "trials": done, "pruned": pruned}


def searching(path: Path, trials: int, repeats: int) -> None:
    """Prints what pruning saves, and the searches at equal budget."""
    table = Table(path)
    budget = trials * table.evaluations
    final = sorted(curve[-1] for curve in table.curves)
    print(f"{len(final)} recorded runs of {table.evaluations} evaluations, last mAP {final[0]:.4f} to {final[-1]:.4f}")
    print("| search | best mAP: mean (each) | evaluations | trials | pruned |\n|---|---|---:|---:|---:|")
    kinds = (
        ("random", "none"),
        ("random", "hyperband"),
        ("random", "median"),
        ("tpe", "none"),
        ("tpe", "median"),
        ("tpe", "hyperband"),
    )
    for title, limit, most in ((f"{trials} trials", math.inf, trials), (f"{budget} evaluations", budget, math.inf)):
        for sampler, pruner in kinds:
            found = [replay(table, sampler, pruner, seed, limit, most) for seed in range(repeats)]
            mean = {k: statistics.mean(one[k] for one in found) for k in found[0]}
            each = ", ".join(f"{one['best']:.4f}" for one in found)
            share = 100 * mean["spent"] / (mean["trials"] * table.evaluations)
            cells = (f"{mean['spent']:.0f} ({share:.0f}%)", f"{mean['trials']:.0f}", f"{mean['pruned']:.0f}")
            print(f"| {title}: {sampler} + {pruner} | {mean['best']:.4f} ({each}) | {' | '.join(cells)} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=("overhead", "storage", "search"))
    parser.add_argument("--trials", type=int, default=200, help="of the overhead")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--counts", default="30,100,200", help="numbers of trials for the storages")
    parser.add_argument("--on", default=".journal,.db", help="kinds of files for the overhead")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--search-trials", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    parts = given.part or ["overhead", "storage", "search"]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    good = True
    if "overhead" in parts:
        print("| storage | bare ms/trial | ours ms/trial | wall ours/bare | processor ours/bare |")
        print("|---|---:|---:|---:|---:|")
        for suffix in given.on.split(","):
            timed(driven, suffix, 1)  # the data are drawn, and the weights known
            for loop in (ours, driven):
                print(f"{loop.__name__}:", flush=True)
                good &= overhead(loop, given.trials, given.pairs, suffix) <= LIMIT
    if "storage" in parts:
        storages(tuple(int(c) for c in given.counts.split(",")), given.pairs)
    if "search" in parts:
        if given.table.exists():
            searching(given.table, given.search_trials, given.repeats)
        else:
            print(f"no {given.table.name}: python benchmarks/record_study_runs.py records it")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
