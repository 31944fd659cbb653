"""Where similarities come from: a tile of queries against the whole gallery, never the whole matrix.

Products are taken in float32 and accumulated in float32, whatever autocast or TF32 setting surrounds
them. The cut into tiles depends on the two sizes alone, so that the same embeddings give the same bits
on the same machine; another cut, another number of threads in the product or another machine may change
a score in its last bits, and nothing after the product depends on either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor

from reid_lab.errors import DataError

ACCUMULATION = "float32"
_TILE_QUERIES, _TILE_BYTES = 256, 1 << 28
_BLOCK = 1 << 14  # embeddings that are checked at a time


def cut(queries: int, gallery: int) -> Iterator[tuple[int, int]]:
    """(first query, one past the last) of each tile."""
    step = max(1, min(_TILE_QUERIES, _TILE_BYTES // (4 * gallery)))
    for start in range(0, queries, step):
        yield start, min(start + step, queries)


class Scores(ABC):
    """Similarities of Q queries to G gallery items; higher is more similar.

    shape: (Q, G). source: how they came to be, in words, for the result's record.
    """

    shape: tuple[int, int]
    source: str

    @abstractmethod
    def rows(self, start: int, stop: int) -> Tensor:
        """The scores (stop - start, G) of some queries, float32 or float64 without NaN; not to be written into."""

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """All rows in order, as (first query, tile)."""
        for start, stop in cut(*self.shape):
            yield start, self.rows(start, stop)


@final
class InnerProduct(Scores):
    """Inner products of embeddings (Q, D) and (G, D); the cosine, when they have unit length.

    Raises `DataError` for an empty side, other shapes, and embeddings that are not finite or so long
    that a product would overflow.
    """

    source = "inner product"

    def __init__(self, queries: Tensor, gallery: Tensor) -> None:
        _checked(queries, gallery)
        self.shape = len(queries), len(gallery)
        self._queries, self._targets = queries.detach(), gallery.detach().to(queries.device).float().T

    def rows(self, start: int, stop: int) -> Tensor:
        """One product a tile, on the device of the queries."""
        with _float32(self._queries.device.type), torch.no_grad():
            return self._queries[start:stop].float() @ self._targets


@final
class Euclidean(Scores):
    """Negative squared Euclidean distances of embeddings (Q, D) and (G, D); raises as `InnerProduct`."""

    source = "negative squared Euclidean distance"

    def __init__(self, queries: Tensor, gallery: Tensor) -> None:
        self._products = InnerProduct(queries, gallery)
        self.shape = self._products.shape
        self._lengths = [side.detach().to(queries.device).float().pow(2).sum(1) for side in (queries, gallery)]

    def rows(self, start: int, stop: int) -> Tensor:
        """From the products, |a - b|² = |a|² + |b|² - 2ab."""
        mine, theirs = self._lengths
        return self._products.rows(start, stop).mul_(2).sub_(mine[start:stop, None] + theirs)


@final
class Matrix(Scores):
    """A similarity matrix (Q, G) that somebody has already computed; `DataError` when empty or with NaN."""

    source = "given similarities"

    def __init__(self, similarity: Tensor) -> None:
        if similarity.dim() != 2 or not similarity.numel() or bool(similarity.isnan().any()):
            raise DataError(f"the similarity matrix {tuple(similarity.shape)} is empty or holds NaN")
        self.shape = len(similarity), similarity.shape[1]
        self._similarity = similarity.detach()

    def rows(self, start: int, stop: int) -> Tensor:
        """Some of its rows."""
        rows = self._similarity[start:stop]
        return rows if rows.dtype == torch.float64 else rows.float()


def _checked(queries: Tensor, gallery: Tensor) -> None:
    """Every fault of the embeddings at once."""
    if queries.dim() != 2 or gallery.dim() != 2 or not queries.shape[1] == gallery.shape[1] > 0:
        shapes = f"{tuple(queries.shape)} and {tuple(gallery.shape)}"
        raise DataError(f"embeddings must be (queries, D) and (gallery, D) with one D; got {shapes}")
    if not len(queries) or not len(gallery):
        raise DataError(f"retrieval needs queries and a gallery; got {len(queries)} and {len(gallery)}")
    faults, longest = [], 0.0
    for name, embeddings in (("query", queries), ("gallery", gallery)):
        bad, first = 0, 0
        for start in range(0, len(embeddings), _BLOCK):
            block = embeddings[start : start + _BLOCK].detach()
            block = block if block.is_floating_point() else block.float()
            largest = torch.linalg.vector_norm(block, torch.inf, dim=1)
            broken = ~largest.isfinite()
            if bool(broken.any()):
                first = first if bad else start + int(broken.int().argmax())
                bad += int(broken.sum())
            else:
                longest = max(longest, float(largest.max()) * embeddings.shape[1] ** 0.5)
        if bad:
            faults.append(f"{bad} {name} embeddings are NaN or infinite, the first is number {first}")
    if 4 * longest**2 > torch.finfo(torch.float32).max:
        faults.append(f"embeddings may be {longest:.3g} long, whose square overflows float32; scale them down")
    if faults:
        raise DataError(*faults)


@contextmanager
def _float32(device: str) -> Iterator[None]:
    """Inside, a product of float32 matrices is one of float32 matrices."""
    backends: Any = torch.backends
    settings = backends.cuda.matmul, backends.mkldnn.matmul
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        with torch.autocast(device, enabled=False):
            yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision
