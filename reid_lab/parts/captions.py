"""How a text tower wants its captions delivered."""

from __future__ import annotations

from functools import partial

from reid_lab.contracts import InputSpec
from reid_lab.errors import SpecError
from reid_lab.parts.towers import Tokenizer


def caption_input(tokenizer: Tokenizer, length: int, context: int, backbone: str) -> InputSpec:
    """Captions as `length` token ids, for a trunk called `backbone` with positions for `context` of them.

    Raises `SpecError` where the trunk has fewer; the field at fault is `model.text_length`.
    """
    if length > context:
        raise SpecError(f"model.text_length {length} exceeds the context of '{backbone}', {context} tokens")
    return InputSpec(tokenize=partial(tokenizer, max_length=length), max_length=length, pad_id=tokenizer.pad_id)
