"""CMC, mAP and mINP, exact, with ties broken by gallery index.

Ranks come from similarities in descending order; equal similarities keep the order of the gallery.
The similarity of a tile of queries is computed at a time, in float32, so that the whole matrix is
never held. AP is the mean precision at each hit; `trapezoid` averages it with the precision before
the hit, as Market-style scripts do. INP is the number of correct items over the rank of the last one
(Ye et al., TPAMI 2021, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from reid_lab.errors import DataError

METRICS_VERSION = 1
RANKS = (1, 5, 10)
_TILE = 256

Removed = Callable[[int, int], Tensor]
"""(first query, one past the last) -> (queries, gallery) bool, True where a gallery item is taken out."""


@dataclass(frozen=True)
class RetrievalResult:
    """Metrics in percent over the valid queries, and what each query found.

    valid: (Q,) bool, False for skipped queries. ap, inp: (Q,) float64 in [0, 1]. first_hit: (Q,) int64,
    the 1-based rank of the first correct item; 0 where there is none.
    """

    metrics: dict[str, float]
    valid: np.ndarray
    ap: np.ndarray
    inp: np.ndarray
    first_hit: np.ndarray


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
    no_match: Literal["skip", "zero", "error"] = "zero",
    ap: Literal["step", "trapezoid"] = "step",
) -> RetrievalResult:
    """Metrics of retrieval by inner product.

    queries (Q, D) and gallery (G, D) are embeddings, float32; pids (Q,) and (G,) say who is correct.
    `removed` takes items out of single queries' rankings. Raises `DataError` for an empty side, for
    non-finite embeddings, and for a query without a match where `no_match` is `error`.
    """
    if not len(queries) or not len(gallery):
        raise DataError(f"retrieval needs queries and a gallery; got {len(queries)} and {len(gallery)}")
    if not (bool(queries.isfinite().all()) and bool(gallery.isfinite().all())):
        raise DataError("the embeddings hold values that are not finite")
    labels = torch.from_numpy(gallery_pids)
    wanted = torch.from_numpy(query_pids)
    rows = []
    for start in range(0, len(queries), _TILE):
        stop = min(start + _TILE, len(queries))
        similarity = queries[start:stop].float() @ gallery.float().T
        gone = None if removed is None else removed(start, stop)
        rows.append(_tile(similarity, labels == wanted[start:stop, None], gone, ap))
    average, inverse, first = (np.concatenate(column) for column in zip(*rows, strict=True))
    matched = first > 0
    if no_match == "error" and not matched.all():
        raise DataError(
            f"{int((~matched).sum())} queries have no match in the gallery, e.g. query {int(np.argmin(matched))}"
        )
    valid = matched if no_match == "skip" else np.ones(len(queries), dtype=bool)
    if not valid.any():
        raise DataError("no query has a match in the gallery")
    cmc = {f"R{rank}": 100.0 * float((matched & (first <= rank))[valid].mean()) for rank in RANKS}
    metrics = {**cmc, "mAP": 100.0 * float(average[valid].mean()), "mINP": 100.0 * float(inverse[valid].mean())}
    return RetrievalResult(metrics, valid, average, inverse, first)


def _tile(
    similarity: Tensor, correct: Tensor, gone: Tensor | None, ap: Literal["step", "trapezoid"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AP, INP and first rank of the queries of one tile."""
    order = ranking(similarity)
    hits = correct.gather(1, order)
    if gone is None:
        ranks = torch.arange(1, hits.shape[1] + 1).expand_as(hits)
    else:
        kept = ~gone.gather(1, order)
        hits = hits & kept
        ranks = kept.cumsum(dim=1)
    found = hits.cumsum(dim=1)
    precision = found / ranks.clamp(min=1)
    if ap == "trapezoid":
        before = torch.where(ranks > 1, (found - 1) / (ranks - 1).clamp(min=1), 1.0)
        precision = (precision + before) / 2
    relevant = found[:, -1]
    average = (precision.double() * hits).sum(dim=1) / relevant.clamp(min=1)
    last = torch.where(hits, ranks, 0).amax(dim=1)
    first = torch.where(hits, ranks, hits.shape[1] + 1).amin(dim=1)
    inverse = relevant.double() / last.clamp(min=1)
    return average.numpy(), inverse.numpy(), torch.where(relevant > 0, first, 0).numpy()
