"""Losses that take identity and clothes apart, against plain references."""

import math

import pytest
import torch
import torch.nn.functional as F

from reid_lab.parts.losses import cloth_match, clothes, decouple
from reid_lab.parts.losses.classify import classify
from reid_lab.parts.losses.info_nce import info_nce
from reid_lab.parts.losses.itc import itc
from reid_lab.parts.losses.supcon import supcon

SCALE = torch.tensor(10.0)


def rows(n, width=8, seed=0):
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def mean(found):
    return (found.total / found.count).item()


def test_info_nce_is_itc_of_rows_of_length_1_and_lengths_count():
    image, text = rows(6), rows(6, seed=1)
    assert mean(info_nce(image, text, SCALE)) == pytest.approx(mean(itc(image, text, SCALE)), rel=1e-6)
    assert mean(info_nce(2 * image, text, SCALE)) == pytest.approx(mean(itc(image, text, 2 * SCALE)), rel=1e-5)


def test_supcon_is_the_mean_over_positives_both_ways():
    image, text = rows(4), rows(3, seed=1)
    ids, text_ids = torch.tensor([0, 0, 1, 5]), torch.tensor([0, 1, 1])
    similarity = 10.0 * image @ text.T
    found = []
    for logits, own, others in ((similarity, ids, text_ids), (similarity.T, text_ids, ids)):
        for i, row in enumerate(logits):
            positives = [j for j in range(len(others)) if others[j] == own[i]]
            if positives:
                total = torch.logsumexp(row, 0)
                found.append(sum((total - row[j]).item() for j in positives) / len(positives))
    got = supcon(image, text, ids, text_ids, SCALE)
    assert int(got.count) == len(found) == 6  # image 3 has no text
    assert mean(got) == pytest.approx(sum(found) / len(found), rel=1e-5)


def test_supcon_of_different_people_is_info_nce():
    image, text, ids = rows(5), rows(5, seed=1), torch.arange(5)
    assert mean(supcon(image, text, ids, ids, SCALE)) == pytest.approx(mean(itc(image, text, SCALE)), rel=1e-5)


def test_classify_counts_known_classes():
    logits, labels = rows(4, 3), torch.tensor([2, -1, 0, -1])
    found = classify(logits, labels)
    assert int(found.count) == 2
    expected = F.cross_entropy(logits[[0, 2]], labels[[0, 2]])
    assert mean(found) == pytest.approx(expected.item(), rel=1e-6)


def test_word_bags_hold_ordinary_words_once():
    ids = torch.tensor([[2, 7, 7, 9, 3, 0], [2, 3, 0, 0, 0, 0]])
    bags = clothes.word_bags(ids, range(5, 10), 12)
    assert bags.nonzero().tolist() == [[0, 7], [0, 9]]


def test_words_are_classes():
    logits = rows(3, 12)
    bags = torch.zeros(3, 12)
    bags[0, [5, 7]] = 1
    bags[1, 6] = 1
    found = clothes.words(logits, bags)
    likely = logits.log_softmax(dim=1)
    expected = -((likely[0, 5] + likely[0, 7]) / 2 + likely[1, 6]) / 2
    assert int(found.count) == 2, "a caption without words is not valid"
    assert mean(found) == pytest.approx(expected.item(), rel=1e-6)


def test_overlap_draws_images_to_those_whose_captions_share_words():
    bags = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    near = torch.tensor([[1.0, 0], [1, 0.1], [1, -0.1], [-1, 0]], requires_grad=True)
    far = torch.tensor([[1.0, 0], [-1, 0], [-1, 0.1], [1, 0.1]])
    good, bad = clothes.overlap(near, bags, SCALE), clothes.overlap(far, bags, SCALE)
    assert int(good.count) == 3, "nobody shares a word with the last"
    assert mean(good) < mean(bad)
    similarity = (10.0 * F.normalize(near.detach(), dim=1) @ F.normalize(near.detach(), dim=1).T)[0]
    weights = torch.tensor([1 / 2, 1 / 3])  # of 1 word of 2, of 1 word of 3
    likely = similarity[1:].log_softmax(dim=0)[:2]
    row0 = -(likely * weights / weights.sum()).sum().item()
    first = clothes.overlap(near[:4], torch.where(torch.eye(4)[:, :1] > 0, bags, bags), SCALE)
    assert first.total.item() >= row0
    good.total.backward()
    assert near.grad.isfinite().all()


def matching(form, matched, pids, text_pids, seed=0):
    image, text = rows(len(pids), seed=seed), rows(len(pids), seed=seed + 1)
    given = (torch.tensor(matched), torch.tensor(pids), torch.tensor(text_pids), SCALE)
    return cloth_match.FORMS[form](image, text, *given), 10.0 * image @ text.T


def test_as_published_takes_unmatched_pairs_for_positives():
    found, similarity = matching("as_published", [True, False, True], [0, 1, 2], [0, 2, 2])
    labels = torch.arange(3)
    expected = (F.cross_entropy(similarity, labels) + F.cross_entropy(similarity.T, labels)) / 2
    assert mean(found) == pytest.approx(expected.item(), rel=1e-5)


def test_masked_rows_ask_for_matched_pairs_alone():
    found, similarity = matching("masked_rows", [True, False, True], [0, 1, 2], [0, 2, 2])
    own = torch.tensor([0, 2])
    expected = F.cross_entropy(similarity[own], own) + F.cross_entropy(similarity.T[own], own)
    assert int(found.count) == 2
    assert mean(found) == pytest.approx(expected.item() / 2, rel=1e-5)


def test_pid_aware_knows_whose_clothes_a_caption_tells():
    found, similarity = matching("pid_aware", [True, False, True], [0, 1, 2], [0, 2, 2])
    likely, back = similarity.log_softmax(dim=1), similarity.T.log_softmax(dim=1)
    terms = [likely[0, 0], (likely[2, 1] + likely[2, 2]) / 2, back[0, 0], back[1, 2], back[2, 2]]
    assert int(found.count) == 5
    assert mean(found) == pytest.approx(-sum(t.item() for t in terms) / 5, rel=1e-5)


def test_identical_features_have_all_of_everything_in_common():
    x = rows(40, 16)
    assert mean(decouple.cosine(x, 3 * x)) == pytest.approx(1.0)
    other = rows(40, 16, seed=5)
    for measure in (decouple.hsic, decouple.cross_covariance):
        assert mean(measure(x, x)) > 1.5 * mean(measure(x, other))


def test_two_random_projections_hide_what_is_identical():
    """The published form sees about .05 of two identical features of 768 channels."""
    x, seen = rows(64, 768), []
    for seed in range(4):
        a, b = (torch.randn(768, 256, generator=torch.Generator().manual_seed(9 * seed + k)) for k in (1, 2))
        seen.append(mean(decouple.cosine(x @ a, x @ b)))
    assert sum(seen) / 4 == pytest.approx(math.sqrt(2 / (math.pi * 256)), abs=0.012)


def test_hsic_is_the_trace_of_centred_gaussian_kernels():
    a, b = rows(9), rows(9, seed=2)
    h = torch.eye(9) - 1 / 9

    def kernel(x):
        d = torch.cdist(x, x) ** 2
        return torch.exp(-d / d[~torch.eye(9, dtype=torch.bool)].median())

    expected = torch.trace(kernel(a) @ h @ kernel(b) @ h) / 64
    assert mean(decouple.hsic(a, b)) == pytest.approx(expected.item(), rel=1e-4)


def test_cross_covariance_is_the_sum_of_squared_covariances():
    a, b = rows(9), rows(9, 5, seed=2)
    expected = torch.cov(torch.cat([a, b], dim=1).T)[:8, 8:].square().sum()
    assert mean(decouple.cross_covariance(a, b)) == pytest.approx(expected.item(), rel=1e-4)


def test_dependence_that_is_not_linear_is_seen_by_hsic():
    angle = torch.linspace(0, 2 * math.pi, 81)[:-1]
    a = torch.stack([angle.cos(), angle.sin()], dim=1)
    b = torch.stack([(2 * angle).cos(), (2 * angle).sin()], dim=1)
    assert mean(decouple.cross_covariance(a, b)) < 1e-8
    shuffled = b[torch.randperm(80, generator=torch.Generator().manual_seed(0))]
    assert mean(decouple.hsic(a, b)) > 3 * mean(decouple.hsic(a, shuffled))


@pytest.mark.parametrize("n", [0, 1])
def test_few_rows_are_finite_and_keep_the_graph(n):
    x = rows(n).requires_grad_()
    y = rows(n, seed=1)
    ids, none = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.bool)
    bags = torch.zeros(n, 8)
    found = [
        info_nce(x, y, SCALE),
        supcon(x, y, ids, ids, SCALE),
        supcon(x, y[:0], ids, ids[:0], SCALE),
        classify(x, ids - 1),
        clothes.words(x, bags),
        clothes.overlap(x, bags, SCALE),
        *(form(x, y, none, ids, ids, SCALE) for form in cloth_match.FORMS.values()),
        *(form(x, y) for form in decouple.FORMS.values()),
    ]
    for sum_ in found:
        assert sum_.total.isfinite()
        assert sum_.total.requires_grad
        assert int(sum_.count) > 0 or sum_.total.item() == 0
        sum_.total.backward(retain_graph=True)
    assert x.grad.isfinite().all()
