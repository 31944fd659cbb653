"""RGB-anchored alignment against formulas written out, its weak points as published included."""

import math

import pytest
import torch
import torch.nn.functional as F

from reid_lab.parts.losses.anchored import anchored, hinge, masked_by_product, supervised_contrast
from reid_lab.parts.losses.sdm import sdm

FORMS = ["as_published", "supcon", "margin", "sdm"]


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_published_form_adds_one_for_what_is_masked_and_has_no_diagonal():
    query, anchor, pids = unit(3, 4), unit(3, 4, seed=1), torch.tensor([0, 0, 1])
    cosine = query @ anchor.T / 0.1
    first = math.log(1 + cosine[0, 1].exp() + cosine[0, 2].exp()) - cosine[0, 1].item()
    second = math.log(1 + cosine[1, 0].exp() + cosine[1, 2].exp()) - cosine[1, 0].item()
    loss = masked_by_product(query, anchor, pids, pids, temperature=0.1)
    assert loss.item() == pytest.approx((first + second + 0) / 3, rel=1e-5)


def test_supervised_contrast_keeps_the_diagonal_and_both_ways():
    query, anchor = unit(3, 4), unit(2, 4, seed=1)
    asks, answers = torch.tensor([0, 1, 2]), torch.tensor([1, 0])
    logits = query @ anchor.T / 0.1
    there = -(F.log_softmax(logits, 1)[0, 1] + F.log_softmax(logits, 1)[1, 0]) / 2  # the third has no positive
    back = -(F.log_softmax(logits.T, 1)[0, 1] + F.log_softmax(logits.T, 1)[1, 0]) / 2
    loss = supervised_contrast(query, anchor, asks, answers, temperature=0.1)
    torch.testing.assert_close(loss, (there + back) / 2)
    assert supervised_contrast(query, anchor, asks, answers + 7, temperature=0.1) is None


def test_hinge_takes_the_hardest():
    query = torch.tensor([[1.0, 0.0]])
    anchor = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
    answers = torch.tensor([5, 5, 6, 6])
    loss = hinge(query, anchor, torch.tensor([5]), answers, margin=0.3)
    assert loss.item() == pytest.approx(0.3 - 0.6 + 0.8)
    assert hinge(query, anchor, torch.tensor([9]), answers, margin=0.3) is None
    assert hinge(query, anchor[:2], torch.tensor([5]), answers[:2], margin=0.3) is None, "no negative"


def test_similarity_distribution_matching_reads_pairs():
    features, pids = unit(4, 3, 6), torch.tensor([0, 1, 0, 2])
    present = torch.ones(4, 3, dtype=torch.bool)
    present[3, 1] = False
    loss = anchored(features, present, pids, anchor=0, form="sdm", temperature=0.1, margin=0.3)
    scale = torch.tensor(10.0)
    first = sdm(features[:3, 0], features[:3, 1], pids[:3], scale)
    second = sdm(features[:, 0], features[:, 2], pids, scale)
    torch.testing.assert_close(loss.total, first.total / 3 + second.total / 4)
    assert loss.count == 2


@pytest.mark.parametrize("form", FORMS)
def test_without_rgb_there_is_nothing_to_align(form):
    features = torch.randn(4, 3, 6, requires_grad=True)
    present = torch.ones(4, 3, dtype=torch.bool)
    present[:, 0] = False
    loss = anchored(features, present, torch.arange(4), anchor=0, form=form, temperature=0.1, margin=0.3)
    assert loss.total == 0
    assert loss.count == 0
    assert loss.total.requires_grad


@pytest.mark.parametrize("form", FORMS)
def test_absent_features_have_no_part(form):
    features, pids = torch.randn(6, 3, 8), torch.tensor([0, 1, 0, 2, 1, 0])
    present = torch.rand(6, 3, generator=torch.Generator().manual_seed(1)) < 0.7
    other = torch.where(present[:, :, None], features, torch.randn(6, 3, 8))
    knobs = {"anchor": 1, "form": form, "temperature": 0.1, "margin": 0.3}
    one, two = anchored(features, present, pids, **knobs), anchored(other, present, pids, **knobs)
    torch.testing.assert_close(one.total, two.total)
    assert one.total > 0


def test_large_logits_stay_finite():
    query = unit(4, 4)
    pids = torch.tensor([0, 0, 1, 1])
    assert masked_by_product(query, query, pids, pids, temperature=0.005).isfinite()
