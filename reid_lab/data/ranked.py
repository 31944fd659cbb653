"""Pictures for people: a query and the images that were ranked first for it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_RIGHT, _WRONG = (30, 150, 60), (200, 40, 40)
_FRAME, _GAP, _TEXT_HEIGHT = 3, 6, 12


def ranked_list(
    caption: str, images: np.ndarray, correct: Sequence[bool], scores: Sequence[float], height: int = 144
) -> Image.Image:
    """One query caption above its ranked images: correct ones framed green, others red, scores below.

    images: (k, C, H, W) uint8 with C 1 or 3, best first; all are drawn `height` pixels high.
    """
    width = round(height * images.shape[-1] / images.shape[-2])
    step = width + 2 * _FRAME + _GAP
    total = _GAP + step * len(images)
    font = ImageFont.load_default()
    lines = textwrap.wrap(caption, max(20, total // 6)) or [""]
    top = _GAP + _TEXT_HEIGHT * len(lines) + _GAP
    sheet = Image.new("RGB", (total, top + height + 2 * _FRAME + _TEXT_HEIGHT + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((_GAP, _GAP + number * _TEXT_HEIGHT), line, fill="black", font=font)
    for rank, (pixels, right, score) in enumerate(zip(images, correct, scores, strict=True)):
        left = _GAP + rank * step
        plane = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        picture = Image.fromarray(plane).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        frame = (left, top, left + width + 2 * _FRAME, top + height + 2 * _FRAME)
        draw.rectangle(frame, fill=_RIGHT if right else _WRONG)
        sheet.paste(picture, (left + _FRAME, top + _FRAME))
        draw.text((left + _FRAME, frame[3] + 1), f"{rank + 1}: {score:.3f}", fill="black", font=font)
    return sheet
