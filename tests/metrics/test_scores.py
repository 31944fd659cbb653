"""Where similarities come from: cut, number format, faults."""

import numpy as np
import pytest
import torch

from reid_lab.errors import DataError
from reid_lab.metrics import scores as module
from reid_lab.metrics.scores import Euclidean, InnerProduct, Matrix
from reid_lab.seeding import rng


def embeddings(*shapes):
    draw = rng("scores")
    return [torch.from_numpy(draw.standard_normal(shape, dtype=np.float32)) for shape in shapes]


def whole(scores):
    return torch.cat([tile for _, tile in scores.tiles()])


def test_tiles_cover_every_query_once_and_stay_small(monkeypatch):
    monkeypatch.setattr(module, "_TILE_BYTES", 4 * 40 * 7)
    q, g = embeddings((30, 5), (40, 5))
    tiles = list(InnerProduct(q, g).tiles())
    assert [(start, len(tile)) for start, tile in tiles] == [(0, 7), (7, 7), (14, 7), (21, 7), (28, 2)]
    torch.testing.assert_close(torch.cat([tile for _, tile in tiles]), q @ g.T)


def test_distances_are_those_of_the_definition():
    q, g = embeddings((9, 5), (12, 5))
    expected = -torch.cdist(q.double(), g.double()).square()
    torch.testing.assert_close(whole(Euclidean(q, g)).double(), expected, rtol=1e-5, atol=1e-5)


def matmul_precision():
    return torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cuda.matmul.fp32_precision


class Watched:
    """A right factor that notes the precision of the products it takes part in."""

    def __init__(self, factor, seen):
        self.factor, self.seen = factor, seen

    def __rmatmul__(self, left):
        self.seen.append(matmul_precision())
        return left @ self.factor


def test_products_are_float32_whatever_surrounds_them():
    q, g = embeddings((9, 50), (12, 50))
    expected, before = whole(InnerProduct(q, g)), matmul_precision()
    seen = []
    watched = InnerProduct(q, g)
    watched._targets = Watched(g.T, seen)
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = whole(InnerProduct(q, g))
            whole(watched)
        assert matmul_precision() == ("bf16", "tf32")
    finally:
        torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cuda.matmul.fp32_precision = before
    assert seen == [("ieee", "ieee")]
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_torch_s_older_setting_stays_readable():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        whole(InnerProduct(*embeddings((2, 3), (2, 3))))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_embeddings_of_any_precision_that_still_learn(dtype):
    q, g = (side.to(dtype).requires_grad_() for side in embeddings((4, 5), (6, 5)))
    found = whole(InnerProduct(q, g))
    assert not found.requires_grad
    assert torch.equal(found, whole(InnerProduct(q.detach().float(), g.detach().float())))


def test_embeddings_of_integers_are_compared_as_numbers():
    assert whole(InnerProduct(torch.tensor([[2, 1]]), torch.tensor([[3, -4]]))).tolist() == [[2.0]]


def test_a_matrix_keeps_its_numbers():
    assert whole(Matrix(torch.tensor([[1, 2]], dtype=torch.float64))).dtype == torch.float64
    assert whole(Matrix(torch.tensor([[1, 2]], dtype=torch.bfloat16))).dtype == torch.float32


def test_faults_of_both_sides_are_told_at_once():
    q, g = embeddings((4, 5), (6, 5))
    q[2, 0], g[1, 1], g[4, 0] = torch.nan, torch.inf, torch.nan
    with pytest.raises(DataError) as caught:
        InnerProduct(q, g)
    assert [str(fault) for fault in caught.value.faults] == [
        "1 query embeddings are NaN or infinite, the first is number 2",
        "2 gallery embeddings are NaN or infinite, the first is number 1",
    ]


@pytest.mark.parametrize("shapes", [((4, 5), (6, 4)), ((4,), (6, 4)), ((4, 5), (2, 6, 5)), ((4, 0), (6, 0))])
def test_embeddings_must_fit_each_other(shapes):
    with pytest.raises(DataError, match=r"embeddings must be \(queries, D\) and \(gallery, D\) with one D"):
        InnerProduct(*embeddings(*shapes))


def test_products_that_overflow_are_refused():
    q, g = embeddings((4, 5), (6, 5))
    with pytest.raises(DataError, match="whose square overflows float32"):
        InnerProduct(q * 1e20, g)
