"""Normalisation and augmentation of images: batched functions on the run's device.

The order is IRRA's: flip, pad and crop, normalise, erase. Every draw is hashed from the sample's key
(`reid_lab.seeding`), so that an image is augmented alike in any batch, on any rank and after a resume.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from reid_lab.contracts import IMAGE_ROLES, Batch, Input, InputSpec, Prepare
from reid_lab.seeding import uniform

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_ATTEMPTS = 10  # rectangles that are tried before an image stays whole


@dataclass(frozen=True)
class Augmentation:
    """The plain values: probabilities, pixels of padding, and what is erased.

    erase_area: share of the image, low and high. erase_aspect: the smallest height / width; the
    largest is its inverse. erase_value: `clip_mean` writes CLIP's mean colour into normalised pixels,
    as IRRA does; `zero` is the mean colour; `noise` a standard normal number per pixel and channel.
    shared: all images of one group get the same draw.
    """

    flip: float
    pad: int
    erase: float
    erase_area: tuple[float, float]
    erase_aspect: float
    erase_value: Literal["clip_mean", "zero", "noise"]
    shared: bool


def normalise(images: Tensor, spec: InputSpec) -> Tensor:
    """(n, C, H, W) uint8 -> float32 with the spec's mean and standard deviation, given for pixels in [0, 1]."""
    mean = torch.tensor(spec.mean[: images.shape[1]], device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(spec.std[: images.shape[1]], device=images.device).view(1, -1, 1, 1)
    return (images.to(torch.float32) / 255.0 - mean) / std


def flip_and_crop(images: Tensor, keys: Tensor, name: str, *, flip: float, pad: int) -> Tensor:
    """Horizontal flip, then zero padding by `pad` pixels on all sides and a random crop to the old size.

    images: (n, C, H, W) uint8; keys: (n,) int64; the zeros are black, as before normalisation.
    """
    n, channels, height, width = images.shape
    draw = uniform(keys, f"augment/{name}", 3)
    top = (draw[:, 1] * (2 * pad + 1)).long() - pad
    left = (draw[:, 2] * (2 * pad + 1)).long() - pad
    rows = torch.arange(height, device=images.device)[None] + top[:, None]
    columns = torch.arange(width, device=images.device)[None] + left[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    columns = torch.where((draw[:, 0] < flip)[:, None], width - 1 - columns, columns)
    index = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    flat = images.reshape(n, channels, height * width)
    moved = flat.gather(2, index.view(n, 1, -1).expand(-1, channels, -1)).view(n, channels, height, width)
    return torch.where(inside[:, None], moved, 0)


def erasing_mask(keys: Tensor, name: str, size: tuple[int, int], augmentation: Augmentation) -> Tensor:
    """(n, H, W) bool, True where an image is erased (Zhong et al., AAAI 2020, algorithm 1).

    The first of ten random rectangles that fits is taken; where none does, nothing is erased. The
    aspect is drawn log-uniformly, as torchvision's RandomErasing does.
    """
    height, width = size
    draw = uniform(keys, f"erase/{name}", 1 + 4 * _ATTEMPTS)
    chosen = draw[:, 0] < augmentation.erase
    tries = draw[:, 1:].view(-1, _ATTEMPTS, 4)
    low, high = augmentation.erase_area
    area = (low + (high - low) * tries[..., 0]) * height * width
    aspect = torch.exp((1.0 - 2.0 * tries[..., 1]) * math.log(augmentation.erase_aspect))
    tall = torch.round(torch.sqrt(area * aspect)).long()
    wide = torch.round(torch.sqrt(area / aspect)).long()
    fits = (tall < height) & (wide < width)
    first = fits.to(torch.int64).argmax(dim=1, keepdim=True)
    tall, wide = tall.gather(1, first), wide.gather(1, first)
    top = (tries[..., 2].gather(1, first) * (height - tall + 1)).long()
    left = (tries[..., 3].gather(1, first) * (width - wide + 1)).long()
    rows = torch.arange(height, device=keys.device)[None]
    columns = torch.arange(width, device=keys.device)[None]
    in_rows = (rows >= top) & (rows < top + tall)
    in_columns = (columns >= left) & (columns < left + wide)
    applies = chosen & fits.any(dim=1)
    return in_rows[:, :, None] & in_columns[:, None, :] & applies[:, None, None]


def gaussian(keys: Tensor, name: str, count: int) -> Tensor:
    """Standard normal numbers (n, count) from each key (Box and Muller, 1958)."""
    draw = uniform(keys, name, 2 * count)
    radius = torch.sqrt(-2.0 * torch.log(1.0 - draw[:, :count]))
    return radius * torch.cos(2.0 * math.pi * draw[:, count:])


def erase(images: Tensor, keys: Tensor, name: str, augmentation: Augmentation) -> Tensor:
    """Random erasing of normalised images (n, C, H, W)."""
    n, channels, height, width = images.shape
    mask = erasing_mask(keys, name, (height, width), augmentation)[:, None]
    if augmentation.erase_value == "noise":
        value = gaussian(keys, f"noise/{name}", channels * height * width).view(images.shape)
    else:
        colour = CLIP_MEAN if augmentation.erase_value == "clip_mean" else (0.0, 0.0, 0.0)
        value = torch.tensor(colour[:channels], device=images.device).view(1, -1, 1, 1).expand(n, -1, height, width)
    return torch.where(mask, value, images)


def make_prepare(inputs: Mapping[str, InputSpec], augmentation: Augmentation | None) -> Prepare:
    """The function that turns the uint8 images of a batch into normalised, augmented ones; text passes through."""

    def prepared(role: str, item: Input, keys: Tensor) -> Input:
        images = item.values
        if augmentation is None:
            return Input(normalise(images, inputs[role]), item.rows)
        name = "shared" if augmentation.shared else role
        own = keys[item.rows]
        if augmentation.flip or augmentation.pad:
            images = flip_and_crop(images, own, name, flip=augmentation.flip, pad=augmentation.pad)
        images = normalise(images, inputs[role])
        if augmentation.erase:
            images = erase(images, own, name, augmentation)
        return Input(images, item.rows)

    def prepare(batch: Batch) -> Batch:
        images = {role: item for role, item in batch.inputs.items() if role in IMAGE_ROLES}
        return batch.with_inputs(**{role: prepared(role, i, batch.groups["keys"]) for role, i in images.items()})

    return prepare
