"""Maps: components as linear algebra has them, t-SNE that its seed decides."""

import numpy as np
import pytest

from reid_lab.errors import UserError
from reid_lab.looking import maps
from reid_lab.looking.opened import people

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(30, 6)) * [5, 3, 1, 0.5, 0.2, 0.1]


def test_components_are_those_of_the_decomposition():
    found = maps.principal(VECTORS)
    centred = VECTORS - VECTORS.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.places), np.abs(centred @ axes[:2].T), atol=1e-10)
    share = 100 * (values[:2] ** 2).sum() / (values**2).sum()
    assert f"explain {share:.1f}%" in found.told
    assert found.axes[0] == f"component 1 ({100 * values[0] ** 2 / (values**2).sum():.0f}%)"


def test_the_seed_and_the_perplexity_of_t_sne_are_told_and_decide():
    first, again = (maps.neighbours(VECTORS, 5.0, 3) for _ in range(2))
    assert np.array_equal(first.places, again.places)
    assert "perplexity 5" in first.told
    assert "seed 3" in first.told
    assert first.told.split("divergence")[0] != maps.neighbours(VECTORS, 8.0, 3).told.split("divergence")[0]


def test_people_are_drawn_by_the_seed_or_named():
    pids = np.array([-1, *np.repeat(np.arange(10, 40), 2)])
    drawn = people(pids, 5, 0, "val of x")
    assert len(drawn) == 5
    assert set(drawn) <= set(range(10, 40))
    assert drawn.tolist() == people(pids[::-1], 5, 0, "val of x").tolist()
    assert drawn.tolist() != people(pids, 5, 1, "val of x").tolist()
    assert people(pids, [12, 11], 0, "val of x").tolist() == [12, 11]
    with pytest.raises(UserError, match=r"^no identity 7, 9 in val of x; it has 30: 10, 11, .*, …$"):
        people(pids, [12, 7, 9], 0, "val of x")
