"""From images to tokens: patch embedding, class token and position table."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_lab.errors import DataError, SpecError


def as_images(tensor: Tensor) -> Tensor:
    """(B, C, H, W) as it is; (B, C, H, W, 1) without its last axis; any other rank is a `DataError`."""
    if tensor.ndim == 5 and tensor.shape[-1] == 1:
        return tensor.squeeze(-1)
    if tensor.ndim != 4:
        raise DataError(f"images must be (B, C, H, W) or (B, C, H, W, 1); got shape {tuple(tensor.shape)}")
    return tensor


def patch_grid(image_size: tuple[int, int], patch: int, stride: int) -> tuple[int, int]:
    """Rows and columns of patches: (H - P) // S + 1, and W likewise.

    Raises `SpecError` when the image is smaller than a patch, or the stride is not in 1..patch.
    """
    if not 1 <= stride <= patch:
        raise SpecError(f"stride {stride} must lie between 1 and the patch size {patch}")
    if min(image_size) < patch:
        raise SpecError(f"image_size {image_size[0]}x{image_size[1]} is smaller than one patch of {patch} pixels")
    return (image_size[0] - patch) // stride + 1, (image_size[1] - patch) // stride + 1


def resize_positions(table: Tensor, source: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """A position table (1 + h·w, D) for another grid (1 + H·W, D).

    The class token's row is kept; the grid is resized bilinearly, without antialiasing and without
    aligned corners, as IRRA, CLIP-ReID and TransReID do.
    """
    if source == target:
        return table
    grid = table[1:].T.reshape(1, -1, *source)
    grid = F.interpolate(grid, size=target, mode="bilinear", align_corners=False, antialias=False)
    return torch.cat([table[:1], grid.flatten(2)[0].T])


def square_positions(table: Tensor, grid: tuple[int, int]) -> tuple[Tensor, int]:
    """The position table of a square grid, from which `resize_positions` gives `table` back exactly.

    Rows and columns are repeated up to their least common multiple `side`; resizing then reads either
    one of the copies or the mean of two equal ones. Returns ((1 + side², D), side).
    """
    side = math.lcm(*grid)
    cells = table[1:].view(*grid, -1)
    cells = cells.repeat_interleave(side // grid[0], dim=0).repeat_interleave(side // grid[1], dim=1)
    return torch.cat([table[:1], cells.flatten(0, 1)]), side


@final
class PatchEmbedding(nn.Module):
    """Patches, projected, behind a class token, plus a learned position each (Dosovitskiy et al., 2021).

    A stride below the patch size makes overlapping patches (TransReID, He et al., 2021, section 3.1).
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        patch: int,
        width: int,
        *,
        stride: int | None = None,
        channels: int = 3,
        bias: bool = True,
    ) -> None:
        super().__init__()
        stride = stride or patch
        self.image_size = image_size
        self.grid = patch_grid(image_size, patch, stride)
        self.conv = nn.Conv2d(channels, width, patch, stride=stride, bias=bias)
        self.class_token = nn.Parameter(torch.empty(width))
        self.positions = nn.Parameter(torch.empty(1 + self.grid[0] * self.grid[1], width))

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised `pixels` (n, C, H, W) or (n, C, H, W, 1) -> (n, 1 + H'·W', D), the class token first."""
        pixels = as_images(pixels)
        if tuple(pixels.shape[1:]) != (self.conv.in_channels, *self.image_size):
            wanted = (self.conv.in_channels, *self.image_size)
            raise DataError(
                f"images of shape (n, {', '.join(map(str, wanted))}) are expected; got {tuple(pixels.shape)}"
            )
        patches = self.conv(pixels).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(pixels), 1, -1)
        return torch.cat([first, patches], dim=1) + self.positions
