"""What an image's clothes feature is taught by: numbers of outfits, or clothes captions; each with its loss.

Shapes: n images, of which m have a clothes caption of L tokens; W channels of the feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from reid_lab.contracts import Facts, Sum
from reid_lab.errors import SpecError
from reid_lab.parts.losses import clothes
from reid_lab.parts.losses.classify import classify
from reid_lab.seeding import stream

Labels = Literal["ids", "words", "overlap"]
LOSSES: Mapping[Labels, tuple[Callable[..., Sum], tuple[str, ...]]] = {
    "ids": (classify, ("cloth_logits", "outfits")),
    "words": (clothes.words, ("word_logits", "bags")),
    "overlap": (clothes.overlap, ("told_embeds", "bags", "scale")),
}
"""The loss of each kind of labels, and the values that it reads."""


@final
class Outfits(nn.Module):
    """Clothes by their number: one class for each outfit of train."""

    def __init__(self, width: int, outfits: int, seed: int) -> None:
        super().__init__()
        with stream(seed, "cloth_labels"):
            self.linear = nn.Linear(width, outfits)

    def forward(self, cloth_embeds: Tensor, outfits: Tensor, told: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """Features (n, W) and their outfits (n,), -1 unknown -> `cloth_logits` (n, outfits), `outfits`."""
        return {"cloth_logits": self.linear(cloth_embeds), "outfits": outfits}


@final
class Words(nn.Module):
    """Clothes by the words of their caption: one class for each token of the vocabulary."""

    def __init__(self, width: int, vocabulary: int, known: range, seed: int) -> None:
        super().__init__()
        self.vocabulary, self.known = vocabulary, known
        with stream(seed, "cloth_labels"):
            self.linear = nn.Linear(width, vocabulary)

    def forward(self, cloth_embeds: Tensor, outfits: Tensor, told: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """The images `told` (m,) of by clothes captions `ids` (m, L) -> `word_logits`, `bags` (m, vocabulary)."""
        bags = clothes.word_bags(ids, self.known, self.vocabulary)
        return {"word_logits": self.linear(cloth_embeds[told]), "bags": bags}


@final
class Overlap(nn.Module):
    """Clothes by how far their captions share words."""

    def __init__(self, vocabulary: int, known: range) -> None:
        super().__init__()
        self.vocabulary, self.known = vocabulary, known

    def forward(self, cloth_embeds: Tensor, outfits: Tensor, told: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """The images `told` (m,) of by captions `ids` (m, L) -> `told_embeds` (m, W), `bags` (m, vocabulary)."""
        return {"told_embeds": cloth_embeds[told], "bags": clothes.word_bags(ids, self.known, self.vocabulary)}


@final
class Unlabelled(nn.Module):
    """The empty slot of the clothes loss."""

    def forward(self, cloth_embeds: Tensor, outfits: Tensor, told: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}


def no_rows(like: Tensor, *shape: int) -> Tensor:
    """An int64 tensor without entries, (0, …)."""
    return torch.zeros(0, *shape, dtype=torch.int64, device=like.device)


def labels_of(wanted: Labels | Literal["auto"], facts: Facts, path: str) -> Labels:
    """The labels that the data offers; `auto` takes the outfits' numbers, else the words of their captions.

    Raises `SpecError` where the data has nothing for it; `path`: of the section that asks, `null` in its place does
    without.
    """
    outfits, told = facts.labels.get("clothes", 0) > 0, "cloth_caption" in facts.roles
    choice = wanted if wanted != "auto" else "ids" if outfits else "words"
    if not (outfits if choice == "ids" else told):
        there = [name for name, has in (("ids", outfits), ("words", told), ("overlap", told)) if has]
        options = "ids needs clothes numbers; words and overlap need clothes captions (cloth_caption)"
        instead = f"labels: {', '.join(there)}, or " if there else ""
        raise SpecError(
            f"{path}.labels '{wanted}': the data offers no such labels; {options}. Allowed here: {instead}{path}: null"
        )
    return choice


def labeller(
    labels: Labels | None, facts: Facts, width: int, text: Any, seed: int
) -> Outfits | Words | Overlap | Unlabelled:
    """What makes the values that the loss reads, of features (n, width); `text`: the trunk of the captions."""
    vocabulary, known = text.config.vocabulary, text.tokenizer.words
    if labels == "ids":
        return Outfits(width, facts.labels["clothes"], seed)
    if labels == "words":
        return Words(width, vocabulary, known, seed)
    return Overlap(vocabulary, known) if labels == "overlap" else Unlabelled()
