"""Captions as a text tower wants them."""

import pytest

from reid_lab.errors import SpecError
from reid_lab.parts import backbones
from reid_lab.parts.captions import caption_input


def test_captions_have_the_length_that_is_asked_for(tiny_clip):
    trunk = backbones.clip(str(tiny_clip), image_size=(32, 16), seed=0)
    context = trunk.config.text.context
    wanted = caption_input(trunk.tokenizer, 8, context, "tiny")
    assert (wanted.max_length, wanted.pad_id) == (8, trunk.tokenizer.pad_id)
    assert wanted.tokenize(["a man in red", "a woman"]).shape == (2, 8)
    assert caption_input(trunk.tokenizer, context, context, "tiny").max_length == context
    with pytest.raises(
        SpecError, match=rf"^model\.text_length {context + 1} exceeds the context of 'tiny', {context} "
    ):
        caption_input(trunk.tokenizer, context + 1, context, "tiny")
