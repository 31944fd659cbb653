"""The first k of every ranking: exact, equal similarities by gallery index, a tile at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from reid_lab.errors import DataError
from reid_lab.metrics.scores import InnerProduct, Scores

Gone = Callable[[int], np.ndarray]
"""(query number) -> the gallery numbers (m,) that its ranking leaves out."""
_STRIDE = 64  # scores of which only the highest is looked at first


def top(queries: Tensor, gallery: Tensor, k: int, *, gone: Gone | None = None) -> tuple[Tensor, Tensor]:
    """The k most similar gallery items of each query by inner product.

    queries (Q, D), gallery (G, D) -> indices (Q, min(k, G)) int64 and scores (Q, min(k, G)) float32, on the
    device of the queries, from the most to the least similar. A ranking from which `gone` leaves fewer
    ends with the index -1 and the score -inf. Raises `DataError` as `retrieval` does, and when k is not positive.
    """
    return top_of(InnerProduct(queries, gallery), k, gone=gone)


def top_of(scores: Scores, k: int, *, gone: Gone | None = None) -> tuple[Tensor, Tensor]:
    """The same from any source of scores, e.g. re-ranked ones."""
    if k < 1:
        raise DataError(f"the first {k} of a ranking are none; at least 1 is needed")
    indices, values = [], []
    for start, tile in scores.tiles():
        if gone is not None:
            tile = tile.clone()
            for row in range(len(tile)):
                tile[row, torch.as_tensor(gone(start + row), dtype=torch.int64, device=tile.device)] = -torch.inf
        found, score = best(tile, k)
        indices.append(found if gone is None else found.where(score > -torch.inf, -1))
        values.append(score)
    return torch.cat(indices), torch.cat(values)


def best(tile: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices and scores (rows, min(k, G)) of the highest of each row of (rows, G); equal ones by index."""
    if tile.device.type != "cpu":
        ordered = tile.sort(dim=1, descending=True, stable=True)
        return ordered.indices[:, :k].clone(), ordered.values[:, :k].clone()
    scores = tile.numpy()
    k = min(k, scores.shape[1])
    indices = np.stack([_best_of_row(row, k) for row in scores])
    return torch.from_numpy(indices), torch.from_numpy(np.take_along_axis(scores, indices, axis=1))


def _best_of_row(scores: np.ndarray, k: int) -> np.ndarray:
    """The k-th highest of the maxima of disjoint strides bounds the k-th highest score from below."""
    strides = len(scores) // _STRIDE
    if strides < 2 * k:
        return np.argsort(-scores, kind="stable")[:k]
    highest = scores[: _STRIDE * strides].reshape(_STRIDE, strides).max(axis=0)
    candidates = np.flatnonzero(scores >= np.partition(highest, strides - k)[strides - k])
    order = np.argsort(-scores[candidates], kind="stable")[:k]
    found: np.ndarray = candidates[order]
    return found
