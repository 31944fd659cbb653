"""Re-ranking against the paper's definition on dense matrices, and against what published code returned."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from reid_lab.errors import DataError
from reid_lab.metrics import rerank as module
from reid_lab.metrics.rerank import Reranked, expanded
from reid_lab.metrics.retrieval import measure, retrieval
from reid_lab.seeding import rng

GOLDEN = Path(__file__).parent.parent / "golden"


def unit(seed, *counts, dimensions=8):
    draw = rng("rerank", seed)
    return [normalize(torch.from_numpy(draw.standard_normal((n, dimensions), dtype=np.float32))) for n in counts]


def by_hand(queries, gallery, k1, k2, weight):
    """The paper's formulas with sets and dense float64 matrices."""
    items = np.concatenate([queries, gallery]).astype(np.float64)
    distance = ((items[:, None] - items[None]) ** 2).sum(2)
    relative = distance / distance.max(1, keepdims=True)
    order = np.argsort(distance, axis=1, kind="stable")

    def reciprocal(i, k):
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    codes = np.zeros_like(distance)
    for i in range(len(items)):
        own = reciprocal(i, k1)
        grown = set(own)
        for j in own:
            theirs = reciprocal(j, round(k1 / 2))
            if len(theirs & own) > 2 / 3 * len(theirs):
                grown |= theirs
        members = sorted(grown)
        codes[i, members] = np.exp(-relative[i, members])
        codes[i] /= codes[i].sum()
    codes = np.stack([codes[order[i, :k2]].mean(0) for i in range(len(items))])
    shared = np.minimum(codes[: len(queries), None], codes[None]).sum(2)
    return ((1 - weight) * (1 - shared / (2 - shared)) + weight * relative[: len(queries)])[:, len(queries) :]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    queries=st.integers(1, 6),
    gallery=st.integers(1, 40),
    k1=st.integers(1, 12),
    data=st.data(),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    compared=st.sampled_from([1, 1 << 24]),
)
def test_equals_the_definition(seed, queries, gallery, k1, data, weight, compared):
    k2 = data.draw(st.integers(1, k1 + 4))
    q, g = unit(seed, queries, gallery)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_COMPARED", compared)
        patch.setattr(module, "_ENTRIES", compared)
        patch.setattr(module, "_PAIRS", 7)
        scores = Reranked(q, g, k1=k1, k2=k2, weight=weight)
        found = -scores.rows(0, queries)
    assert scores.shape == (queries, gallery)
    np.testing.assert_allclose(found, by_hand(q.numpy(), g.numpy(), k1, k2, weight), atol=3e-6)


@pytest.mark.parametrize("name", ["a", "b"])
def test_agrees_with_published_code_to_the_last_rounding(name):
    with np.load(GOLDEN / f"retrieval_metrics_{name}.npz") as file:
        golden = dict(file)
    q, g = (normalize(torch.from_numpy(golden[side])) for side in ("qf", "gf"))
    scores = Reranked(q, g, k1=20, k2=6, weight=0.3, half=True)
    np.testing.assert_allclose(-scores.rows(0, len(q)), golden["rerank_dist"], rtol=0, atol=1e-6)

    def removed(query, items):
        return golden["g_camids"][items] == golden["q_camids"][query]

    found = measure(scores, golden["q_pids"], golden["g_pids"], removed=removed, no_match="skip")
    assert found.metrics["mAP"] == pytest.approx(100 * float(golden["rerank_mAP"]), rel=1e-6)
    np.testing.assert_allclose(found.cmc(50), 100 * golden["rerank_cmc"], rtol=1e-6)
    assert found.facts()["scores"] == "k-reciprocal re-ranking, k1 20, k2 6, weight 0.3, float16"


def test_any_part_of_the_rows_is_the_same_but_for_the_product():
    scores = Reranked(*unit(0, 5, 60))
    torch.testing.assert_close(scores.rows(0, 5)[2:4], scores.rows(2, 4), rtol=0, atol=1e-6)


def test_items_that_are_all_the_same():
    found = Reranked(torch.ones(2, 4) / 2, torch.ones(6, 4) / 2, k1=3, k2=2).rows(0, 2)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("options", [{"k1": 0}, {"k2": 0}, {"weight": 1.5}])
def test_settings_out_of_their_range(options):
    with pytest.raises(DataError, match=r"re-ranking needs k1 and k2 of at least 1 and a weight in 0\.\.1"):
        Reranked(*unit(0, 2, 9), **options)


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_a_query_is_expanded_by_its_nearest(alpha):
    q, g = unit(3, 4, 30)
    similarity = (q @ g.T).numpy()
    expected = []
    for row, query in zip(similarity, q.numpy(), strict=True):
        nearest = np.argsort(-row, kind="stable")[:5]
        weights = np.maximum(row[nearest], 0) ** alpha if alpha else np.ones(5)
        expected.append((query + weights @ g.numpy()[nearest]) / (1 + weights.sum()))
    np.testing.assert_allclose(expanded(q, g, 5, alpha=alpha), expected, atol=1e-6)


def test_expansion_plugs_into_retrieval_and_small_galleries_are_averaged_whole():
    q, g = unit(4, 3, 2)
    grown = expanded(q, g, 10)
    torch.testing.assert_close(grown, (q + g.sum(0)) / 3)
    found = retrieval(grown, g, np.array([0, 1, 0]), np.array([0, 1]))
    assert found.first_hit.tolist() == [
        1 + (score[1 - pid] > score[pid]) for score, pid in zip(grown @ g.T, (0, 1, 0), strict=True)
    ]


def test_a_negative_alpha_is_an_error():
    with pytest.raises(DataError, match="alpha must not be negative"):
        expanded(*unit(0, 2, 9), 3, alpha=-1.0)
