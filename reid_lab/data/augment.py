"""Normalisation and augmentation of images: batched functions on the run's device.

The order is IRRA's: flip, pad and crop, normalise, erase. Every draw is hashed from the sample's key
(`reid_lab.seeding`), so that an image is augmented alike in any batch, on any rank and after a resume.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Batch, Input, InputSpec, Prepare
from reid_lab.errors import SpecError
from reid_lab.parts.tokenizers import as_images
from reid_lab.parts.towers import CLIP_MEAN
from reid_lab.seeding import mix, uniform

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
    mean = torch.tensor(spec.mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(spec.std, device=images.device).view(1, -1, 1, 1)
    return (images.to(torch.float32) / 255.0 - mean) / std


def flip_and_crop(images: Tensor, keys: Tensor, name: str, *, flip: float, pad: int) -> Tensor:
    """Horizontal flip, then zero padding by `pad` pixels on all sides and a random crop to the old size.

    images: (n, C, H, W) uint8; keys: (n,) int64; the zeros are black, as before normalisation.
    """
    height, width = images.shape[2:]
    draw = uniform(keys, f"augment/{name}", 3)
    images = torch.where((draw[:, 0] < flip)[:, None, None, None], images.flip(3), images)
    if not pad:
        return images
    offset = (draw[:, 1:] * (2 * pad + 1)).long()
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)  # a view
    return windows[torch.arange(len(images), device=images.device), :, offset[:, 0], offset[:, 1]]


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
    channels, height, width = images.shape[1:]
    mask = erasing_mask(keys, name, (height, width), augmentation)
    if augmentation.erase_value == "noise":
        # Hashing numbers for every pixel would take longer than the rest: only erased ones get any.
        row, y, x = mask.nonzero(as_tuple=True)
        pixels = images.clone()
        pixels[row, :, y, x] = gaussian(mix(keys[row] ^ (y * width + x)), f"noise/{name}", channels)
        return pixels
    colour = CLIP_MEAN if augmentation.erase_value == "clip_mean" else (0.0, 0.0, 0.0)
    value = torch.tensor(colour[:channels], device=images.device).view(1, -1, 1, 1)
    return torch.where(mask[:, None], value, images)


def _channels(role: str, spec: InputSpec) -> InputSpec:
    """The spec with as many means and deviations as channels: one channel takes the first ones."""
    for name in ("mean", "std"):
        if len(getattr(spec, name)) < spec.channels:
            raise SpecError(f"{role}: {name} has {len(getattr(spec, name))} values for {spec.channels} channels")
    return replace(spec, mean=spec.mean[: spec.channels], std=spec.std[: spec.channels])


def make_prepare(inputs: Mapping[str, InputSpec], augmentation: Augmentation | None) -> Prepare:
    """The function that turns the uint8 images of a batch into normalised, augmented ones; text passes through.

    Images may be (n, C, H, W) or (n, C, H, W, 1). Raises `SpecError` for fewer means than channels.
    """
    specs = {role: _channels(role, spec) for role, spec in inputs.items() if spec.tokenize is None}

    def normalised(role: str, item: Input, keys: Tensor) -> Input:
        return Input(normalise(as_images(item.values), specs[role]), item.rows)

    def augmented(role: str, item: Input, keys: Tensor) -> Input:
        assert augmentation is not None
        name = "shared" if augmentation.shared else role
        images, own = as_images(item.values), keys[item.rows]
        if augmentation.flip or augmentation.pad:
            images = flip_and_crop(images, own, name, flip=augmentation.flip, pad=augmentation.pad)
        images = normalise(images, specs[role])
        if augmentation.erase:
            images = erase(images, own, name, augmentation)
        return Input(images, item.rows)

    prepared = normalised if augmentation is None else augmented

    def prepare(batch: Batch) -> Batch:
        images = {role: item for role, item in batch.inputs.items() if role in specs}
        return batch.with_inputs(**{role: prepared(role, i, batch.groups["keys"]) for role, i in images.items()})

    return prepare
