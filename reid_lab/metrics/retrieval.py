"""CMC, mAP and mINP: exact, from tiles of the similarity matrix.

A query ranks the gallery by descending similarity; equal similarities keep the order of the gallery. A
tile of queries is compared at a time, in float32 with float32 accumulation, so that the whole matrix is
never held. Only the correct items need a rank: it is 1 plus the number of items that are more similar,
or as similar and earlier in the gallery, which sorting the similarities and searching them finds
several times sooner than a stable sort of the gallery.

AP is the mean of the precisions at the hits. `trapezoid` averages each with the precision just before
the hit, as the evaluation script of Market-1501 does (Zheng et al., ICCV 2015). INP is the number of
correct items over the rank of the last one (Ye et al., "Deep Learning for Person Re-Identification: A
Survey and Outlook", TPAMI 2022, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from reid_lab.errors import DataError

METRICS_VERSION = 1
RANKS = (1, 5, 10)
TIES = "equal similarities are ranked by gallery index"
_TILE_QUERIES, _TILE_BYTES = 256, 1 << 28

NoMatch = Literal["skip", "zero", "error"]
Precision = Literal["step", "trapezoid"]
Removed = Callable[[int, int], Tensor]
"""(first query, one past the last) -> (queries, gallery) bool, True where a gallery item is taken out."""


@dataclass(frozen=True)
class RetrievalResult:
    """Metrics in percent over the valid queries, and what each query found.

    valid: (Q,) bool, False for skipped queries. ap, inp: (Q,) float64 in [0, 1], 0 without a match.
    first_hit: (Q,) int64, the 1-based rank of the first correct item; 0 where there is none.
    removed: how many (query, gallery) pairs were taken out.
    """

    metrics: dict[str, float]
    valid: np.ndarray
    ap: np.ndarray
    inp: np.ndarray
    first_hit: np.ndarray
    removed: int = 0

    @property
    def queries(self) -> int:
        """Number of valid queries."""
        return int(self.valid.sum())

    def cmc(self, ranks: int) -> np.ndarray:
        """The share of valid queries, in percent, with a correct item among the first 1, 2, … `ranks`: (ranks,)."""
        first = self.first_hit[self.valid]
        hits = np.bincount(first[(first > 0) & (first <= ranks)], minlength=ranks + 1)[1:]
        return 100.0 * np.cumsum(hits) / len(first)


def ranking(similarity: Tensor) -> Tensor:
    """Gallery indices from the most to the least similar, (Q, G) -> (Q, G); equal ones by index."""
    return similarity.sort(dim=1, descending=True, stable=True).indices


def retrieval(
    queries: Tensor,
    gallery: Tensor,
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    *,
    removed: Removed | None = None,
    no_match: NoMatch = "zero",
    ap: Precision = "step",
) -> RetrievalResult:
    """Metrics of retrieval by inner product.

    Args:
        queries: (Q, D) embeddings.
        gallery: (G, D) embeddings.
        query_pids: (Q,) int64; a gallery item of the same pid is correct.
        gallery_pids: (G,) int64.
        removed: takes gallery items out of single queries' rankings.
        no_match: a query without a correct item is left out (`skip`), a miss (`zero`), or an `error`.
        ap: the form of the average precision.

    Raises:
        DataError: an empty side, embeddings that are not finite, no query with a match while `no_match` is
            `skip`, or one without while it is `error`.
    """
    if not len(queries) or not len(gallery):
        raise DataError(f"retrieval needs queries and a gallery; got {len(queries)} and {len(gallery)}")
    for name, embeddings in (("query", queries), ("gallery", gallery)):
        bad = ~embeddings.isfinite().all(dim=1)
        if bool(bad.any()):
            raise DataError(
                f"{int(bad.sum())} {name} embeddings are NaN or infinite, the first is number {_first(bad)}"
            )
    targets = gallery.float().T

    def tiles() -> Iterator[Tensor]:
        for start, stop in _tiles(len(queries), len(gallery)):
            yield queries[start:stop].float() @ targets

    return _measure(tiles(), query_pids, gallery_pids, removed, no_match, ap)


def from_similarity(
    similarity: Tensor,
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    *,
    removed: Removed | None = None,
    no_match: NoMatch = "zero",
    ap: Precision = "step",
) -> RetrievalResult:
    """The same from a whole similarity matrix (Q, G), e.g. a re-ranked one."""
    if not similarity.numel() or bool(similarity.isnan().any()):
        raise DataError(f"the similarity matrix {tuple(similarity.shape)} is empty or holds NaN")
    tiles = (similarity[start:stop] for start, stop in _tiles(*similarity.shape))
    return _measure(tiles, query_pids, gallery_pids, removed, no_match, ap)


def _first(mask: Tensor) -> int:
    return int(mask.int().argmax())


def _tiles(queries: int, gallery: int) -> Iterator[tuple[int, int]]:
    """The query rows of each tile; the cut depends on the two numbers alone."""
    rows = max(1, min(_TILE_QUERIES, _TILE_BYTES // (4 * gallery)))
    for start in range(0, queries, rows):
        yield start, min(start + rows, queries)


def _measure(
    tiles: Iterator[Tensor],
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    removed: Removed | None,
    no_match: NoMatch,
    ap: Precision,
) -> RetrievalResult:
    by_pid = np.argsort(gallery_pids, kind="stable")
    sorted_pids = gallery_pids[by_pid]
    bounds = np.searchsorted(sorted_pids, query_pids), np.searchsorted(sorted_pids, query_pids, side="right")
    average, inverse = np.zeros(len(query_pids)), np.zeros(len(query_pids))
    first = np.zeros(len(query_pids), dtype=np.int64)
    query = taken = 0
    for tile in tiles:
        scores = tile.cpu().numpy()
        gone = None if removed is None else removed(query, query + len(scores)).cpu().numpy()
        for row, similarity in enumerate(scores):
            correct = by_pid[bounds[0][query] : bounds[1][query]]
            if gone is not None:
                taken += int(gone[row].sum())
                similarity, correct = _kept(similarity, correct, gone[row])
            if len(correct):
                ranks = _ranks(similarity, correct)
                average[query] = _precision(ranks, ap)
                inverse[query] = len(ranks) / ranks[-1]
                first[query] = ranks[0]
            query += 1
    matched = first > 0
    if not matched.all() and no_match == "error":
        raise DataError(f"{int((~matched).sum())} queries have no match, the first is number {int(matched.argmin())}")
    valid = matched if no_match == "skip" else np.ones_like(matched)
    if not valid.any():
        raise DataError("no query has a match in the gallery")
    result = RetrievalResult({}, valid, average, inverse, first, taken)
    curve = result.cmc(max(RANKS))
    result.metrics.update({f"R{rank}": float(curve[rank - 1]) for rank in RANKS})
    result.metrics["mAP"] = 100.0 * float(average[valid].mean())
    result.metrics["mINP"] = 100.0 * float(inverse[valid].mean())
    return result


def _kept(similarity: np.ndarray, correct: np.ndarray, gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The similarities that are left, and the places of the correct items among them."""
    place = np.cumsum(~gone) - 1
    return similarity[~gone], place[correct[~gone[correct]]]


def _ranks(similarity: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """The sorted 1-based ranks of the items `correct` (m,) among all (G,)."""
    ordered = np.sort(similarity)
    wanted = similarity[correct]
    not_above = np.searchsorted(ordered, wanted, side="right")
    equal = not_above - np.searchsorted(ordered, wanted, side="left")
    ranks: np.ndarray = len(ordered) - not_above + 1
    for tied in np.flatnonzero(equal > 1):
        ranks[tied] += np.count_nonzero(similarity[: correct[tied]] == wanted[tied])
    ranks.sort()
    return ranks


def _precision(ranks: np.ndarray, form: Precision) -> float:
    """Average precision from the sorted ranks of the hits."""
    hits = np.arange(1, len(ranks) + 1)
    precision = hits / ranks
    if form == "trapezoid":
        before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
        precision = (precision + before) / 2
    return float(precision.mean())
