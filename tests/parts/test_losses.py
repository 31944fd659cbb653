"""Losses against plain references that loop over rows, as the papers' equations read."""

import math

import pytest
import torch
import torch.nn.functional as F

from reid_lab.parts.losses.accuracy import accuracy
from reid_lab.parts.losses.cmpm import cmpm
from reid_lab.parts.losses.identity import identity
from reid_lab.parts.losses.itc import itc
from reid_lab.parts.losses.mlm import mlm
from reid_lab.parts.losses.sdm import sdm, soft_sdm

SCALE = torch.tensor(20.0)


def features(n=7, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image, text = torch.randn(2, n, width, generator=generator, dtype=torch.float64).unbind()
    pids = torch.tensor([0, 1, 0, 2, 1, 0, 3])[:n]
    image_ids = torch.tensor([0, 1, 2, 3, 1, 2, 5])[:n]
    return image.float(), text.float(), pids, image_ids


def softmax(row):
    top = max(row)
    e = [math.exp(x - top) for x in row]
    return [x / sum(e) for x in e]


def kl(logits, labels, epsilon=1e-8):
    """Sum over rows of KL(softmax(logits) || labels), in Python floats."""
    total = 0.0
    for row, target in zip(logits.tolist(), labels, strict=True):
        total += sum(p * (math.log(p) - math.log(t + epsilon)) for p, t in zip(softmax(row), target, strict=True) if p)
    return total


def cosine(image, text):
    return torch.tensor([[F.cosine_similarity(i, t, dim=0) for t in text] for i in image])


def mean(found):
    return (found.total / found.count).item()


def test_sdm():
    image, text, pids, _ = features()
    labels = [[float(a == b) for b in pids] for a in pids]
    labels = [[x / sum(row) for x in row] for row in labels]
    similarity = SCALE * cosine(image, text)
    expected = (kl(similarity, labels) + kl(similarity.T, labels)) / 7
    assert mean(sdm(image, text, pids, SCALE)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("normalise", ["rows", "columns"])
def test_soft_sdm(normalise):
    image, text, pids, image_ids = features()
    raw = [
        [1.0 if i == j else 0.3 * (p == q) for q, j in zip(pids.tolist(), image_ids.tolist(), strict=True)]
        for p, i in zip(pids.tolist(), image_ids.tolist(), strict=True)
    ]
    sums = [sum(row) for row in raw]
    if normalise == "rows":
        labels = [[x / s for x in row] for row, s in zip(raw, sums, strict=True)]
    else:
        labels = [[x / s for x, s in zip(row, sums, strict=True)] for row in raw]
    similarity = SCALE * cosine(image, text)
    expected = (kl(similarity, labels) + kl(similarity.T, labels)) / 7
    found = soft_sdm(image, text, pids, image_ids, SCALE, value=0.3, normalise=normalise)
    assert mean(found) == pytest.approx(expected, rel=1e-5)


def test_soft_sdm_of_value_one_is_sdm():
    image, text, pids, image_ids = features()
    found = soft_sdm(image, text, pids, image_ids, SCALE, value=1.0, normalise="rows")
    assert mean(found) == pytest.approx(mean(sdm(image, text, pids, SCALE)), rel=1e-6)


def test_itc():
    image, text, _, _ = features()
    similarity = (SCALE * cosine(image, text)).tolist()
    to_text = -sum(math.log(softmax(row)[i]) for i, row in enumerate(similarity)) / 7
    columns = list(zip(*similarity, strict=True))
    to_image = -sum(math.log(softmax(row)[i]) for i, row in enumerate(columns)) / 7
    assert mean(itc(image, text, SCALE)) == pytest.approx((to_text + to_image) / 2, rel=1e-5)


def test_cmpm():
    image, text, pids, _ = features()
    labels = [[float(a == b) for b in pids] for a in pids]
    labels = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in labels]
    to_text = kl(image @ (text / text.norm(dim=1, keepdim=True)).T, labels)
    to_image = kl(text @ (image / image.norm(dim=1, keepdim=True)).T, labels)
    assert mean(cmpm(image, text, pids)) == pytest.approx((to_text + to_image) / 7, rel=1e-5)


def test_identity():
    image, text, pids, _ = features()
    expected = (F.cross_entropy(image, pids) + F.cross_entropy(text, pids)) / 2
    assert mean(identity(image, text, pids)) == pytest.approx(expected.item(), rel=1e-6)


def test_mlm_and_its_parts_add_up():
    logits = torch.randn(9, 12, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(9)
    whole, first, rest = mlm(logits, labels), mlm(logits[:4], labels[:4]), mlm(logits[4:], labels[4:])
    assert mean(whole) == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)
    assert (first.total + rest.total) / (first.count + rest.count) == pytest.approx(mean(whole), rel=1e-6)


def test_accuracy():
    logits = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    found = accuracy("logits", "pids")(logits=logits, pids=torch.tensor([1, 0, 0]))
    assert (found.total.item(), found.count.item()) == (2.0, 3)


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_is_an_exact_zero_and_one_row_is_finite(rows):
    image, text, pids, image_ids = (value[:rows] for value in features())
    image.requires_grad_()
    logits = torch.cat([image, image], dim=1)
    for found in (
        sdm(image, text, pids, SCALE),
        soft_sdm(image, text, pids, image_ids, SCALE),
        itc(image, text, SCALE),
        cmpm(image, text, pids),
        identity(logits, logits, pids),
        mlm(logits, pids),
        accuracy("logits", "pids")(logits=logits, pids=pids),
    ):
        assert found.count.item() == rows
        assert found.total.isfinite()
        assert rows or found.total.item() == 0.0


def test_similarities_are_float32_under_autocast():
    image, text, pids, _ = features()
    exact = mean(sdm(image, text, pids, SCALE))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mean(sdm(image, text, pids, SCALE)) == pytest.approx(exact, rel=1e-5)
