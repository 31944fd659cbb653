"""What exact retrieval metrics cost beside the product of the embeddings alone, and beside sorting the gallery.

    python benchmarks/metrics.py [--pairs 5] [--million]

Two threads. Ours is `retrieval` with the same camera removed; the floor is the product of the same tiles,
thrown away; argsort is a plain numpy evaluation, a stable argsort of the gallery for one query after
the other, its product on the same threads. Times are medians over rounds that run all of them in turn, ratios
medians over the rounds' own ratios. Peak memory is measured in processes of their own, above what the
process held with the embeddings loaded. Limits: twice the floor, 1 GiB (6 GiB for a million), half the time of argsort.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reid_lab.metrics.retrieval import RetrievalResult, retrieval
from reid_lab.metrics.scores import cut
from reid_lab.seeding import rng

THREADS = 2
FLOOR, ARGSORT = 2.0, 2.0  # at most so many times the floor; argsort at least so many times ours


@dataclass(frozen=True)
class Shape:
    name: str
    queries: int
    gallery: int
    dimensions: int
    people: int
    cameras: int
    memory: float  # limit in GiB


SHAPES = {
    "market": Shape("Market-1501", 3_368, 15_913, 768, 751, 6, 1.0),
    "msmt": Shape("MSMT17", 11_659, 82_161, 768, 3_060, 15, 1.0),
    "million": Shape("a million", 10_000, 1_000_000, 512, 50_000, 20, 6.0),
}


class Task:
    """Embeddings of unit length, scattered about one centre a person, as a trained network leaves them."""

    def __init__(self, shape: Shape, spread: float = 3.0) -> None:
        draw = rng("benchmark", shape.name)
        centres = draw.standard_normal((shape.people, shape.dimensions), dtype=np.float32)
        self.pids, self.cameras, self.embeddings = [], [], []
        for count in (shape.queries, shape.gallery):
            pids = draw.integers(0, shape.people, count)
            embeddings = draw.standard_normal((count, shape.dimensions), dtype=np.float32)
            for start in range(0, count, 4096):  # in place, so that the inputs are all that is held
                part = embeddings[start : start + 4096]
                part *= spread
                part += centres[pids[start : start + 4096]]
                part /= np.linalg.norm(part, axis=1, keepdims=True)
            self.pids.append(pids)
            self.cameras.append(draw.integers(0, shape.cameras, count))
            self.embeddings.append(torch.from_numpy(embeddings))

    def ours(self) -> RetrievalResult:
        mine, theirs = self.cameras
        return retrieval(
            *self.embeddings, *self.pids, removed=lambda query, items: theirs[items] == mine[query], no_match="skip"
        )

    def floor(self) -> None:
        queries, gallery = self.embeddings
        for start, stop in cut(len(queries), len(gallery)):
            queries[start:stop] @ gallery.T

    def argsort(self) -> tuple[float, float]:
        """R1 and mAP in percent, one query after the other."""
        queries, gallery = self.embeddings
        (q_pids, g_pids), (q_cameras, g_cameras) = self.pids, self.cameras
        first, precision = [], []
        for begin, stop in cut(len(queries), len(gallery)):
            for query, scores in enumerate((queries[begin:stop] @ gallery.T).numpy(), begin):
                order = np.argsort(-scores, kind="stable")
                matches = g_pids[order] == q_pids[query]
                matches = matches[~(matches & (g_cameras[order] == q_cameras[query]))]
                if matches.any():
                    hits = matches.cumsum()
                    precision.append(((hits / np.arange(1, len(hits) + 1)) * matches).sum() / hits[-1])
                    first.append(matches[0])
        return 100 * float(np.mean(first)), 100 * float(np.mean(precision))


def seconds(way: Callable[[], object]) -> float:
    begin = time.perf_counter()
    way()
    return time.perf_counter() - begin


def resident(field: str) -> float:
    """`VmRSS` (held now) or `VmHWM` (held at most) of this process, in GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / (1 << 20)


def alone(shape: str, way: str) -> dict[str, float]:
    """Time and peak memory of one way in a process of its own."""
    command = [sys.executable, __file__, "--child", shape, way]
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def child(shape: str, way: str) -> None:
    task = Task(SHAPES[shape])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of building the task
    before = resident("VmRSS")
    spent = seconds(getattr(task, way))
    print(json.dumps({"seconds": spent, "memory": resident("VmHWM") - before}))


def compare(key: str, ways: tuple[str, ...], pairs: int) -> bool:
    """Prints the rows of one shape; whether all limits are kept."""
    shape = SHAPES[key]
    task = Task(shape)
    if "argsort" in ways:
        found, plain = task.ours().metrics, task.argsort()
        print(
            f"{shape.name}: R1 {found['R1']:.4f} mAP {found['mAP']:.4f}, argsort R1 {plain[0]:.4f} mAP {plain[1]:.4f}"
        )
    task.floor()
    rounds = [{way: seconds(getattr(task, way)) for way in ways} for _ in range(pairs)]
    del task
    good = True
    for way in ways:
        ratio = statistics.median(one[way] / one["floor"] for one in rounds)
        memory = alone(key, way)["memory"]
        row(shape, way, statistics.median(one[way] for one in rounds), ratio, memory)
        good &= way != "ours" or (ratio <= FLOOR and memory < shape.memory)
    if "argsort" in ways:
        faster = statistics.median(one["argsort"] / one["ours"] for one in rounds)
        print(f"{shape.name}: ours is {faster:.2f} times faster than argsort", flush=True)
        good &= faster >= ARGSORT
    return good


def million() -> bool:
    """One round, each way in a process of its own."""
    found = {way: alone("million", way) for way in ("floor", "ours")}
    ratio = found["ours"]["seconds"] / found["floor"]["seconds"]
    for way, one in found.items():
        row(SHAPES["million"], way, one["seconds"], one["seconds"] / found["floor"]["seconds"], one["memory"])
    return ratio <= FLOOR and found["ours"]["memory"] < SHAPES["million"].memory


def row(shape: Shape, way: str, spent: float, ratio: float, memory: float) -> None:
    size = f"{shape.queries:,} x {shape.gallery:,} x {shape.dimensions}"
    print(f"| {shape.name} | {size} | {way} | {spent:.2f} | {ratio:.2f} | {memory:.2f} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="rounds whose median counts")
    parser.add_argument("--million", action="store_true", help="10,000 x 1,000,000 x 512 alone; minutes")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    if given.child:
        child(*given.child)
        return 0
    print(f"{THREADS} threads, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, torch {torch.__version__}")
    print("| data set | queries x gallery x D | way | s | x floor | GiB above the inputs |")
    print("|---|---|---|---:|---:|---:|", flush=True)
    if given.million:
        good = million()
    else:
        good = compare("market", ("floor", "ours", "argsort"), given.pairs)
        good &= compare("msmt", ("floor", "ours"), given.pairs)
    print("within the limits" if good else "OVER a limit")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
