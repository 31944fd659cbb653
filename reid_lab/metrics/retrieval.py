"""CMC, mAP and mINP: exact, from tiles of the similarity matrix.

A query ranks the gallery by descending similarity; equal similarities keep the order of the gallery. A
tile of queries is compared at a time (`scores`), so that the whole matrix is never held. Only the items
of the query's person need a rank: 1 plus the number of items that are more similar, or as similar and
earlier in the gallery. Few items are counted one by one, many by sorting the similarities and searching
them; both give the rank that a stable sort of the gallery gives, several times sooner.

Whatever a protocol takes out of single rankings (the same camera, the same clothes, the query itself)
shows the query's person, so that only these items are asked about. A negative pid is junk in the gallery,
which no ranking holds, and means that nothing is known about a query, which is then never valid.

AP is the mean of the precisions at the hits. `trapezoid` averages each with the precision just before
the hit, as the evaluation script of Market-1501 does (Zheng et al., ICCV 2015). INP is the number of
correct items over the rank of the last one (Ye et al., "Deep Learning for Person Re-Identification: A
Survey and Outlook", TPAMI 2022, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from reid_lab.errors import DataError
from reid_lab.metrics.scores import ACCUMULATION, InnerProduct, Matrix, Scores

METRICS_VERSION = 1
RANKS = (1, 5, 10)
TIES = "equal similarities are ranked by gallery index"
_COUNTED = 64  # items of one person up to which counting beats sorting
_THREADED = 1 << 15  # gallery items from which counting in threads beats the interpreter's lock

NoMatch = Literal["skip", "zero", "error"]
Precision = Literal["step", "trapezoid"]
Removed = Callable[[int, np.ndarray], np.ndarray]
"""(query number, gallery numbers (m,) of the query's pid) -> (m,) bool, True where taken out of its ranking."""


@dataclass(frozen=True)
class RetrievalResult:
    """Metrics in percent over the valid queries, and what each query found.

    valid: (Q,) bool, False for skipped and unlabelled queries. ap, inp: (Q,) float64 in [0, 1], 0 without
    a match. first_hit: (Q,) int64, the 1-based rank of the first correct item; 0 where there is none.
    removed: how many (query, gallery) pairs were taken out. junk: how many gallery items no ranking
    holds. unlabelled, unmatched: how many queries have no pid, and how many of the others no match.
    """

    metrics: dict[str, float]
    valid: np.ndarray
    ap: np.ndarray
    inp: np.ndarray
    first_hit: np.ndarray
    removed: int = 0
    junk: int = 0
    unlabelled: int = 0
    unmatched: int = 0
    no_match: NoMatch = "zero"
    precision: Precision = "step"
    scores: str = InnerProduct.source

    @property
    def queries(self) -> int:
        """Number of valid queries."""
        return int(self.valid.sum())

    def cmc(self, ranks: int) -> np.ndarray:
        """The share of valid queries, in percent, with a correct item among the first 1, 2, … `ranks`: (ranks,)."""
        first = self.first_hit[self.valid]
        hits = np.bincount(first[(first > 0) & (first <= ranks)], minlength=ranks + 1)[1:]
        return 100.0 * np.cumsum(hits) / len(first)

    def facts(self) -> dict[str, int | str]:
        """How the numbers came to be, for the record beside them."""
        return {
            "queries": len(self.valid),
            "valid_queries": self.queries,
            "unlabelled_queries": self.unlabelled,
            "queries_without_match": self.unmatched,
            "query_without_match": self.no_match,
            "removed_pairs": self.removed,
            "junk_items": self.junk,
            "average_precision": self.precision,
            "ties": TIES,
            "scores": self.scores,
            "accumulation": ACCUMULATION,
        }


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
    """Metrics of retrieval by inner product, on the device of the queries.

    Args:
        queries: (Q, D) embeddings.
        gallery: (G, D) embeddings.
        query_pids: (Q,) int64; a gallery item of the same pid is correct. Negative: unlabelled.
        gallery_pids: (G,) int64. Negative: junk, in no ranking.
        removed: takes gallery items out of single queries' rankings.
        no_match: a query without a correct item is left out (`skip`), a miss (`zero`), or an `error`.
        ap: the form of the average precision.

    Raises:
        DataError: an empty side, embeddings that are not finite or do not fit each other or their pids, no
            labelled query, no query with a match while `no_match` is `skip`, or one without while it is `error`.
    """
    return measure(InnerProduct(queries, gallery), query_pids, gallery_pids, removed=removed, no_match=no_match, ap=ap)


def from_similarity(
    similarity: Tensor,
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    *,
    removed: Removed | None = None,
    no_match: NoMatch = "zero",
    ap: Precision = "step",
) -> RetrievalResult:
    """The same from a whole similarity matrix (Q, G)."""
    return measure(Matrix(similarity), query_pids, gallery_pids, removed=removed, no_match=no_match, ap=ap)


def measure(
    scores: Scores,
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    *,
    removed: Removed | None = None,
    no_match: NoMatch = "zero",
    ap: Precision = "step",
) -> RetrievalResult:
    """The same from any source of scores, e.g. re-ranked ones."""
    if (len(query_pids), len(gallery_pids)) != scores.shape:
        raise DataError(
            f"{scores.shape[0]} queries and {scores.shape[1]} gallery items have "
            f"{len(query_pids)} and {len(gallery_pids)} pids"
        )
    kept = np.flatnonzero(gallery_pids >= 0)
    junk, labelled = len(gallery_pids) - len(kept), query_pids >= 0
    if not labelled.any():
        raise DataError(f"no query is labelled: all {len(query_pids)} pids are negative")
    average, inverse = np.zeros(len(query_pids)), np.zeros(len(query_pids))
    first, taken = np.zeros(len(query_pids), dtype=np.int64), 0
    for query, same, ranks in _ranked(scores, query_pids, gallery_pids, kept) if len(kept) else ():
        if removed is not None:
            gone = np.asarray(removed(query, same), dtype=bool)
            taken += int(gone.sum())
            ranks = ranks[~gone] - np.searchsorted(np.sort(ranks[gone]), ranks[~gone])
        if len(ranks):
            ranks.sort()
            average[query] = _precision(ranks, ap)
            inverse[query] = len(ranks) / ranks[-1]
            first[query] = ranks[0]
    missed = labelled & (first == 0)
    if missed.any() and no_match == "error":
        raise DataError(f"{int(missed.sum())} queries have no match, the first is number {int(missed.argmax())}")
    valid = labelled & ~missed if no_match == "skip" else labelled
    if not valid.any():
        raise DataError(
            f"no query has a match in the gallery ({junk} of {len(gallery_pids)} gallery items are junk, "
            f"{taken} pairs were removed)"
        )
    counts = {"removed": taken, "junk": junk, "unlabelled": int((~labelled).sum()), "unmatched": int(missed.sum())}
    result = RetrievalResult(
        {}, valid, average, inverse, first, **counts, no_match=no_match, precision=ap, scores=scores.source
    )
    curve = result.cmc(max(RANKS))
    result.metrics.update({f"R{rank}": float(curve[rank - 1]) for rank in RANKS})
    result.metrics["mAP"] = 100.0 * float(average[valid].mean())
    result.metrics["mINP"] = 100.0 * float(inverse[valid].mean())
    return result


def _ranked(
    scores: Scores, query_pids: np.ndarray, gallery_pids: np.ndarray, kept: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(query, gallery numbers of its pid, their ranks among the kept items) of each query that has any."""
    by_pid = kept[np.argsort(gallery_pids[kept], kind="stable")]
    pids = gallery_pids[by_pid]
    low, high = np.searchsorted(pids, query_pids), np.searchsorted(pids, query_pids, side="right")
    whole = len(kept) == len(gallery_pids)
    place = np.cumsum(gallery_pids >= 0) - 1
    columns = torch.from_numpy(kept)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start, tile in scores.tiles():
            tile = tile if whole else tile.index_select(1, columns.to(tile.device))
            same = [by_pid[low[query] : high[query]] for query in range(start, start + len(tile))]
            for row, ranks in enumerate(_ranks(tile, same if whole else [place[items] for items in same], pool)):
                if len(ranks):
                    yield start + row, same[row], ranks
            del tile


def _ranks(tile: Tensor, wanted: Sequence[np.ndarray], pool: ThreadPoolExecutor) -> list[np.ndarray]:
    """The 1-based ranks of the ascending items `wanted` of each row of a tile (rows, G)."""
    if tile.device.type != "cpu":
        return _ranks_on_device(tile, wanted)
    scores, threads = tile.numpy(), torch.get_num_threads()

    def share(start: int, stop: int) -> list[np.ndarray]:
        above = np.empty(scores.shape[1], dtype=bool)
        return [_ranks_of_row(scores[row], wanted[row], above) for row in range(start, stop)]

    if threads == 1 or (scores.shape[1] < _THREADED and max(map(len, wanted)) <= _COUNTED):
        return share(0, len(scores))
    cuts = [len(scores) * part // threads for part in range(threads + 1)]
    return [ranks for part in pool.map(share, cuts[:-1], cuts[1:]) for ranks in part]


def _ranks_of_row(scores: np.ndarray, wanted: np.ndarray, above: np.ndarray) -> np.ndarray:
    """The ranks of `wanted` (m,) among scores (G,); `above` (G,) bool is written into."""
    if len(wanted) <= _COUNTED:
        ranks = np.empty(len(wanted), dtype=np.int64)
        for number, item in enumerate(wanted.tolist()):
            value = scores[item]
            np.greater_equal(scores[:item], value, above[:item])
            np.greater(scores[item:], value, above[item:])
            ranks[number] = np.count_nonzero(above) + 1
        return ranks
    ordered, values = np.sort(scores), scores[wanted]
    not_above = np.searchsorted(ordered, values, side="right")
    equal = not_above - np.searchsorted(ordered, values, side="left")
    ranks = np.asarray(len(ordered) - not_above + 1)
    for tied in np.flatnonzero(equal > 1):
        ranks[tied] += np.count_nonzero(scores[: wanted[tied]] == values[tied])
    return ranks


def _ranks_on_device(tile: Tensor, wanted: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same by a stable sort of the whole tile, which is what a GPU does well."""
    order = ranking(tile)
    ranks = torch.empty_like(order, dtype=torch.int32)
    numbers = torch.arange(1, tile.shape[1] + 1, dtype=torch.int32, device=tile.device)
    ranks.scatter_(1, order, numbers.expand_as(order))
    sizes = [len(items) for items in wanted]
    rows = torch.from_numpy(np.repeat(np.arange(len(wanted)), sizes)).to(tile.device)
    columns = torch.from_numpy(np.concatenate(wanted)).to(tile.device)
    found: np.ndarray = ranks[rows, columns].cpu().numpy().astype(np.int64)
    return np.split(found, np.cumsum(sizes)[:-1])


def _precision(ranks: np.ndarray, form: Precision) -> float:
    """Average precision from the sorted ranks of the hits."""
    hits = np.arange(1, len(ranks) + 1)
    precision = hits / ranks
    if form == "trapezoid":
        before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
        precision = (precision + before) / 2
    return float(precision.mean())
