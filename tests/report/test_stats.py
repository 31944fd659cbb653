"""Intervals and tests: equal to scipy's, and right as often as they claim."""

import json

import numpy as np
import pytest
from scipy import stats as reference

from reid_lab.report import stats
from tests.report.peer import GOLDEN

SIMULATIONS = 2000


def drawn(n, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(50, 1, n), random.normal(51, 2, n)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_paired_is_that_of_scipy(n):
    a, b = drawn(n)
    found, expected = stats.paired(a, b), reference.ttest_rel(a, b)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_welch_is_that_of_scipy(n):
    a, b = drawn(n + 2)[0], drawn(n)[1]
    found, expected = stats.welch(a, b), reference.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.df == pytest.approx(expected.df)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_bh_is_that_of_scipy_and_nan_does_not_count():
    p = np.random.default_rng(0).random((7, 6)) ** 3
    assert stats.benjamini_hochberg(p) == pytest.approx(reference.false_discovery_control(p, axis=-1))
    with_nan = stats.benjamini_hochberg([0.01, np.nan, 0.04])
    assert with_nan[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(with_nan[1])


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, np.nan, 0.8])[[0, 2]] == pytest.approx([1.0, 1.0])


def test_one_seed_says_nothing():
    for found in (stats.paired([1.0], [0.0]), stats.welch([1.0], [0.0, 1.0]), stats.crossed(np.ones((1, 9)))):
        assert np.isnan([found.low, found.high, found.p]).all()
    assert np.isnan(stats.effect([1.0], [0.0]))
    assert np.isnan(stats.detectable(1.0, 1)).all()


def test_effect_is_hedges_g():
    a, b = np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0])
    assert float(stats.effect(a, b)) == pytest.approx(2 * (1 - 3 / (4 * 4 - 1)), rel=0.01)


def test_the_same_difference_in_every_seed_proves_nothing():
    a = np.array([0.3, 0.1])
    found = stats.paired(a + 0.0125, a)
    assert float(found.mean) == pytest.approx(0.0125)
    assert np.isnan([found.low, found.high, found.p]).all()
    equal = stats.paired(a, a)
    assert (float(equal.low), float(equal.high), float(equal.p)) == (0.0, 0.0, 1.0)


def test_power_is_that_of_the_noncentral_t():
    least, likely = stats.detectable(1.3, 5)
    assert least == pytest.approx(reference.t.ppf(0.975, 4) * 1.3 / 5**0.5)
    shift = likely / (1.3 / 5**0.5)
    assert reference.nct.sf(reference.t.ppf(0.975, 4), 4, shift) == pytest.approx(0.8, abs=1e-4)


def test_where_people_do_not_vary_crossed_is_paired():
    seeds = np.array([1.0, 2.0, 4.0])
    d = np.repeat(seeds[:, None], 30, axis=1)
    found, expected = stats.crossed(d), stats.paired(seeds, np.zeros(3))
    assert (found.low, found.high, found.p) == pytest.approx((expected.low, expected.high, expected.p))


def test_where_seeds_do_not_vary_crossed_is_over_people():
    people = np.random.default_rng(0).normal(1, 1, 40)
    d = np.repeat(people[None], 3, axis=0)
    expected = reference.ttest_1samp(people, 0)
    assert stats.crossed(d).p == pytest.approx(expected.pvalue)


def test_crossed_is_never_narrower_than_paired():
    d = simulated(3, 1.0, 5.0, count=200, random=np.random.default_rng(0))
    wide, narrow = stats.crossed(d), stats.paired(d.mean(axis=-1), np.zeros(3))
    assert (wide.low <= narrow.low + 1e-9).all()
    assert (wide.high >= narrow.high - 1e-9).all()
    assert (wide.p >= narrow.p - 1e-9).all()


def test_randomisation_agrees_with_scipy():
    d = np.random.default_rng(3).normal(0.35, 1, 40)
    expected = reference.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(0)
    ).pvalue
    error = 4 * np.sqrt(expected * (1 - expected) * (1 / 20_000 + 1 / stats.RESAMPLES))
    assert stats.randomisation(d) == pytest.approx(expected, abs=error)


def test_randomisation_is_exact_where_all_signs_can_be_listed():
    d = np.array([1.0, 2.0, 3.0, 4.0])  # |sum| >= 10: two of sixteen
    assert stats.randomisation(d, resamples=100_000) == pytest.approx(2 / 16, abs=0.005)


@pytest.mark.parametrize("case", range(5))
def test_tests_over_queries_agree_with_ranx(case):
    """Recorded answers (`peer.py` asks for them); its permutations and ours are both drawn."""
    golden = json.loads(GOLDEN.read_text())
    one = golden["cases"][case]
    base, other = np.array(one["base"]), np.array(one["other"])
    assert float(stats.paired(other, base).p) == pytest.approx(one["student"], rel=1e-9)
    p, drawn = one["fisher"], 1 / golden["permutations"] + 1 / stats.RESAMPLES
    error = 4 * np.sqrt(p * (1 - p) * drawn) + 1 / stats.RESAMPLES
    assert stats.randomisation(other - base) == pytest.approx(p, abs=error)


def test_the_bootstrap_agrees_with_scipy():
    d = np.random.default_rng(4).normal(0.3, 1, 60)
    expected = reference.bootstrap((d,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert stats.bootstrap(d) == pytest.approx(tuple(expected), abs=0.02)


def test_the_same_seed_gives_the_same_numbers():
    d = np.random.default_rng(5).normal(0.3, 1, 30)
    assert stats.randomisation(d) == stats.randomisation(d)
    assert stats.bootstrap(d) == stats.bootstrap(d)


def simulated(seeds, of_seed, of_person, *, count=SIMULATIONS, people=100, queries=4, effect=1.0, random):
    """Differences (count, seeds, people) of the stated model, of which every draw has its own people and seeds.

    d = effect + seed + person + person within seed + mean of queries, all normal: queries of a person share what makes
    the person hard, within a seed, too. The last part is that of queries, 20 points each.
    """
    seed = random.normal(0, of_seed, (count, seeds, 1))
    person = random.normal(0, of_person, (count, 1, people))
    rest = random.normal(0, 20 / np.sqrt(queries), (count, seeds, people))
    return effect + seed + person + rest


def coverage(interval, effect=1.0):
    return float(((interval.low <= effect) & (effect <= interval.high)).mean())


WORLDS = [(0.5, 0.0), (0.5, 5.0), (0.5, 20.0), (2.0, 0.0), (2.0, 5.0), (2.0, 20.0)]


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_what_they_claim(seeds):
    """For new seeds on the same people: `paired`. For new seeds and people: `crossed`. 95% of the time, ±2."""
    random = np.random.default_rng(seeds)
    for of_seed, of_person in WORLDS:
        d = simulated(seeds, of_seed, of_person, random=random)
        assert 0.93 <= coverage(stats.crossed(d)) <= 0.97, (seeds, of_seed, of_person)
        # of these people the truth is what infinitely many seeds would find on them
        people = random.normal(0, of_person, 100).mean()
        d = simulated(seeds, of_seed, 0.0, random=random).mean(axis=-1) + people
        assert 0.93 <= coverage(stats.paired(d, np.zeros(seeds)), 1.0 + people) <= 0.97


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_welch_covers_what_it_claims(seeds):
    random = np.random.default_rng(seeds)
    a, b = random.normal(51, 1, (SIMULATIONS, seeds)), random.normal(50, 1, (SIMULATIONS, seeds + 1))
    assert 0.93 <= coverage(stats.welch(a, b)) <= 0.975  # conservative at three seeds


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_family_wise_error_is_kept(seeds):
    """Five arms that are all like the baseline: one of them differs in at most 6.5% of the studies."""
    random = np.random.default_rng(seeds)
    values = random.normal(50, 1, (SIMULATIONS, 6, seeds))
    p = stats.paired(values[:, 1:], values[:, :1]).p
    assert (stats.holm(p) < 0.05).any(axis=-1).mean() <= 0.065
    assert (stats.benjamini_hochberg(p) < 0.05).any(axis=-1).mean() <= 0.065
    assert (p < 0.05).any(axis=-1).mean() > 0.1  # unadjusted, they would


def test_tests_over_queries_of_one_person_do_not_count_twice():
    """Queries of a person are alike: clustered tests keep their level, a test over single queries does not."""
    random = np.random.default_rng(0)
    clustered, single = [], []
    for _ in range(200):
        person = random.normal(0, 1, (30, 1)) + random.normal(0, 0.5, (30, 4))
        clustered.append(stats.randomisation(person.mean(axis=1), resamples=400))
        single.append(stats.randomisation(person.ravel(), resamples=400))
    assert np.mean(np.array(clustered) < 0.05) <= 0.09
    assert np.mean(np.array(single) < 0.05) > 0.15
