"""Ranked gallery ids of every query, as a file: `.csv`, `.json` or `.npz`.

What a task removes from a query's ranking is in no file, nor are junk items (a negative pid in a gallery that
is labelled). Queries without labels are ranked like all others.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from reid_lab import measuring
from reid_lab.data.items import ABSENT, Groups, Items
from reid_lab.data.protocols import Retrieval
from reid_lab.errors import UserError
from reid_lab.metrics.top import top_of

SUFFIXES = (".csv", ".json", ".npz")


@dataclass(frozen=True)
class Ranking:
    """One task: ids of queries (Q,) and gallery (G,), the best gallery numbers (Q, k), -1 behind the last, scores."""

    task: str
    queries: Sequence[str]
    gallery: Sequence[str]
    indices: np.ndarray
    scores: np.ndarray


def check(path: Path) -> None:
    """Raises `UserError` for a file name of another kind, before anything is computed."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--rankings {path}: a file of rankings is one of {', '.join(SUFFIXES)}")


def ranked(
    task: Retrieval,
    queries: Tensor,
    gallery: Tensor,
    how: measuring.Scoring,
    *,
    top: int,
    names: tuple[Sequence[str], Sequence[str]],
) -> Ranking:
    """The first `top` of every ranking of a task, over its whole gallery; names: ids of queries and gallery."""
    there, asking = task.gallery.pids, task.queries.pids
    junk = np.flatnonzero(there < 0) if (there >= 0).any() else np.zeros(0, dtype=np.int64)
    removed = None if task.rule.of is None else task.rule.of(task.queries, task.gallery)
    order = np.argsort(there, kind="stable")
    low = np.searchsorted(there[order], asking)
    high = np.searchsorted(there[order], asking, side="right")

    def gone(query: int) -> np.ndarray:
        own = order[low[query] : high[query]]
        if removed is None or asking[query] < 0 or not len(own):
            return junk
        return np.concatenate([junk, own[np.asarray(removed(query, own), dtype=bool)]])

    found = measuring.scores(queries.to(how.device), gallery.to(how.device), how)
    left_out = gone if removed is not None or len(junk) else None
    indices, scores = top_of(found, top, gone=left_out)
    return Ranking(task.name, *names, indices.cpu().numpy(), scores.cpu().numpy())


def ids(items: Items, groups: Groups) -> list[str]:
    """What groups are called: the paths of their images, or `role:image_id`, of captions with their number."""
    names = [""] * len(groups)
    for role, column in groups.members.items():
        for group, item in enumerate(column.tolist()):
            if item != ABSENT:
                number = f":{items.number[item]}" if items.number[item] != ABSENT else ""
                name = items.path[item] or f"{role}:{items.image_id[item]}{number}"
                names[group] += f"+{name}" if names[group] else name
    return names


def write(path: Path, rankings: Sequence[Ranking]) -> None:
    """Writes the rankings of all tasks, whole or not at all; an existing file is replaced.

    csv: columns query, rank, gallery, score, before them the task where there are several. json: a list of
    objects of task, query, gallery and scores. npz: `queries`, `gallery`, `indices` and `scores`, with several
    tasks under `task/name`.
    """
    check(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix.lower() == ".npz":
            with temporary.open("wb") as file:
                _npz(file, rankings)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as text:
                (_csv if path.suffix.lower() == ".csv" else _json)(text, rankings)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _rows(ranking: Ranking) -> Iterator[tuple[str, list[str], list[float]]]:
    for name, indices, scores in zip(ranking.queries, ranking.indices, ranking.scores, strict=True):
        there = indices >= 0
        yield name, [ranking.gallery[k] for k in indices[there].tolist()], scores[there].tolist()


def _csv(file: IO[str], rankings: Sequence[Ranking]) -> None:
    several = len(rankings) > 1
    table = csv.writer(file, lineterminator="\n")
    table.writerow([*(["task"] if several else []), "query", "rank", "gallery", "score"])
    for ranking in rankings:
        for name, gallery, scores in _rows(ranking):
            for rank, (found, score) in enumerate(zip(gallery, scores, strict=True), 1):
                table.writerow([*([ranking.task] if several else []), name, rank, found, f"{score:.6f}"])


def _json(file: IO[str], rankings: Sequence[Ranking]) -> None:
    first = True
    file.write("[")
    for ranking in rankings:
        for name, gallery, scores in _rows(ranking):
            row = {"task": ranking.task, "query": name, "gallery": gallery, "scores": [round(s, 6) for s in scores]}
            file.write(("\n" if first else ",\n") + json.dumps(row, ensure_ascii=False))
            first = False
    file.write("\n]\n")


def _npz(file: IO[bytes], rankings: Sequence[Ranking]) -> None:
    columns = {}
    for ranking in rankings:
        head = f"{ranking.task}/" if len(rankings) > 1 else ""
        columns[f"{head}queries"] = np.array(ranking.queries, dtype=str)
        columns[f"{head}gallery"] = np.array(ranking.gallery, dtype=str)
        columns[f"{head}indices"], columns[f"{head}scores"] = ranking.indices, ranking.scores
    np.savez_compressed(file, allow_pickle=False, **columns)
