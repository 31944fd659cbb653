"""What stands for a group in retrieval where an image and a text of it are there, and where one of them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_lab.contracts import Input


def placed(empty: Tensor, values: Tensor | None, of: Input | None) -> Tensor:
    """Each group's feature (B, D) from those of the items `of`; `empty`, zeros (B, D), where it has none."""
    return empty if values is None or of is None else empty.index_copy(0, of.rows, values)


@final
class SingleModality(nn.Module):
    """The image where there is one, else the text."""

    def forward(self, image: Tensor, text: Tensor, found: Mapping[str, Tensor]) -> Tensor:
        """Features (B, D), zeros where a group has none -> (B, D)."""
        return torch.where(image.any(dim=1, keepdim=True), image, text)


@final
class MeanDirection(nn.Module):
    """The mean direction of image and text."""

    def forward(self, image: Tensor, text: Tensor, found: Mapping[str, Tensor]) -> Tensor:
        """Features (B, D), zeros where a group has none -> (B, D)."""
        return F.normalize(text + image, dim=1)


@final
class Fused(nn.Module):
    """The fused feature of image and text where both are there, else the one that is."""

    def forward(self, image: Tensor, text: Tensor, found: Mapping[str, Tensor]) -> Tensor:
        """Features (B, D); `fused` (n, D) of the groups `pair_rows` (n,), where there are any -> (B, D)."""
        single = torch.where(image.any(dim=1, keepdim=True), image, text)
        if "fused" not in found:
            return single
        return single.index_copy(0, found["pair_rows"], F.normalize(found["fused"], dim=1))


Kind = Literal["single_modality", "as_published", "mean"]
KINDS: Mapping[Kind, Callable[[], SingleModality | MeanDirection | Fused]] = {
    "single_modality": SingleModality,
    "as_published": Fused,
    "mean": MeanDirection,
}
