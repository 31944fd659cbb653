"""Triplets and smoothed labels against loops over rows; the neck before the classifier."""

import math

import pytest
import torch
import torch.nn.functional as F

from reid_lab.parts.heads import BNNeck
from reid_lab.parts.losses.smoothing import smoothed
from reid_lab.parts.losses.triplet import triplet

PIDS = torch.tensor([0, 1, 0, 2, 1, 0, 3])


def features(seed=0):
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("margin", [None, 0.3, 2.0])
def test_hardest_triplets(margin):
    x, losses = features(), []
    for i in range(7):
        others = [j for j in range(7) if PIDS[j] == PIDS[i] and j != i]
        if not others:
            continue
        far = max(math.dist(x[i], x[j]) for j in others)
        near = min(math.dist(x[i], x[j]) for j in range(7) if PIDS[j] != PIDS[i])
        gap = far - near
        losses.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, gap + margin))
    found = triplet(x, PIDS, margin=margin)
    assert int(found.count) == len(losses) == 5
    assert float(found.total / found.count) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_equal_features_have_a_finite_gradient():
    x = torch.ones(4, 3, requires_grad=True)
    found = triplet(x, torch.tensor([0, 0, 1, 1]))
    found.total.backward()
    assert (found.total / found.count).item() == pytest.approx(0.3)
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("pids", [[], [0], [0, 0, 0], [0, 1, 2]])
def test_rows_without_a_triplet(pids):
    x = torch.randn(len(pids), 3, requires_grad=True)
    found = triplet(x, torch.tensor(pids, dtype=torch.int64))
    assert (int(found.count), found.total.item()) == (0, 0.0)
    assert found.total.requires_grad


@pytest.mark.parametrize("spread", ["all", "others"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_smoothed_labels(spread, epsilon):
    logits, total = features(1), 0.0
    for row, pid in zip(logits.tolist(), PIDS.tolist(), strict=True):
        likelihood = F.log_softmax(torch.tensor(row), dim=0).tolist()
        for c in range(5):
            share = epsilon / 5 if spread == "all" else 0.0 if c == pid else epsilon / 4
            total -= likelihood[c] * (share + (1 - epsilon) * (c == pid))
    found = smoothed(logits, PIDS, epsilon=epsilon, spread=spread)
    assert float(found.total) == pytest.approx(total, rel=1e-5)
    assert int(found.count) == 7
    if spread == "all":
        torch_says = F.cross_entropy(logits, PIDS, label_smoothing=epsilon)
        torch.testing.assert_close(found.total / found.count, torch_says)


def test_the_neck_has_no_shift_and_serves_a_single_row():
    neck = BNNeck(5).train()
    x = features()
    out = neck(x)
    torch.testing.assert_close(out.mean(0), torch.zeros(5), atol=1e-6, rtol=0)
    before = neck.norm.running_mean.clone()
    assert before.abs().max() > 0
    assert neck(x[:1]).isfinite().all()
    assert torch.equal(neck.norm.running_mean, before)
    torch.testing.assert_close(neck.eval()(x)[:1], neck.train()(x[:1]))
    assert [name for name, p in neck.named_parameters() if p.requires_grad] == ["norm.weight"]
