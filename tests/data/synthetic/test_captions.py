"""The captions: a closed vocabulary, telling what is seen."""

import re
from dataclasses import replace

import pytest

from reid_lab.data.synthetic import ATTRIBUTES, SyntheticSpec, vocabulary
from reid_lab.data.synthetic.captions import FORMS, Wording, describe
from reid_lab.data.synthetic.palette import subject
from reid_lab.data.synthetic.traits import IDENTITY, OUTFIT

WORLD = replace(SyntheticSpec(preset="smoke").world, hard=1.0)
USUAL = Wording(0.3, 0.03)


def told(form, wording=USUAL, people=200):
    return [(n, describe(WORLD, wording, "train", n, n % 3, form)) for n in range(people)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("drop", [0.0, 0.3, 0.95])
def test_captions_are_well_formed_and_use_the_vocabulary_only(form, drop):
    words = set(vocabulary())
    for _, caption in told(form, Wording(drop, 0.2)):
        assert set(re.findall(r"[a-z]+|[^a-z ]", caption.text)) <= words, caption.text
        assert re.fullmatch(r"[a-z]+(,? [a-z]+)*\.( [a-z]+(,? [a-z]+)*\.)?", caption.text), caption.text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption.text), caption.text


def test_the_vocabulary_is_sorted_lower_case_and_used():
    words = vocabulary()
    assert list(words) == sorted(set(words))
    assert 150 < len(words) < 250
    used = {
        w for form in FORMS for _, c in told(form, Wording(0.1, 0.1), 1500) for w in re.findall(r"[a-z]+|[,.]", c.text)
    }
    assert set(words) == used


def test_without_errors_captions_state_the_truth():
    for form in FORMS:
        for number, caption in told(form, Wording(0.2, 0.0)):
            seen = subject(WORLD, "train", number, number % 3, "rgb")
            truth = {**seen.person.attributes, **seen.outfit.attributes}
            assert all(truth[name] == value for name, value in caption.facts.items())


def test_each_form_tells_its_own_part():
    for _, caption in told("id_caption"):
        assert caption.facts.keys() <= IDENTITY.keys()
    for _, caption in told("cloth_caption"):
        assert caption.facts.keys() <= OUTFIT.keys()
    whole = {name for _, caption in told("caption") for name in caption.facts}
    assert whole == ATTRIBUTES.keys() - {"view"}


def test_drop_and_error_do_what_they_say():
    def facts(wording):
        return [c.facts for _, c in told("cloth_caption", wording)]

    assert sum(map(len, facts(Wording(0.0, 0.0)))) > 1.3 * sum(map(len, facts(Wording(0.4, 0.0))))
    wrong = right = 0
    for number, caption in told("cloth_caption", Wording(0.0, 0.25), 300):
        truth = subject(WORLD, "train", number, number % 3, "rgb").outfit.attributes
        for name, value in caption.facts.items():
            if name.endswith("colour"):
                wrong, right = wrong + (truth[name] != value), right + (truth[name] == value)
    assert 0.2 < wrong / (wrong + right) < 0.3


def test_what_the_view_hides_is_not_told():
    for number, caption in told("caption", Wording(0.0, 0.0), 600):
        seen = subject(WORLD, "train", number, number % 3, "rgb").scene
        if seen.view == 2:
            assert not {"glasses", "beard", "logo", "inner_colour"} & caption.facts.keys()
        if seen.occluder == 2:
            assert not {"lower", "shoes"} & caption.facts.keys()
