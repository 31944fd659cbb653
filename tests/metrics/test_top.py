"""The first k of a ranking against a stable sort."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lab.errors import DataError
from reid_lab.metrics import scores
from reid_lab.metrics.rerank import Reranked
from reid_lab.metrics.retrieval import ranking, retrieval
from reid_lab.metrics.scores import Matrix
from reid_lab.metrics.top import top, top_of
from reid_lab.seeding import rng


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 99),
    gallery=st.sampled_from([1, 5, 63, 128, 300, 1000]),
    levels=st.sampled_from([1, 3, 1 << 20]),
    k=st.sampled_from([1, 2, 7, 400]),
    tile=st.sampled_from([1, 256]),
)
def test_equals_the_head_of_a_stable_sort(seed, gallery, levels, k, tile):
    similarity = torch.from_numpy(rng("top", seed).integers(0, levels, (4, gallery)).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "_TILE_QUERIES", tile)
        indices, values = top_of(Matrix(similarity), k)
    assert torch.equal(indices, ranking(similarity)[:, :k])
    assert torch.equal(values, similarity.gather(1, indices))


def test_from_embeddings():
    q, g = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.0], [0.75, 1.0], [0.5, 3.0]])
    indices, values = top(q, g, 3)
    assert (indices.tolist(), values.tolist()) == ([[1, 0, 2]], [[0.75, 0.5, 0.5]])


def test_what_is_gone_is_not_ranked_and_short_rankings_say_so():
    similarity = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    indices, values = top_of(Matrix(similarity), 2, gone=lambda query: np.array([[0], [0, 2]][query]))
    assert indices.tolist() == [[1, 2], [1, -1]]
    assert values.tolist() == [[2.0, 1.0], [2.0, -torch.inf]]
    assert similarity.tolist() == [[3.0, 2.0, 1.0]] * 2


def test_none_at_all_is_an_error():
    with pytest.raises(DataError, match="at least 1 is needed"):
        top(torch.ones(1, 2), torch.ones(2, 2), 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_what_the_processor_finds():
    draw = rng("gpu")
    sides = [torch.from_numpy(draw.integers(-3, 4, (n, 6)).astype(np.float32)) for n in (70, 500)]
    pids = [draw.integers(-1, 5, n) for n in (70, 500)]
    there = [side.cuda() for side in sides]
    assert retrieval(*there, *pids).metrics == retrieval(*sides, *pids).metrics
    indices, values = top(*there, 9, gone=lambda query: np.array([query]))
    expected = top(*sides, 9, gone=lambda query: np.array([query]))
    assert torch.equal(indices.cpu(), expected[0])
    assert torch.equal(values.cpu(), expected[1])
    torch.testing.assert_close(Reranked(*there).rows(0, 70), Reranked(*sides).rows(0, 70), rtol=0, atol=1e-5)
