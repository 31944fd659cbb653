"""Normalisation and augmentation of images: batched functions on the run's device.

The order is IRRA's, with fast-reid's place for the colours: flip, pad and crop, colour jitter, normalise,
erase. Every draw is hashed from the sample's key (`reid_lab.seeding`), so that an image is augmented alike
in any batch, on any rank and after a resume. On a CPU a few images at a time stay in the processor's
cache, which is several times faster; a GPU takes the batch at once. Both give the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from reid_lab.contracts import Batch, Input, InputSpec, Prepare
from reid_lab.errors import SpecError
from reid_lab.parts.tokenizers import as_images
from reid_lab.parts.towers import CLIP_MEAN
from reid_lab.seeding import mix, uniform

_ATTEMPTS = 10  # rectangles that are tried before an image stays whole
_AT_HAND = 1 << 17  # numbers that stay in a processor's cache from one step to the next
_COLOUR = ("rgb", "cpencil")  # the roles whose colours mean something

Colour = tuple[float, float, float]
EraseValue = Literal["clip_mean", "zero", "noise", "mean"] | Colour


@dataclass(frozen=True)
class Augmentation:
    """The plain values: probabilities, pixels of padding, what is erased, how far colours go astray.

    erase_area: share of the image, low and high. erase_aspect: the smallest height / width; the
    largest is its inverse. erase_value: `clip_mean` writes CLIP's mean colour into normalised pixels,
    as IRRA does; `zero` is the mean colour of the data that `InputSpec.mean` tells of; `mean` the mean
    colour of the image as it is before it is erased; `noise` a standard normal number per pixel and
    channel; three numbers are a colour, for pixels in [0, 1], and are normalised with them.
    jitter: the probability that an rgb or cpencil image gets other colours; brightness, contrast and
    saturation: the factors are uniform in [1 - x, 1 + x].
    shared: all images of one group get the same draw.
    """

    flip: float
    pad: int
    erase: float
    erase_area: tuple[float, float]
    erase_aspect: float
    erase_value: EraseValue
    shared: bool
    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0


def _statistics(spec: InputSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, each (C, 1, 1) float32."""
    return torch.tensor(spec.mean, device=device).view(-1, 1, 1), torch.tensor(spec.std, device=device).view(-1, 1, 1)


def _few(images: Tensor) -> int:
    """How many images are taken at a time."""
    return max(1, _AT_HAND // max(1, images[:1].numel())) if images.device.type == "cpu" else max(1, len(images))


def normalise(images: Tensor, spec: InputSpec) -> Tensor:
    """(n, C, H, W) uint8 -> float32 with the spec's mean and standard deviation, given for pixels in [0, 1]."""
    mean, std = _statistics(spec, images.device)
    if images.device.type != "cpu":
        return (images.to(torch.float32) / 255.0 - mean) / std
    pixels = torch.empty(images.shape, dtype=torch.float32)
    few = _few(images)
    for target, source in zip(torch.split(pixels, few), torch.split(images, few), strict=True):
        target.copy_(source).div_(255.0).sub_(mean).div_(std)
    return pixels


def flip_and_crop(images: Tensor, keys: Tensor, name: str, *, flip: float, pad: int) -> Tensor:
    """Horizontal flip, then zero padding by `pad` pixels on all sides and a random crop to the old size.

    images: (n, C, H, W) uint8; keys: (n,) int64; the zeros are black, as before normalisation.
    """
    draw = uniform(keys, f"augment/{name}", 3)
    flips, offset = draw[:, 0] < flip, (draw[:, 1:] * (2 * pad + 1)).long() - pad
    return (_moved_singly if images.device.type == "cpu" else moved)(images, flips, offset)


def moved(images: Tensor, flips: Tensor, offset: Tensor) -> Tensor:
    """The whole batch at once: flipped where `flips` (n,) says so, then seen from `offset` (n, 2), down and right."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) + offset[:, :1]
    columns = torch.arange(width, device=images.device) + offset[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    columns = torch.where(flips[:, None], width - 1 - columns, columns)
    number, channel = (torch.arange(length, device=images.device) for length in images.shape[:2])
    seen = images[number[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None]]
    return torch.where(inside[:, None], seen, torch.zeros((), dtype=images.dtype, device=images.device))


def _moved_singly(images: Tensor, flips: Tensor, offset: Tensor) -> Tensor:
    """As `moved`, image by image."""
    height, width = images.shape[2:]
    pixels = torch.zeros_like(images, memory_format=torch.contiguous_format)
    for target, image, turned, (down, right) in zip(pixels, images, flips.tolist(), offset.tolist(), strict=True):
        top, bottom = max(-down, 0), height - max(down, 0)
        left, end = max(-right, 0), width - max(right, 0)
        if top < bottom and left < end:
            seen = image.flip(2) if turned else image
            target[:, top:bottom, left:end] = seen[:, top + down : bottom + down, left + right : end + right]
    return pixels


def _blend(other: Tensor, pixels: Tensor, factor: Tensor) -> Tensor:
    """`other` + factor·(pixels - other), in place, in whole grey levels, cut off to 0..255 as Pillow does."""
    return pixels.sub_(other).mul_(factor).add_(other).clamp_(0.0, 255.0).floor_()


def _grey(pixels: Tensor) -> Tensor:
    """Luma (n, 1, H, W) in whole grey levels, ITU-R 601 with 16 bits after the point."""
    red, green, blue = pixels.to(torch.int32).unbind(1)
    return (red * 19595).add_(green, alpha=38470).add_(blue, alpha=7471).add_(0x8000)[:, None] >> 16


def jitter(images: Tensor, keys: Tensor, name: str, augmentation: Augmentation) -> Tensor:
    """Brightness, contrast and saturation of colour images (n, 3, H, W) uint8, in this order.

    Each step is that of Pillow's `ImageEnhance` (and so of torchvision's ColorJitter on Pillow images,
    whose order is random): a blend with black, with the mean grey, with the grey image. fast-reid applies
    it to half of the images with .15, .15 and .1.
    """
    draw = uniform(keys, f"jitter/{name}", 4)
    chosen = (draw[:, 0] < augmentation.jitter).nonzero()[:, 0]
    if not len(chosen):
        return images
    amounts = (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    spread = torch.tensor(amounts, device=images.device)
    factors = 1.0 + spread * (2.0 * draw[chosen, 1:] - 1.0)
    few = _few(images)
    parts = zip(torch.split(images[chosen], few), torch.split(factors, few), strict=True)
    return images.index_copy(0, chosen, torch.cat([_recoloured(part, of, amounts) for part, of in parts]))


def _recoloured(images: Tensor, factors: Tensor, amounts: tuple[float, float, float]) -> Tensor:
    """Images (n, 3, H, W) uint8 with brightness, contrast and saturation changed by `factors` (n, 3), if at all."""
    pixels, (brightness, contrast, saturation) = images.to(torch.float32), factors.T[:, :, None, None, None]
    if amounts[0]:
        pixels = _blend(torch.zeros((), device=images.device), pixels, brightness)
    if amounts[1]:
        grey = _grey(pixels).sum(dim=(1, 2, 3))  # of integers: exact in any order
        middle = torch.floor(grey.to(torch.float64) / pixels[0, 0].numel() + 0.5).to(torch.float32)
        pixels = _blend(middle[:, None, None, None], pixels, contrast)
    if amounts[2]:
        pixels = _blend(_grey(pixels).to(torch.float32), pixels, saturation)
    return pixels.to(torch.uint8)


def erasing_boxes(keys: Tensor, name: str, size: tuple[int, int], augmentation: Augmentation) -> Tensor:
    """What is erased of each image (Zhong et al., AAAI 2020, algorithm 1): (n, 4) int64 top, left, height, width.

    The first of ten random rectangles that fits is taken; where none does, or the image is not chosen,
    height and width are 0. The aspect is drawn log-uniformly, as torchvision's RandomErasing does.
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
    applies = (chosen & fits.any(dim=1))[:, None]
    return torch.cat([top, left, tall, wide], dim=1) * applies


def erasing_mask(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, H, W) bool, True where an image is erased."""
    top, left, tall, wide = boxes[:, :, None].unbind(1)
    rows, columns = (torch.arange(length, device=boxes.device)[None] for length in size)
    return ((rows >= top) & (rows < top + tall))[:, :, None] & ((columns >= left) & (columns < left + wide))[:, None, :]


def gaussian(keys: Tensor, name: str, count: int) -> Tensor:
    """Standard normal numbers (n, count) from each key (Box and Muller, 1958)."""
    draw = uniform(keys, name, 2 * count)
    radius = torch.sqrt(-2.0 * torch.log(1.0 - draw[:, :count]))
    return radius * torch.cos(2.0 * math.pi * draw[:, count:])


def fill(images: Tensor, boxes: Tensor, values: Tensor) -> Tensor:
    """Images (n, C, H, W) with one colour per image, `values` (n, C), in its box; on a CPU they are written into."""
    if images.device.type != "cpu":
        mask = erasing_mask(boxes, (images.shape[2], images.shape[3]))
        return torch.where(mask[:, None], values[:, :, None, None], images)
    for image, (top, left, tall, wide), value in zip(images, boxes.tolist(), values[:, :, None, None], strict=True):
        if tall:
            image[:, top : top + tall, left : left + wide] = value
    return images


def erase(images: Tensor, keys: Tensor, name: str, augmentation: Augmentation, colours: Tensor | None = None) -> Tensor:
    """Random erasing of normalised images (n, C, H, W), which may be written into.

    colours: (n, C) from `own_colours`, or None.
    """
    channels, height, width = images.shape[1:]
    boxes = erasing_boxes(keys, name, (height, width), augmentation)
    if augmentation.erase_value == "noise":
        return _with_noise(images, boxes, keys, f"noise/{name}")
    if colours is None:
        colour = CLIP_MEAN if augmentation.erase_value == "clip_mean" else (0.0, 0.0, 0.0)
        colours = torch.tensor(colour[:channels], device=images.device).expand(len(images), -1)
    return fill(images, boxes, colours)


def _with_noise(images: Tensor, boxes: Tensor, keys: Tensor, name: str) -> Tensor:
    """Images (n, C, H, W) with normal numbers in their boxes; only these pixels are hashed any, which takes longest."""
    channels, height, width = images.shape[1:]
    if images.device.type != "cpu":
        row, y, x = erasing_mask(boxes, (height, width)).nonzero(as_tuple=True)
        images[row, :, y, x] = gaussian(mix(keys[row] ^ (y * width + x)), name, channels)
        return images
    for image, key, (top, left, tall, wide) in zip(images, keys, boxes.tolist(), strict=True):
        if tall:
            places = torch.arange(top, top + tall)[:, None] * width + torch.arange(left, left + wide)
            noise = gaussian(mix(key ^ places.reshape(-1)), name, channels)
            image[:, top : top + tall, left : left + wide] = noise.T.reshape(channels, tall, wide)
    return images


def own_colours(images: Tensor, spec: InputSpec, value: EraseValue) -> Tensor | None:
    """What `erase` writes into images (n, C, H, W) uint8 where that is no fixed value: (n, C), normalised."""
    mean, std = (statistic[:, 0, 0] for statistic in _statistics(spec, images.device))
    if value == "mean":
        total = images.sum(dim=(2, 3), dtype=torch.int64)  # of integers: exact in any order
        return (total.to(torch.float32) / float(255 * images.shape[2] * images.shape[3]) - mean) / std
    if isinstance(value, tuple):
        colour = torch.tensor(value[: images.shape[1]], device=images.device)
        return ((colour - mean) / std).expand(len(images), -1)
    return None


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
        if augmentation.jitter and role in _COLOUR and images.shape[1] == 3:
            images = jitter(images, own, name, augmentation)
        pixels = normalise(images, specs[role])
        if augmentation.erase:
            colours = own_colours(images, specs[role], augmentation.erase_value)
            pixels = erase(pixels, own, name, augmentation, colours)
        return Input(pixels, item.rows)

    prepared = normalised if augmentation is None else augmented

    def prepare(batch: Batch) -> Batch:
        images = {role: item for role, item in batch.inputs.items() if role in specs}
        return batch.with_inputs(**{role: prepared(role, i, batch.groups["keys"]) for role, i in images.items()})

    return prepare
