"""Two groups query by query: what counts as a win, and what cannot be compared."""

import numpy as np
import pytest

from reid_lab.errors import UserError
from reid_lab.report import stats
from reid_lab.report.figures.kind import Lacking
from reid_lab.tracking.runs import RunFolder
from tests.report.drawable import drawn
from tests.report.made import QUERIES, make

AP = np.array([0.9, 0.5, 0.5, 0.2] * 20)


def rewrite(folder, **columns):
    """Other per-query results of a made run."""
    file = folder.results / "test.npz"
    with np.load(file) as held:
        kept = {name: held[name] for name in held.files}
    np.savez_compressed(file, **{**kept, **columns})
    return folder


@pytest.fixture
def pair(tmp_path):
    """Two runs: the second is better at the first query of everybody, worse at the second, equal at the others."""
    runs = tmp_path / "runs"
    first = rewrite(make(runs, 0), ap=AP, first_hit=np.tile([1, 2, 2, 5], 20))
    other = AP + np.tile([0.05, -0.1, 0.0, 0.0], 20)
    second = rewrite(make(runs, 0, spec={"model.mer.rank": 8}), ap=other, first_hit=np.tile([1, 4, 1, 5], 20))
    return runs, [first.run_id, second.run_id]


def test_wins_losses_and_the_mean_difference(pair):
    runs, words = pair
    found = drawn("win_loss", words, runs)
    differences = [row["difference"] for row in found.rows]
    assert differences == pytest.approx([5.0, -10.0, 0.0, 0.0] * 20)
    assert "80 test queries of 20 people" in found.caption
    assert "is better in 20," in found.caption
    assert "40 are equal" in found.caption
    assert "Mean difference -1.25 points" in found.caption
    low, high = stats.bootstrap(np.full(20, -1.25))
    assert f"interval {low:+.2f} to {high:+.2f}" in found.caption
    assert "these trained models only" in found.caption


def test_ranks_are_better_when_lower(pair):
    runs, words = pair
    found = drawn("win_loss", words, runs, options={"value": "rank"})
    assert [row["difference"] for row in found.rows[:QUERIES]] == [0, 2, -1, 0]
    first, second = list(found.rows[0])[2:4]
    assert f"{second} is better in 20, {first} in 20, 40 are equal" in found.caption
    assert "+0.25 ranks" in found.caption


def test_seeds_are_averaged_query_by_query(pair):
    runs, _ = pair
    rewrite(make(runs, 1), ap=AP - 0.1)
    rewrite(make(runs, 1, spec={"model.mer.rank": 8}), ap=AP)
    ranks = drawn("win_loss", ["irra"], runs, by=["model.mer.rank"], baseline="model.mer.rank=4")
    assert [row["difference"] for row in ranks.rows[:QUERIES]] == pytest.approx([7.5, 0.0, 5.0, 5.0])
    found = drawn("win_loss", ["irra"], runs, by=["model.mer.rank"], baseline="model.mer.rank=8")
    assert [row["difference"] for row in found.rows[:QUERIES]] == pytest.approx([-7.5, 0.0, -5.0, -5.0])
    assert "2 seeds each" in found.caption


def test_what_cannot_be_compared(pair, tmp_path):
    runs, words = pair
    with pytest.raises(Lacking, match="two groups; the selection gives 1"):
        drawn("win_loss", words[:1], runs)
    with pytest.raises(UserError, match="unknown value 'ape'; allowed: ap, rank; did you mean 'ap'"):
        drawn("win_loss", words, runs, options={"value": "ape"})
    with pytest.raises(UserError, match="has one task, and no 'CC'"):
        drawn("win_loss", words, runs, options={"task": "CC"})
    rewrite(RunFolder(runs / words[1]), first_hit=np.zeros(80))
    with pytest.raises(Lacking, match="80 queries have no match"):
        drawn("win_loss", words, runs, options={"value": "rank"})
    rewrite(RunFolder(runs / words[1]), pids=np.arange(80))
    with pytest.raises(Lacking, match="were asked other queries"):
        drawn("win_loss", words, runs)
    file = runs / words[0] / "results" / "test.npz"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"results/test\.npz cannot be read"):
        drawn("win_loss", words, runs)
    file.unlink()
    with pytest.raises(UserError, match="kept no per-query results"):
        drawn("win_loss", words, runs)
