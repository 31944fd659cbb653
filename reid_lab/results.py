"""What finished runs leave: per-query results, drawn rankings, their own table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from torch import Tensor

from reid_lab import console as shown
from reid_lab import measuring
from reid_lab.assembly import Parts
from reid_lab.contracts import IMAGE_ROLES, RunResult
from reid_lab.data.items import ABSENT
from reid_lab.data.protocols import Retrieval
from reid_lab.data.ranked import ranked_list
from reid_lab.errors import RunError
from reid_lab.measuring import Found
from reid_lab.metrics.retrieval import ranking
from reid_lab.spec.run import RunSpec
from reid_lab.tracking.runs import RunFolder, marks, write_atomic
from reid_lab.tracking.ui import run_link

TOP = 10  # images in a drawn ranking


def keep(folder: RunFolder, metrics: Mapping[str, float], found: Sequence[Found], about: Mapping[str, Any]) -> None:
    """Writes the metrics with their protocol, and what each query found.

    `results/test.json` holds `metrics`, one entry for each task (`measuring.facts`), and `about` (the protocol's
    name, how weights were selected). `results/test.npz` holds for each query its pid, image_id, AP, INP, first
    hit and whether it counts; with several tasks under `task/name`, with several draws a row each.
    """
    facts = {"metrics": dict(metrics), **about, "tasks": measuring.facts(found)}
    write_atomic(folder.results / "test.json", json.dumps(facts, indent=1))
    temporary = folder.results / ".test.npz"
    with temporary.open("wb") as file:
        columns = {k: v for one in found for k, v in _per_query(one, alone=len(found) == 1).items()}
        np.savez_compressed(file, allow_pickle=False, **columns)
    temporary.replace(folder.results / "test.npz")


def _per_query(found: Found, *, alone: bool) -> dict[str, np.ndarray]:
    columns = {"pids": found.task.queries.pids, "image_ids": found.task.queries.image_ids}
    for name in ("ap", "inp", "first_hit", "valid"):
        drawn = [getattr(draw, name) for draw in found.draws]
        columns[name] = drawn[0] if len(drawn) == 1 else np.stack(drawn)
    return columns if alone else {f"{found.task.name}/{name}": column for name, column in columns.items()}


def draw(
    parts: Parts, folder: RunFolder, task: Retrieval, queries: Tensor, gallery: Tensor, numbers: Sequence[int]
) -> Iterator[tuple[int, Path]]:
    """The rankings of as many queries as there are `numbers`, evenly spread, as pictures of these numbers.

    queries (Q, D), gallery (G, D). A query is drawn with all its images, its captions in words. What the task removes
    from a query's ranking is left out.
    """
    dataset, size = parts.source.dataset, parts.source.facts.image_size
    target = folder.path / "images"
    target.mkdir(exist_ok=True)
    images_of = [role for role in task.gallery.members if role in IMAGE_ROLES]
    if not images_of:
        return
    shown_role = images_of[0]
    gone = None if task.rule.of is None else task.rule.of(task.queries, task.gallery)
    chosen = np.linspace(0, len(task.queries) - 1, min(len(numbers), len(task.queries))).astype(int)
    for number, query in zip(numbers, chosen, strict=False):
        scores = queries[query : query + 1] @ gallery.T
        own = np.flatnonzero(task.gallery.pids == task.queries.pids[query])
        if gone is not None and len(own):
            scores[0, own[gone(int(query), own)]] = -np.inf
        best = ranking(scores)[0, :TOP].numpy()
        best = best[task.gallery.members[shown_role][best] != ABSENT]
        images = dataset.images(task.gallery.members[shown_role][best], size)
        correct = task.gallery.pids[best] == task.queries.pids[query]
        asked = {role: column[query] for role, column in task.queries.members.items() if column[query] != ABSENT}
        words = " + ".join(dataset.items.caption[item] for role, item in asked.items() if role not in IMAGE_ROLES)
        seen = [(role, dataset.images(np.array([k]), size)[0]) for role, k in asked.items() if role in IMAGE_ROLES]
        facts = [f"{task.name}, query {query + 1} of {len(task.queries)}, identity {task.queries.pids[query]}"]
        path = target / f"ranking_{number}.png"
        ranked_list(words, seen, images, list(correct), scores[0, best].tolist(), facts).save(path)
        yield number, path


def spread(pictures: int, tasks: int) -> list[list[int]]:
    """The numbers of the pictures that each task gets, the tasks chosen evenly where there are more of them."""
    owner = np.linspace(0, tasks - 1, pictures).round().astype(int)
    return [np.flatnonzero(owner == task).tolist() for task in range(tasks)]


def result_of(folder: RunFolder) -> RunResult:
    """What the finished stages of a run found. Raises `RunError` while `fit` is not finished."""
    found = folder.summary()
    if "pruned" in found.get("stages", ()):
        raise RunError(
            f"{folder.run_id} was pruned after step {found['last_step']} ({found['pruned']}); it has no result"
        )
    if "fit" not in found.get("stages", ()):
        raise RunError(f"{folder.run_id} is not finished; the command that began it goes on with it")
    keys = ("seed", "best_step", "val", "seconds", "parameters", "trainable", "peak_memory", "selected_on")
    fitted_on = found.get("fitted_on", "train")
    return RunResult(
        folder.run_id,
        folder.path,
        test=found.get("test"),
        fitted_on=fitted_on,
        gflops=found.get("gflops_image", found.get("gflops_caption", math.nan)),
        latency=found.get("latency", math.nan),
        **{k: found[k] for k in keys},
    )


def mark(result: RunResult) -> str:
    """The marks of a run for the title of a table; empty where there is nothing to say."""
    found = marks(result.selected_on, result.fitted_on)
    return f"  ({', '.join(found)})" if found else ""


def report(folder: RunFolder, console: Console, spec: RunSpec) -> RunResult:
    """Prints the table of a finished run, and where everything lies."""
    result = result_of(folder)
    rows = {f"val, step {result.best_step}": result.val, "test": result.test or {}}
    measured = {split: row for split, row in rows.items() if row}
    if measured:
        title = f"{spec.name}, seed {result.seed}{mark(result)}"
        console.print(shown.metrics_table(measured, title))
    kept = folder.results / "test.json"
    if kept.is_file():
        for told in measuring.sentences(json.loads(kept.read_text(encoding="utf-8"))["tasks"]):
            console.print(told)
    console.print(
        f"{result.seconds:.0f} s in all; {result.parameters:,} parameters, {result.trainable:,} trainable; "
        f"peak memory {result.peak_memory / 2**20:,.0f} MiB"
    )
    console.print(f"run      {folder.run_id}")
    console.print(f"folder   {folder.path}")
    if spec.tracking.uri == "off":
        return result
    link = run_link(folder.path.parent, folder.run_id, spec.tracking.uri)
    if link is not None:
        console.print(f"mlflow   {link}")
        console.print(f"         (`reid-lab ui {folder.run_id}` serves it)")
    else:
        console.print(f"mlflow   not reached yet; `reid-lab sync {folder.run_id}` sends the run")
    return result
