"""From the channels that images have to those that a patch embedding reads."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor, nn

Kind = Literal["as_published", "replicate", "luma"]

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601: the shares of red, green and blue in grey."""


@final
class Channels(nn.Module):
    """1 -> 3 or 3 -> 1; the same number is left alone.

    as_published (CLIP+MER): a learned 1x1 convolution, which begins as three copies, and the mean.
    replicate: three copies, and the first channel, that of images that were grey before. luma: three
    copies, and the brightness that the eye sees.
    """

    def __init__(self, inside: int, outside: int, kind: Kind) -> None:
        super().__init__()
        self.adapt: nn.Module = nn.Identity()
        if inside == outside:
            return
        if {inside, outside} != {1, 3}:
            raise ValueError(f"images have 1 channel or 3; {inside} -> {outside} is neither way")
        learned = kind == "as_published" and inside == 1
        weight = torch.ones(3, 1, 1, 1)
        if inside == 3:
            shares = {"as_published": (1 / 3,) * 3, "replicate": (1.0, 0.0, 0.0), "luma": LUMA}[kind]
            weight = torch.tensor(shares).view(1, 3, 1, 1)
        if learned:
            conv = nn.Conv2d(1, 3, 1)
            conv.weight = nn.Parameter(weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            self.adapt = conv
        else:
            self.adapt = _Fixed(weight)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, inside, H, W) -> (n, outside, H, W)."""
        return self.adapt(pixels)  # type: ignore[no-any-return]


@final
class _Fixed(nn.Module):
    """A fixed mixture of channels; no part of a checkpoint."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, C, H, W) -> (n, C', H, W)."""
        return torch.einsum("oi,nihw->nohw", self.weight[:, :, 0, 0].to(pixels.dtype), pixels)
