"""The lexicon: every word in a class, and words that it does not have."""

import pytest

from reid_lab.data.captions.lexicon import CLASSES, WORDS, class_of, known
from reid_lab.data.synthetic import lexicon as world
from reid_lab.data.synthetic import vocabulary


def test_every_word_of_the_embedded_world_is_known():
    assert [word for word in vocabulary() if word != "." and not known(word)] == []


def test_words_are_lower_case_and_their_classes_exist():
    assert set(WORDS.values()) <= set(CLASSES)
    assert [word for word in WORDS if word != word.lower() or not word.strip()] == []


@pytest.mark.parametrize(
    ("table", "letters"),
    [
        (world.UPPER, "g"),
        (world.LOWER, "g"),
        (world.SHOES, "g"),
        (world.HAT, "g"),
        (world.BAG, "c"),
        (world.EXTRA, "gc"),
        (world.GLASSES, "y"),
        (world.GENDER, "p"),
    ],
)
def test_the_embedded_worlds_nouns_are_in_their_classes(table, letters):
    heads = {phrase.split()[-1] for phrases in table.values() for phrase in phrases}
    assert {head: class_of(head) for head in heads if class_of(head) not in letters} == {}


@pytest.mark.parametrize(
    ("word", "letter"),
    [
        ("T-shirt", "g"),
        ("tshirts", "g"),
        ("Flip-flops", "g"),
        ("SCARVES", "g"),
        ("watches", "g"),
        ("ponytails", "y"),
        ("long-sleeved", "m"),
        ("black-haired", "a"),
        ("shoulder-length", "n"),
        ("20-year-old", "a"),
        ("blue-grey", "n"),
        ("17", "q"),
        ("strolling", "V"),
        ("quietly", "r"),
        ("backpakc", "c"),
        ("trousars", "g"),
        ("jackets", "g"),
        ("gizmo", "u"),
        ("streat", "u"),
        ("!?", "."),
    ],
)
def test_words_are_classed_by_list_then_by_form(word, letter):
    assert class_of(word) == letter


def test_a_misspelt_word_is_classed_but_not_known():
    assert class_of("trousars") == "g"
    assert not known("trousars")
    assert known("Long-Sleeved")
