"""Words and patches: which tokens are whose, and how like they are."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from reid_lab.looking import words
from reid_lab.parts import backbones
from reid_lab.parts.captions import caption_input
from reid_lab.parts.modalities import ModalText, ModalVision
from tests.lab import IMAGE


@pytest.fixture(scope="module")
def trunk(tiny_clip):
    return backbones.clip(str(tiny_clip), image_size=IMAGE)


@pytest.fixture(scope="module")
def wanted(trunk):
    return caption_input(trunk.tokenizer, 16, 32, "tiny")


def test_words_name_their_tokens(wanted):
    caption = "A woman in a red coat, zqx."
    found = words.spans(caption, wanted)
    assert [word for word, _, _ in found] == caption.split()
    assert found[0][1] == 1
    assert all(last == first for (_, _, last), (_, first, _) in pairwise(found))
    assert found[-1][2] - found[-1][1] > 2  # a word that the vocabulary does not hold has several pieces
    ids = wanted.tokenize([caption])[0]
    for word, first, last in found:
        own = wanted.tokenize([word])[0]
        assert ids[first:last].tolist() == own[1 : 1 + last - first].tolist()


def test_words_that_are_cut_off_are_left_out(wanted):
    caption = "a woman in a red coat with a green bag and a blue hat and a white shirt and black boots"
    found = words.spans(caption, wanted)
    assert 0 < len(found) < len(caption.split())
    assert found[-1][2] <= 15
    assert words.spans("", wanted) == []


@pytest.mark.parametrize("modal", [False, True])
def test_likeness_is_the_cosine_of_projected_tokens(trunk, wanted, modal):
    model = torch.nn.ModuleList([ModalVision(trunk, {"rgb": 3}), ModalText(trunk)]) if modal else trunk
    space = words.shared_space(model)
    torch.manual_seed(0)
    pixels, ids = torch.randn(2, 3, *IMAGE), wanted.tokenize(["a man in a red coat", "a woman"])
    with words.recorded(space) as kept, torch.no_grad():
        if modal:
            model[0]({"rgb": pixels})
            model[1].features(ids)
        else:
            model.image_features(pixels)
            model.text_features(ids)
    found = words.likeness(space, kept.image[0], kept.text[0], 8)
    with torch.no_grad():
        seen = trunk.vision_projection(trunk.vision.norm(trunk.image_tokens(pixels)))[:, 1:]
        told = trunk.text_projection(trunk.text.norm(trunk.text_tokens(ids)))
    length = found.shape[1]
    for item, token, patch in ((0, 1, 0), (0, 3, 7), (1, 2, 4)):
        a, b = told[item, token].double().numpy(), seen[item, patch].double().numpy()
        assert float(found[item, token, patch]) == pytest.approx(
            a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5
        )
    assert found.shape == (2, length, 8)
    assert not any(module._forward_hooks for module in model.modules())


def test_models_without_a_shared_space(trunk):
    assert words.shared_space(ModalVision(trunk, {"rgb": 3})) is None
    assert words.shared_space(torch.nn.Linear(2, 2)) is None
