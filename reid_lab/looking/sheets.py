"""Ranked lists of the queries that a model answers best and worst, and of some that are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from reid_lab.contracts import IMAGE_ROLES
from reid_lab.data.items import ABSENT
from reid_lab.data.protocols import Retrieval
from reid_lab.data.ranked import ranked_list
from reid_lab.errors import DataError, Fault
from reid_lab.looking.opened import Opened, task_of
from reid_lab.measuring import score, scoring
from reid_lab.rankings import Ranking, ids, ranked
from reid_lab.report.figures.style import Drawn, captioned, sheet, styled
from reid_lab.seeding import rng

EACH, TOP = 2, 10
KINDS = ("best", "worst", "random")
_INCH = 110  # pixels of a list in one inch of the figure


class Chosen(NamedTuple):
    """A query that is shown, and why."""

    kind: str
    query: int
    ap: float


def choose(ap: np.ndarray, valid: np.ndarray, each: int, seed: int, kinds: Sequence[str] = KINDS) -> list[Chosen]:
    """The queries of highest and of lowest average precision (equal ones in their order), and some that are drawn."""
    there = np.flatnonzero(valid)
    order = {
        "best": there[np.argsort(-ap[there], kind="stable")],
        "worst": there[np.argsort(ap[there], kind="stable")],
        "random": rng("figure", "queries", seed).permutation(there),
    }
    return [Chosen(kind, int(query), float(ap[query])) for kind in kinds for query in order[kind][:each]]


def lists(model: Opened, *, task: str | None = None, each: int = EACH, top: int = TOP, seed: int = 0) -> Drawn:
    """The first `top` of the rankings of `each` best, worst and random queries.

    As the protocol ranks: without what it removes, re-ranked or expanded where the experiment says so. Raises
    `UserError` for a gallery without images and a task without a valid query.
    """
    asked = task_of(model, task)
    pictures = [role for role in asked.gallery.members if role in IMAGE_ROLES]
    if not pictures:
        raise DataError(Fault(f"the gallery of {asked.name} holds texts; there is no image to show", model.name))
    queries, gallery = model.embed(asked.queries), model.embed(asked.gallery)
    whole = replace(asked, draws=())  # the whole gallery, where a protocol draws parts of it
    how = scoring(model.parts.spec.eval, model.parts.runtime.device)
    found = score(whole, queries, gallery, how).draws[0]
    chosen = choose(found.ap, found.valid, each, seed)
    if not chosen:
        raise DataError(Fault(f"no query of {asked.name} has a match", model.name))
    model.looked("sheet")
    items = model.parts.source.dataset.items
    # Re-ranking looks at all queries, so that all are ranked.
    names = ids(items, asked.queries), ids(items, asked.gallery)
    ranking = ranked(whole, queries, gallery, how, top=top, names=names)
    drawn = [_list(model, asked, pictures[0], ranking, one) for one in chosen]
    rows: list[dict[str, object]] = [
        {
            "run": model.folder.run_id,
            "part": model.part,
            "task": asked.name,
            "kind": one.kind,
            "query": ranking.queries[one.query],
            "pid": int(asked.queries.pids[one.query]),
            "ap": one.ap,
            "rank": rank,
            "gallery": ranking.gallery[k],
            "score": float(value),
            "correct": bool(asked.gallery.pids[k] == asked.queries.pids[one.query]),
        }
        for one in chosen
        for rank, (k, value) in enumerate(
            zip(ranking.indices[one.query].tolist(), ranking.scores[one.query].tolist(), strict=True), 1
        )
        if k >= 0
    ]
    with styled():
        widest, highest = max(image.width for image in drawn), max(image.height for image in drawn)
        height = len(drawn) * (highest / _INCH + 0.22) + 0.7
        figure, axes = sheet(len(drawn), width=widest / _INCH + 0.2, height=height)
        for panel, one, image in zip(axes, chosen, drawn, strict=True):
            canvas = Image.new("RGB", (widest, highest), "white")
            canvas.paste(image)
            panel.imshow(np.asarray(canvas), interpolation="lanczos")
            panel.set_axis_off()
            pid = asked.queries.pids[one.query]
            panel.set_title(f"{one.kind}: identity {pid}, AP {100 * one.ap:.1f}%", loc="left", fontsize=8)
        caption = captioned(
            figure,
            f"{model.name}: {asked.name} on {model.part}, {int(found.valid.sum())} queries, {len(asked.gallery)} in "
            f"the gallery. {each} each of highest and of lowest average precision, and drawn with seed {seed}. "
            "Green: the person looked for, orange red: another; below an image rank and score. Removed from rankings: "
            f"{asked.removed}. Best and worst are extremes, no summary.",
            *model.notes,
        )
    return Drawn("sheet", figure, rows, caption)


def _list(model: Opened, task: Retrieval, role: str, ranking: Ranking, one: Chosen) -> Image.Image:
    """The picture of one ranking: the query, and the images that come first."""
    dataset, size = model.parts.source.dataset, model.parts.source.facts.image_size
    members = task.gallery.members[role]
    best, scores = ranking.indices[one.query], ranking.scores[one.query]
    there = best >= 0
    there[there] = members[best[there]] != ABSENT
    best, scores = best[there], scores[there]
    asked = {role: column[one.query] for role, column in task.queries.members.items() if column[one.query] != ABSENT}
    words = " + ".join(str(dataset.items.caption[item]) for role, item in asked.items() if role not in IMAGE_ROLES)
    seen = [(role, dataset.images(np.array([k]), size)[0]) for role, k in asked.items() if role in IMAGE_ROLES]
    correct = (task.gallery.pids[best] == task.queries.pids[one.query]).tolist()
    return ranked_list(words, seen, dataset.images(members[best], size), correct, scores.tolist())
