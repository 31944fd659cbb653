"""How far the similarities of right pairs stand from those of wrong ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reid_lab.data.protocols import Retrieval
from reid_lab.errors import DataError
from reid_lab.looking.opened import Opened, task_of
from reid_lab.report.figures.style import COLOURS, Drawn, captioned, sheet, styled

BINS = 60
_TILE = 512  # queries whose similarities are held at a time
_Two = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Separation:
    """Inner products of the pairs of a task, right (row 0) and wrong (row 1).

    edges: (bins + 1,); counts (2, bins); pairs, mean and deviation (2,). d_prime: the distance of the means in
    deviations, sqrt of the mean of both variances (Green and Swets, 1966, Signal detection theory and psychophysics).
    overlap: the area that both histograms share, from 0 to 1 (Weitzman, 1970, Bureau of the Census technical paper 22).
    """

    edges: _Two
    counts: _Two
    pairs: _Two
    mean: _Two
    deviation: _Two

    @property
    def d_prime(self) -> float:
        """0 where the means are equal; NaN where nothing varies."""
        spread = math.sqrt((self.deviation**2).mean())
        return float(self.mean[0] - self.mean[1]) / spread if spread else math.nan

    @property
    def overlap(self) -> float:
        """Of the histograms: it depends on the bins a little."""
        return float((self.counts / self.pairs[:, None]).min(axis=0).sum())


def separation(task: Retrieval, queries: Tensor, gallery: Tensor, bins: int = BINS) -> Separation:
    """Over all queries and their galleries, without what the task removes from a ranking, and without unknown people.

    queries (Q, D), gallery (G, D). Raises `DataError` where there is no right or no wrong pair.
    """
    low, high, pairs, total, square = math.inf, -math.inf, np.zeros(2), np.zeros(2), np.zeros(2)
    for kinds in _tiles(task, queries, gallery):
        for k, values in enumerate(kinds):
            if len(values):
                low, high = min(low, float(values.min())), max(high, float(values.max()))
            pairs[k] += len(values)
            total[k] += values.sum()
    if not pairs.all():
        what = "right" if not pairs[0] else "wrong"
        raise DataError(f"{task.name}: no query has a {what} item in its gallery; there is nothing to compare")
    edges, counts, mean = np.linspace(low, high, bins + 1), np.zeros((2, bins)), total / pairs
    for kinds in _tiles(task, queries, gallery):
        for k, values in enumerate(kinds):
            counts[k] += np.histogram(values, edges)[0]
            square[k] += ((values - mean[k]) ** 2).sum()
    return Separation(edges, counts, pairs, mean, np.sqrt(square / pairs))


def _tiles(task: Retrieval, queries: Tensor, gallery: Tensor) -> Iterator[tuple[_Two, _Two]]:
    """Similarities of the right and of the wrong pairs, a tile of queries at a time."""
    asking, there = task.queries.pids, task.gallery.pids
    removed = None if task.rule.of is None else task.rule.of(task.queries, task.gallery)
    for start in range(0, len(queries), _TILE):
        scores = (queries[start : start + _TILE].double() @ gallery.T.double()).numpy()
        pids = asking[start : start + _TILE, None]
        known = (pids >= 0) & (there >= 0)
        right = known & (pids == there)
        wrong = known & ~right
        if removed is not None:
            for row in range(len(scores)):
                own = np.flatnonzero(right[row])
                if len(own):
                    right[row, own[np.asarray(removed(start + row, own), dtype=bool)]] = False
        yield scores[right], scores[wrong]


def histograms(models: Sequence[Opened], *, task: str | None = None, bins: int = BINS) -> Drawn:
    """A panel for each model: how often right and wrong pairs are how similar. Raises `UserError`."""
    found = []
    for model in models:
        asked = task_of(model, task)
        found.append((model, asked, separation(asked, model.embed(asked.queries), model.embed(asked.gallery), bins)))
        model.looked("similarity")
    rows: list[dict[str, object]] = []
    with styled():
        figure, axes = sheet(len(found), 1, width=6.4, height=1.0 + 2.1 * len(found))
        for (model, asked, seen), panel in zip(found, axes, strict=True):
            for k, (kind, colour) in enumerate((("same person", COLOURS[0]), ("other person", COLOURS[1]))):
                density = seen.counts[k] / (seen.pairs[k] * np.diff(seen.edges))
                hatch = None if k == 0 else "////"
                panel.stairs(density, seen.edges, color=colour, alpha=0.35, fill=True, hatch=hatch, lw=0)
                label = f"{kind}, {int(seen.pairs[k]):,} pairs"
                panel.stairs(density, seen.edges, color=colour, label=label, lw=1.4, ls="-" if k == 0 else "--")
                panel.axvline(seen.mean[k], color=colour, lw=0.9, ls=":")
                rows += [
                    {
                        "run": model.folder.run_id,
                        "part": model.part,
                        "task": asked.name,
                        "pairs": kind,
                        "from": seen.edges[b],
                        "to": seen.edges[b + 1],
                        "count": int(seen.counts[k, b]),
                        "density": density[b],
                        "mean": seen.mean[k],
                        "deviation": seen.deviation[k],
                        "d_prime": seen.d_prime,
                        "overlap": seen.overlap,
                    }
                    for b in range(bins)
                ]
            told = f"d′ {seen.d_prime:.2f}, overlap {100 * seen.overlap:.0f}%"
            panel.set_title(f"{model.name}: {asked.name} on {model.part}; {told}", loc="left")
            panel.set_ylabel("density")
            panel.legend(loc="upper left")
        axes[-1].set_xlabel("similarity (inner product of embeddings)")
        caption = captioned(
            figure,
            f"Similarities of all pairs of queries and gallery items of {models[0].part}, without what the task "
            "removes from rankings and before any re-ranking; dotted: means. d′ is the distance of the means in "
            f"deviations, overlap the area that the two histograms ({bins} bins) share. These trained models only.",
            *(note for model in models for note in model.notes),
        )
    return Drawn("similarity", figure, rows, caption)
