"""Second looks at a ranking: k-reciprocal re-ranking and average query expansion.

Re-ranking: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.
Queries and gallery together are N items. Each is encoded by a sparse vector over the items that are
among its k1 nearest and have it among theirs (and those of such neighbours), averaged over its k2 nearest
items; two items are as far apart as the Jaccard distance of their vectors, blended with the original
distance. Nothing of size N × N is ever held: the nearest neighbours come from tiles, the vectors are kept
as their non-zero entries (some hundred an item), and the final distances are again made tile by tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import numpy as np
import torch
from torch import Tensor

from reid_lab.errors import DataError
from reid_lab.metrics.scores import Euclidean, Scores
from reid_lab.metrics.top import best, top

_COMPARED = 1 << 24  # comparisons held at a time
_ENTRIES = 1 << 21  # entries of the encodings that are averaged at a time
_PAIRS = 1 << 14  # pairs of embeddings held at a time


@final
class Reranked(Scores):
    """Negative re-ranked distances of queries (Q, D) to a gallery (G, D).

    Args:
        queries: (Q, D) embeddings, of unit length as the paper has them.
        gallery: (G, D) embeddings.
        k1: neighbours that must be mutual, at least 1.
        k2: nearest items, itself among them, over which an encoding is averaged, at least 1.
        weight: the paper's λ in [0, 1], the share of the original distance: the squared Euclidean one over
            the longest one of the query.
        half: encode and add up in float16, rounding after every addition, as the published codes do;
            otherwise in float32.

    Raises:
        DataError: as `InnerProduct`, or a setting out of its range.
    """

    def __init__(
        self,
        queries: Tensor,
        gallery: Tensor,
        *,
        k1: int = 20,
        k2: int = 6,
        weight: float = 0.3,
        half: bool = False,
    ) -> None:
        if k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
            raise DataError(
                f"re-ranking needs k1 and k2 of at least 1 and a weight in 0..1; got {k1}, {k2} and {weight:g}"
            )
        self._distances, self._weight = Euclidean(queries, gallery), weight
        self.shape = self._distances.shape
        kind = "float16" if half else "float32"
        self.source = f"k-reciprocal re-ranking, k1 {k1}, k2 {k2}, weight {weight:g}, {kind}"
        everything = torch.cat([queries.detach().float(), gallery.detach().to(queries.device).float()])
        near, self._far = _nearest(everything, max(k1 + 1, k2))
        dtype = np.float16 if half else np.float32
        codes = _averaged(_encoded(everything, near[:, : k1 + 1], self._far, k1, dtype), near[:, :k2])
        self._query_codes, self._by_column = codes.head(len(queries)), codes.tail(len(queries)).transposed(len(near))

    def rows(self, start: int, stop: int) -> Tensor:
        """Jaccard distances from the entries that a query shares with the gallery, blended with the original ones."""
        blended = self._distances.rows(start, stop).cpu().numpy() / -self._far[start:stop, None] * self._weight
        blended = blended.astype(np.float32, copy=False)
        columns, values = self._by_column.columns, self._by_column.values
        for row in range(start, stop):
            shared = np.zeros(self.shape[1], dtype=values.dtype)
            for column, value in zip(*self._query_codes.row(row), strict=True):
                begin, end = self._by_column.bounds[column : column + 2]
                shared[columns[begin:end]] += np.minimum(value, values[begin:end])
            jaccard = 1 - shared / (2 - shared)
            blended[row - start] += jaccard * (1 - self._weight)
        return torch.from_numpy(-blended)


def expanded(queries: Tensor, gallery: Tensor, k: int, *, alpha: float = 0.0) -> Tensor:
    """Average query expansion: the mean of each query and its k most similar gallery embeddings, (Q, D) float32.

    Chum et al., "Total Recall", ICCV 2007. A positive `alpha` weighs each gallery embedding with its similarity,
    negative ones taken as 0, to that power (Radenović et al., "Fine-tuning CNN Image Retrieval with No
    Human Annotation", TPAMI 2019); the query's weight is 1. Embeddings should have unit length; that of the
    result does not change a ranking by inner product. Raises `DataError` as `top`, and for a negative alpha.
    """
    if alpha < 0:
        raise DataError(f"alpha must not be negative; got {alpha:g}")
    found, scores = top(queries, gallery, k)
    weights = scores.clamp(min=0).pow(alpha) if alpha else torch.ones_like(scores)
    total = queries.detach().float().clone()
    for place in range(found.shape[1]):
        total += weights[:, place, None] * gallery[found[:, place].to(gallery.device)].to(total)
    return total / (1 + weights.sum(1, keepdim=True))


class _Sparse:
    """A matrix by rows: `columns` and `values` of row i lie between bounds[i] and bounds[i + 1]."""

    def __init__(self, bounds: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        self.bounds, self.columns, self.values = bounds, columns, values

    @classmethod
    def of(cls, rows: int, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> _Sparse:
        """From entries (row, column, value) in the order of the rows."""
        counts = sum(np.bincount(row, minlength=rows) for row, _, _ in parts)
        columns, values = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
        return cls(np.concatenate([[0], np.cumsum(counts)]), columns.astype(np.int32, copy=False), values)

    def row(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Columns and values of a row."""
        part = slice(self.bounds[number], self.bounds[number + 1])
        return self.columns[part], self.values[part]

    def head(self, rows: int) -> _Sparse:
        """The first rows."""
        end = self.bounds[rows]
        return _Sparse(self.bounds[: rows + 1], self.columns[:end], self.values[:end])

    def tail(self, rows: int) -> _Sparse:
        """All but the first rows."""
        begin = self.bounds[rows]
        return _Sparse(self.bounds[rows:] - begin, self.columns[begin:], self.values[begin:])

    def transposed(self, columns: int) -> _Sparse:
        """The same matrix by columns."""
        order = np.argsort(self.columns, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(self.columns, minlength=columns))])
        rows = np.repeat(np.arange(len(self.bounds) - 1, dtype=np.int32), np.diff(self.bounds))
        return _Sparse(bounds, rows[order], self.values[order])


def _nearest(items: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of all items, itself among them, (N, k), and the distance of the farthest (N,)."""
    near, far = [], []
    for _, tile in Euclidean(items, items).tiles():
        near.append(best(tile, k)[0].cpu().numpy().astype(np.int32))
        far.append(-tile.min(dim=1).values.cpu().numpy())
    longest = np.concatenate(far)
    return np.concatenate(near), np.where(longest > 0, longest, np.float32(1))


def _chunks(items: int, each: int, most: int) -> Iterator[np.ndarray]:
    """Item numbers, so many at a time that `each` an item are at `most` so many, or one at a time."""
    step = max(1, most // each)
    for start in range(0, items, step):
        yield np.arange(start, min(start + step, items))


def _mutual(near: np.ndarray) -> np.ndarray:
    """Which neighbours (N, k) have the item among theirs: (N, k) bool."""
    chunks = _chunks(len(near), near.shape[1] ** 2, _COMPARED)
    return np.concatenate([(near[near[chunk]] == chunk[:, None, None]).any(axis=2) for chunk in chunks])


def _encoded(items: Tensor, near: np.ndarray, far: np.ndarray, k1: int, dtype: type[np.floating]) -> _Sparse:
    """Weights over the k1-reciprocal neighbours, and those of neighbours that share most of theirs."""
    closest = near[:, : round(k1 / 2) + 1]
    mutual, mutual_closest = _mutual(near), _mutual(closest)
    parts = []
    for chunk in _chunks(len(near), near.shape[1] ** 2 * closest.shape[1], _COMPARED):
        own, around = near[chunk], closest[near[chunk]]
        counted = mutual_closest[own]
        member = ((around[..., None] == own[:, None, None, :]) & mutual[chunk][:, None, None, :]).any(axis=3)
        most = 3 * (member & counted).sum(axis=2) > 2 * counted.sum(axis=2)
        joins = counted & (most & mutual[chunk])[..., None]
        row, place = np.nonzero(mutual[chunk])
        further = np.nonzero(joins)
        keys = np.concatenate([row * len(near) + own[row, place], further[0] * len(near) + around[further]])
        rows, columns = np.divmod(np.unique(keys), len(near))
        weights = np.exp(-_distances(items, chunk[rows], columns) / far[chunk[rows]])
        totals = np.bincount(rows, weights=weights, minlength=len(chunk)).astype(np.float32)
        parts.append((chunk[rows], columns, (weights / totals[rows]).astype(dtype)))
    return _Sparse.of(len(near), parts)


def _distances(items: Tensor, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of pairs, float32."""
    found = []
    for start in range(0, len(left), _PAIRS):
        a, b = (items[torch.from_numpy(side[start : start + _PAIRS]).to(items.device)] for side in (left, right))
        found.append((a - b).pow(2).sum(1).cpu().numpy())
    return np.concatenate(found)


def _averaged(codes: _Sparse, near: np.ndarray) -> _Sparse:
    """The mean of the codes of each item's nearest (N, k2)."""
    if near.shape[1] == 1:
        return codes
    lengths, parts = np.diff(codes.bounds), []
    for chunk in _chunks(len(near), near.shape[1] * max(1, int(lengths.max())), _ENTRIES):
        chosen = near[chunk].ravel()
        sizes = lengths[chosen]
        entry = np.repeat(codes.bounds[chosen] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        rows = np.repeat(np.repeat(chunk, near.shape[1]), sizes)
        keys, place = np.unique(rows * len(near) + codes.columns[entry], return_inverse=True)
        means = np.bincount(place, weights=codes.values[entry]).astype(np.float32) / np.float32(near.shape[1])
        parts.append((keys // len(near), keys % len(near), means.astype(codes.values.dtype)))
    return _Sparse.of(len(near), parts)
