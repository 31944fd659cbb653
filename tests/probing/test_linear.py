"""Linear probes find what was planted, at chance what was not, and never share people between folds."""

import numpy as np
import pytest

from reid_lab.probing.linear import enough, permuted, probe, splits

PEOPLE, EACH = 60, 4


@pytest.fixture(scope="module")
def planted():
    """Embeddings that carry a person's colour (4 values) and nothing else: x, colour, another attribute, people."""
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(PEOPLE), EACH)
    colour, other = (random.integers(0, 4, PEOPLE)[people] for _ in range(2))
    x = random.normal(size=(len(people), 12)) + 4 * random.normal(size=(4, 12))[colour]
    return x, colour, other, people


def test_what_was_planted_is_found_and_nothing_else(planted):
    x, colour, other, people = planted
    found, absent = (probe(x, labels, people, people) for labels in (colour, other))
    assert np.mean(found.balanced) > 0.95
    assert np.mean(found.accuracy) > 0.95
    assert np.mean(absent.balanced) == pytest.approx(0.25, abs=0.12)
    assert np.mean(found.permuted) == pytest.approx(0.25, abs=0.15)
    assert (found.n, found.clusters, found.classes, found.rare) == (PEOPLE * EACH, PEOPLE, 4, 0)
    assert len(found.balanced) == len(found.strength) == 5


def test_the_same_seed_gives_the_same_numbers(planted):
    x, colour, _, people = planted
    assert probe(x, colour, people, people, seed=3) == probe(x, colour, people, people, seed=3)


def test_a_person_s_own_noise_does_not_help_across_people(planted):
    """An embedding that tells who somebody is by chance alone, read across people, tells nothing of the colour."""
    _, colour, _, people = planted
    x = np.random.default_rng(1).normal(size=(PEOPLE, 40))[people]
    assert np.mean(probe(x, colour, people, people).balanced) < 0.45
    moments = np.arange(len(people))
    assert np.mean(probe(x, colour, moments, people).balanced) > 0.9  # what splits by item would have claimed


@pytest.mark.parametrize("seed", range(5))
def test_folds_share_nobody_and_hold_every_item_once(planted, seed):
    _, colour, _, people = planted
    tested = []
    for train, test in splits(colour, people, 5, seed):
        assert not set(people[train]) & set(people[test])
        assert len(train) + len(test) == len(people)
        tested += test.tolist()
    assert sorted(tested) == list(range(len(people)))


def test_majority_is_the_share_of_the_most_frequent(planted):
    x, _, _, people = planted
    labels = (people % 4 == 0).astype(int)
    found = probe(x, labels, people, people)
    assert found.majority == pytest.approx([0.75] * 5, abs=0.01)


def test_values_that_too_few_people_have_are_left_out(planted):
    x, colour, _, people = planted
    labels = np.where(people < 3, 9, colour)
    labels[people == 7] = -1
    assert not enough(labels, people, 5)[people < 3].any()
    found = probe(x, labels, people, people)
    assert (found.classes, found.rare, found.n) == (4, 3 * EACH, (PEOPLE - 4) * EACH)


def test_a_single_value_is_no_probe(planted):
    x, _, _, people = planted
    assert probe(x, np.zeros(len(people), dtype=int), people, people) is None
    assert probe(x, np.full(len(people), -1), people, people) is None


def test_labels_of_people_are_permuted_by_person_and_identities_by_item():
    people = np.repeat(np.arange(PEOPLE), EACH)
    moved = permuted(people % 3, people, 0)
    assert all(len(set(moved[people == person])) == 1 for person in range(PEOPLE))
    assert (moved != people % 3).any()
    assert sorted(moved) == sorted(people % 3)
    assert any(len(set(permuted(people, people, 0)[people == person])) > 1 for person in range(PEOPLE))


def test_two_moments_of_each_person_are_enough_for_identities():
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(20), 2)
    x = random.normal(size=(20, 8))[people] + 0.05 * random.normal(size=(40, 8))
    found = probe(x, people, np.arange(40), people, folds=2)
    assert np.mean(found.balanced) > 0.8  # from one moment each
    assert np.mean(found.permuted) < 0.3
