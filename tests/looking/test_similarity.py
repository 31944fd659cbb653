"""Right and wrong pairs: counted one by one, and d′ and overlap where they are known."""

import math

import numpy as np
import pytest
import torch

from reid_lab.data.items import Groups
from reid_lab.data.protocols import Retrieval
from reid_lab.data.protocols.rules import NOTHING, RULES
from reid_lab.errors import DataError
from reid_lab.looking import similarity


def groups(pids, camids=None, first=0):
    pids = np.asarray(pids)
    camids = np.full(len(pids), -1) if camids is None else np.asarray(camids)
    return Groups({"rgb": np.arange(len(pids))}, pids, camids, np.arange(first, first + len(pids)))


def vectors(count, seed):
    found = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 5)))
    return torch.nn.functional.normalize(found, dim=1).float()


@pytest.mark.parametrize("tile", [2, 512])
def test_every_pair_counts_once(monkeypatch, tile):
    monkeypatch.setattr(similarity, "_TILE", tile)
    asking, there = groups([1, 2, 3, -1, 2], [0, 1, 0, 0, 2]), groups([1, 1, 2, -1, 3, 2], [0, 1, 1, 0, 2, 0], 50)
    task = Retrieval("t", asking, there, RULES["camera"], "zero")
    a, b = vectors(5, 0), vectors(6, 1)
    right, wrong = [], []
    for q in range(5):
        for g in range(6):
            if asking.pids[q] < 0 or there.pids[g] < 0:
                continue
            value = float(a[q].double() @ b[g].double())
            if asking.pids[q] != there.pids[g]:
                wrong.append(value)
            elif asking.camids[q] != there.camids[g]:
                right.append(value)
    found = similarity.separation(task, a, b, bins=7)
    assert found.pairs.tolist() == [len(right), len(wrong)]
    for k, values in enumerate((right, wrong)):
        assert found.mean[k] == pytest.approx(np.mean(values))
        assert found.deviation[k] == pytest.approx(np.std(values))
        assert found.counts[k].tolist() == np.histogram(values, found.edges)[0].tolist()
    assert found.counts.sum() == len(right) + len(wrong)
    spread = math.sqrt((np.var(right) + np.var(wrong)) / 2)
    assert found.d_prime == pytest.approx((np.mean(right) - np.mean(wrong)) / spread)


def made(right, wrong, bins=400):
    edges = np.linspace(-8, 8, bins + 1)
    counts = np.stack([np.histogram(values, edges)[0] for values in (right, wrong)]).astype(float)
    both = (right, wrong)
    return similarity.Separation(
        edges, counts, counts.sum(axis=1), np.array([v.mean() for v in both]), np.array([v.std() for v in both])
    )


def test_d_prime_and_overlap_of_two_normals():
    random = np.random.default_rng(0)
    found = made(random.normal(1.5, 1, 200_000), random.normal(0, 1, 200_000), bins=100)
    assert found.d_prime == pytest.approx(1.5, abs=0.02)
    assert found.overlap == pytest.approx(math.erfc(0.75 / math.sqrt(2)), abs=0.01)  # 2 Φ(-d′/2)
    apart = made(np.array([5.0, 5.1]), np.array([-5.0, -5.2]))
    assert apart.overlap == 0
    same = np.linspace(-1, 1, 50)
    assert made(same, same).overlap == pytest.approx(1)
    assert made(same, same).d_prime == 0


def test_a_side_without_pairs_is_told():
    task = Retrieval("t2i", groups([1, 2]), groups([3, 4], first=9), NOTHING, "zero")
    with pytest.raises(DataError, match="t2i: no query has a right item"):
        similarity.separation(task, vectors(2, 0), vectors(2, 1))
    task = Retrieval("t2i", groups([1]), groups([1], first=9), NOTHING, "zero")
    with pytest.raises(DataError, match="no query has a wrong item"):
        similarity.separation(task, vectors(1, 0), vectors(1, 1))
