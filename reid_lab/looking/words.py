"""Which patches are like which words: tokens of both towers in the space that they are projected into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_lab.contracts import InputSpec
from reid_lab.parts.modalities import ModalText, ModalVision
from reid_lab.parts.towers import ClipText, ClipTrunk
from reid_lab.parts.trunk import Blocks

Project = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class SharedSpace:
    """The two towers of a model whose tokens are projected into one space, and how they are."""

    image: Blocks
    text: ClipText
    project_image: Project
    project_text: Project


@final
@dataclass
class Tokens:
    """What left the last blocks: of images (n, T, D), of texts (n, L, W)."""

    image: list[Tensor] = field(default_factory=list)
    text: list[Tensor] = field(default_factory=list)


def shared_space(model: nn.Module) -> SharedSpace | None:
    """The space of words and patches; None where the model has none (images alone, or trunks apart)."""
    modules = list(model.modules())
    for module in modules:
        if isinstance(module, ClipTrunk):
            return SharedSpace(module.vision.blocks, module.text, module.project_image, module.project_text)
    vision = next((module for module in modules if isinstance(module, ModalVision)), None)
    text = next((module for module in modules if isinstance(module, ModalText)), None)
    if vision is None or text is None:
        return None
    return SharedSpace(vision.blocks, text.tower, vision.project, text.project)


@contextmanager
def recorded(space: SharedSpace) -> Iterator[Tokens]:
    """Inside, every pass through a tower adds the tokens that leave it."""
    kept = Tokens()

    def of(where: list[Tensor]) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, given, tokens: where.append(tokens)

    handles = [
        space.image.register_forward_hook(of(kept.image)),
        space.text.register_forward_hook(of(kept.text)),
    ]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def likeness(space: SharedSpace, image: Tensor, text: Tensor, patches: int) -> Tensor:
    """Cosines (n, L, patches) of every text token with every patch; image (n, T, D), text (n, L, W) as recorded."""
    seen = F.normalize(space.project_image(image[:, 1 : 1 + patches]).float(), dim=-1)
    told = F.normalize(space.project_text(text).float(), dim=-1)
    return told @ seen.transpose(1, 2)


def spans(caption: str, wanted: InputSpec) -> list[tuple[str, int, int]]:
    """The words of a caption with their tokens [first, last) in its ids; words that were cut off are left out.

    Words are split at spaces. Their pieces, one word after the other, are the pieces of the caption: where a
    tokenizer makes other ones of the whole (it should not), there is no telling which is whose, and none is returned.
    """
    assert wanted.tokenize is not None
    words = caption.split()
    if not words:
        return []
    whole = _pieces(wanted.tokenize([caption])[0], wanted)
    found, at = [], 1
    for word, ids in zip(words, wanted.tokenize(words), strict=True):
        own = _pieces(ids, wanted)
        if at + len(own) - 1 > len(whole):
            break
        if not torch.equal(whole[at - 1 : at - 1 + len(own)], own):
            return []
        found.append((word, at, at + len(own)))
        at += len(own)
    return found


def _pieces(ids: Tensor, wanted: InputSpec) -> Tensor:
    """The ids (L,) between the start and the end token."""
    return ids[ids != wanted.pad_id][1:-1]
