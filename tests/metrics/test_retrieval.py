"""CMC, mAP and mINP against a ranking by hand, and against what published evaluation code returned."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lab.errors import DataError
from reid_lab.metrics import retrieval as module
from reid_lab.metrics import scores
from reid_lab.metrics.retrieval import RANKS, from_similarity, ranking, retrieval
from reid_lab.seeding import rng

GOLDEN = Path(__file__).parent.parent / "golden"


def by_hand(similarity, query_pids, gallery_pids, gone, trapezoid=False):
    """AP, INP and first rank of every query, one gallery item after the other."""
    rows = []
    for q, row in enumerate(similarity):
        order = sorted(range(len(row)), key=lambda g: (-row[g], g))
        order = [g for g in order if not gone[q][g]]
        ranks = [place for place, g in enumerate(order, 1) if gallery_pids[g] == query_pids[q]]
        terms = []
        for hit, rank in enumerate(ranks, 1):
            before = (hit - 1) / (rank - 1) if rank > 1 else 1.0
            terms.append((hit / rank + before) / 2 if trapezoid else hit / rank)
        rows.append((sum(terms) / len(ranks), len(ranks) / ranks[-1], ranks[0]) if ranks else (0.0, 0.0, 0))
    return [np.array(column) for column in zip(*rows, strict=True)]


def remover(gone):
    table = np.array(gone)
    return lambda query, items: table[query, items]


@st.composite
def tasks(draw):
    """Small integers, so that inner products are exact and full of ties; negative pids: junk and unlabelled."""
    queries, gallery = draw(st.integers(1, 7)), draw(st.integers(1, 12))
    number = st.integers(-2, 2)
    q = np.array(draw(st.lists(st.lists(number, min_size=2, max_size=2), min_size=queries, max_size=queries)))
    g = np.array(draw(st.lists(st.lists(number, min_size=2, max_size=2), min_size=gallery, max_size=gallery)))
    pids = st.integers(draw(st.sampled_from([-1, 0])), 3)
    q_pids = np.array(draw(st.lists(pids, min_size=queries, max_size=queries)))
    g_pids = np.array(draw(st.lists(pids, min_size=gallery, max_size=gallery)))
    row = st.lists(st.booleans(), min_size=gallery, max_size=gallery)
    gone = draw(st.lists(row, min_size=queries, max_size=queries))
    return q, g, q_pids, g_pids, gone


def always_on_device(tile, wanted, pool):
    return module._ranks_on_device(tile, wanted)


WAYS = {
    "counted": {"_COUNTED": 64, "_THREADED": 1 << 15},
    "sorted": {"_COUNTED": 0},
    "counted in threads": {"_THREADED": 0},
    "on the device": {"_ranks": always_on_device},
}


@settings(max_examples=150, deadline=None)
@given(
    task=tasks(),
    removing=st.booleans(),
    ap=st.sampled_from(["step", "trapezoid"]),
    no_match=st.sampled_from(["zero", "skip", "error"]),
    tile=st.sampled_from([1, 3, 256]),
    way=st.sampled_from(sorted(WAYS)),
)
def test_equals_a_ranking_by_hand_with_ties_removals_and_junk(task, removing, ap, no_match, tile, way):
    q, g, q_pids, g_pids, gone = task
    same = q_pids[:, None] == g_pids[None]
    gone = np.array(gone) & same & removing
    wanted_ap, wanted_inp, first = by_hand((q @ g.T).tolist(), q_pids, g_pids, gone | (g_pids < 0), ap == "trapezoid")
    labelled = q_pids >= 0
    wanted_ap, wanted_inp, first = wanted_ap * labelled, wanted_inp * labelled, first * labelled
    valid = labelled & (first > 0) if no_match == "skip" else labelled

    def run():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scores, "_TILE_QUERIES", tile)
            for name, value in WAYS[way].items():
                patch.setattr(module, name, value)
            features = torch.tensor(q, dtype=torch.float32), torch.tensor(g, dtype=torch.float32)
            options = {"removed": remover(gone) if removing else None, "ap": ap, "no_match": no_match}
            return retrieval(*features, q_pids, g_pids, **options)

    if not valid.any() or (no_match == "error" and (first == 0)[labelled].any()):
        with pytest.raises(DataError, match=r"no (query|match)"):
            run()
        return
    found = run()
    np.testing.assert_allclose(found.ap, wanted_ap, rtol=1e-12)
    np.testing.assert_allclose(found.inp, wanted_inp, rtol=1e-12)
    assert found.first_hit.tolist() == first.tolist()
    assert found.valid.tolist() == valid.tolist()
    assert (found.removed, found.junk) == (int(gone[labelled].sum()), int((g_pids < 0).sum()))
    assert (found.unlabelled, found.unmatched) == (int((~labelled).sum()), int((labelled & (first == 0)).sum()))
    for rank in RANKS:
        assert found.metrics[f"R{rank}"] == pytest.approx(100 * np.mean([0 < f <= rank for f in first[valid]]))
    assert found.metrics["mAP"] == pytest.approx(100 * wanted_ap[valid].mean())
    assert found.metrics["mINP"] == pytest.approx(100 * wanted_inp[valid].mean())


QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
GALLERY = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])


def two_queries(**options):
    """The second query's person is not in the gallery."""
    return retrieval(QUERIES, GALLERY, np.array([5, 9]), np.array([5, 7, 5]), **options)


def test_a_query_without_a_match_is_a_miss():
    found = two_queries()
    assert found.first_hit.tolist() == [1, 0]
    assert found.metrics["R1"] == 50.0
    assert found.metrics["mAP"] == pytest.approx(100 * (1 + 2 / 3) / 2 / 2)
    assert found.metrics["mINP"] == pytest.approx(100 * (2 / 3) / 2)


def test_a_query_without_a_match_is_skipped():
    found = two_queries(no_match="skip")
    assert found.valid.tolist() == [True, False]
    assert found.metrics["R1"] == 100.0
    assert found.metrics["mINP"] == pytest.approx(100 * 2 / 3)


def test_a_query_without_a_match_is_an_error():
    with pytest.raises(DataError, match="1 queries have no match, the first is number 1"):
        two_queries(no_match="error")


def test_nothing_left_to_measure_is_an_error():
    with pytest.raises(DataError, match="no query has a match"):
        retrieval(QUERIES, GALLERY, np.array([1, 1]), np.array([2, 2, 2]), no_match="skip")


def test_everything_removed_leaves_no_match():
    found = two_queries(removed=lambda query, items: np.ones(len(items), dtype=bool))
    assert found.metrics == {"R1": 0.0, "R5": 0.0, "R10": 0.0, "mAP": 0.0, "mINP": 0.0}
    assert (found.removed, found.unmatched, found.queries) == (2, 2, 2)


def test_only_items_of_the_query_s_person_are_asked_about():
    asked = {}

    def removed(query, items):
        asked[query] = items.tolist()
        return items == 0

    found = two_queries(removed=removed)
    assert asked == {0: [0, 2]}
    assert (found.removed, found.first_hit.tolist()) == (1, [2, 0])


def test_a_gallery_of_junk_is_a_miss_for_everybody():
    junk = np.full(3, -1)
    found = retrieval(QUERIES, GALLERY, np.array([5, 9]), junk)
    assert found.metrics == {"R1": 0.0, "R5": 0.0, "R10": 0.0, "mAP": 0.0, "mINP": 0.0}
    assert (found.junk, found.unmatched) == (3, 2)
    with pytest.raises(
        DataError, match=r"no query has a match in the gallery \(3 of 3 gallery items are junk, 0 pairs"
    ):
        retrieval(QUERIES, GALLERY, np.array([5, 9]), junk, no_match="skip")


def test_queries_without_labels_are_never_valid():
    found = retrieval(QUERIES, GALLERY, np.array([-1, 5]), np.array([5, 7, -1]))
    assert found.valid.tolist() == [False, True]
    assert (found.unlabelled, found.metrics["R1"], found.first_hit.tolist()) == (1, 0.0, [0, 2])
    for no_match in ("zero", "skip", "error"):
        with pytest.raises(DataError, match="no query is labelled: all 2 pids are negative"):
            retrieval(QUERIES, GALLERY, np.array([-1, -2]), np.array([5, -1, -2]), no_match=no_match)


def test_a_gallery_of_one_item():
    found = retrieval(QUERIES, GALLERY[1:2], np.array([7, 5]), np.array([7]))
    assert (found.ap.tolist(), found.inp.tolist(), found.first_hit.tolist()) == ([1.0, 0.0], [1.0, 0.0], [1, 0])


def test_the_result_says_how_it_came_to_be():
    found = retrieval(QUERIES, GALLERY, np.array([5, 9]), np.array([5, 5, -1]), removed=lambda q, items: items == 1)
    assert found.facts() == {
        "queries": 2,
        "valid_queries": 2,
        "unlabelled_queries": 0,
        "queries_without_match": 1,
        "query_without_match": "zero",
        "removed_pairs": 1,
        "junk_items": 1,
        "average_precision": "step",
        "ties": "equal similarities are ranked by gallery index",
        "scores": "inner product",
        "accumulation": "float32",
    }


def test_pids_must_belong_to_the_embeddings():
    with pytest.raises(DataError, match="2 queries and 3 gallery items have 1 and 4 pids"):
        retrieval(QUERIES, GALLERY, np.zeros(1, dtype=np.int64), np.zeros(4, dtype=np.int64))


@pytest.mark.parametrize("way", sorted(WAYS))
def test_neither_threads_nor_the_way_of_counting_change_a_bit(way, monkeypatch):
    draw = rng("retrieval")
    embeddings = [torch.from_numpy(draw.integers(-3, 4, (n, 6)).astype(np.float32)) for n in (70, 500)]
    pids = [draw.integers(-1, 5, n) for n in (70, 500)]
    expected = retrieval(*embeddings, *pids)
    for name, value in WAYS[way].items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: 3)
    found = retrieval(*embeddings, *pids)
    assert found.metrics == expected.metrics
    for name in ("ap", "inp", "first_hit"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("queries", [QUERIES[:0], QUERIES])
def test_an_empty_side_is_an_error(queries):
    gallery = GALLERY if not len(queries) else GALLERY[:0]
    pids = np.zeros(len(queries), dtype=np.int64), np.zeros(len(gallery), dtype=np.int64)
    with pytest.raises(DataError, match=f"got {len(queries)} and {len(gallery)}"):
        retrieval(queries, gallery, *pids)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite_are_refused(value):
    broken = GALLERY.clone()
    broken[1, 0] = value
    with pytest.raises(DataError, match="1 gallery embeddings are NaN or infinite, the first is number 1"):
        retrieval(QUERIES, broken, np.array([0, 1]), np.array([0, 1, 2]))


@pytest.mark.parametrize("similarity", [torch.empty(0, 3), torch.tensor([[0.0, float("nan")]])])
def test_a_similarity_matrix_must_hold_numbers(similarity):
    with pytest.raises(DataError, match="is empty or holds NaN"):
        from_similarity(similarity, np.zeros(len(similarity), dtype=np.int64), np.zeros(2, dtype=np.int64))


def test_equal_similarities_keep_the_order_of_the_gallery():
    similarity = torch.tensor([[0.5, 1.0, 0.5, 1.0, 0.5]]).repeat(1, 40)
    order = ranking(similarity)[0]
    high = [i for i in range(200) if i % 5 in (1, 3)]
    assert order.tolist() == high + [i for i in range(200) if i % 5 not in (1, 3)]


@pytest.fixture(params=["a", "b"])
def golden(request):
    with np.load(GOLDEN / f"retrieval_metrics_{request.param}.npz") as file:
        return dict(file)


def measured(golden, **options):
    features = [torch.nn.functional.normalize(torch.from_numpy(golden[name])) for name in ("qf", "gf")]
    found = retrieval(*features, golden["q_pids"], golden["g_pids"], **options)
    whole = from_similarity(features[0] @ features[1].T, golden["q_pids"], golden["g_pids"], **options)
    assert whole.metrics == found.metrics
    return found


def test_agrees_with_irra_where_nothing_is_removed(golden):
    kept = golden["irra_query_kept"]
    queries = {name: golden[name][kept] for name in ("qf", "q_pids")}
    found = measured({**golden, **queries}, no_match="error")
    np.testing.assert_allclose(found.cmc(10), golden["irra_cmc"], rtol=1e-6)
    assert found.metrics["mAP"] == pytest.approx(float(golden["irra_mAP"]), rel=1e-6)
    assert found.metrics["mINP"] == pytest.approx(float(golden["irra_mINP"]), rel=1e-6)


def test_agrees_with_transreid_and_fastreid_where_the_same_camera_is_removed(golden):
    same_pid = golden["q_pids"][:, None] == golden["g_pids"][None]
    same_camera = golden["q_camids"][:, None] == golden["g_camids"][None]
    found = measured(golden, removed=remover(same_pid & same_camera), no_match="skip")
    np.testing.assert_allclose(found.cmc(50), 100 * golden["transreid_cmc"], rtol=1e-6)
    np.testing.assert_allclose(found.cmc(50), 100 * golden["fastreid_cmc"], rtol=1e-6)
    assert found.queries == len(golden["fastreid_AP"])
    assert found.removed == int((same_pid & same_camera).sum())
    assert found.metrics["mAP"] == pytest.approx(100 * float(golden["transreid_mAP"]), rel=1e-6)
    np.testing.assert_allclose(found.ap[found.valid], golden["fastreid_AP"], rtol=1e-6)
    np.testing.assert_allclose(found.inp[found.valid], golden["fastreid_INP"], rtol=1e-6)
