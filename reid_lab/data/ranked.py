"""Pictures for people: a query and the images that were ranked first for it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

RIGHT, WRONG, UNKNOWN = (0, 158, 115), (213, 94, 0), (150, 150, 150)  # Okabe and Ito's: told apart by all eyes
_FRAME, _GAP, _TEXT_HEIGHT = 3, 6, 12


@dataclass(frozen=True)
class Hit:
    """One ranked image: its name, its score, and whether it shows the person looked for; None: not known."""

    image: Image.Image
    name: str
    score: float
    correct: bool | None


@dataclass(frozen=True)
class Ranked:
    """What a page shows: the words and images (role, pixels) of a query, its hits, best first, and facts in words."""

    words: str
    images: Sequence[tuple[str, Image.Image]]
    hits: Sequence[Hit]
    facts: Sequence[str] = ()


def picture(pixels: np.ndarray) -> Image.Image:
    """The image of (C, H, W) uint8 with C 1 or 3."""
    plane = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    return Image.fromarray(plane).convert("RGB")


def frame_of(correct: bool | None) -> tuple[int, int, int]:
    """The colour of a hit's frame: green, orange red, or grey where it is not known."""
    return UNKNOWN if correct is None else RIGHT if correct else WRONG


def ranked_list(
    words: str,
    asked: Sequence[tuple[str, np.ndarray]],
    images: np.ndarray,
    correct: Sequence[bool],
    scores: Sequence[float],
    facts: Sequence[str] = (),
    height: int = 144,
) -> Image.Image:
    """One query beside its ranked images in one row: correct ones framed green, others orange red, scores below.

    words: the query's captions. asked: its images, each (C, H, W) uint8 with its role. images: (k, C, H, W) uint8,
    best first. C is 1 or 3; all are drawn `height` pixels high.
    """
    rows = zip(images, correct, scores, strict=True)
    hits = [Hit(picture(pixels), "", float(score), bool(right)) for pixels, right, score in rows]
    page = Ranked(words, [(role, picture(pixels)) for role, pixels in asked], hits, facts)
    return sheet(page, height, columns=max(1, len(hits)))


def sheet(page: Ranked, height: int = 144, columns: int = 10) -> Image.Image:
    """The page as one picture: words above, query images on the left, the hits beside them, `columns` in a row.

    The query images take as many columns as the rows of hits leave necessary. Every image is drawn `height` pixels
    high and as wide as the widest of them needs, none distorted.
    """
    font = ImageFont.load_default()
    scaled = [_scaled(hit.image, height) for hit in page.hits]
    asked = [(role, _scaled(image, height)) for role, image in page.images]
    width = max((image.width for image in [*scaled, *(image for _, image in asked)]), default=height // 2)
    step, row = width + 2 * _FRAME + _GAP, height + 2 * _FRAME + _TEXT_HEIGHT + _GAP
    across = max(1, min(columns, len(scaled)))
    down = max(1, -(-len(scaled) // across))
    beside = -(-len(asked) // down)
    first = _GAP + beside * step + (2 * _GAP if asked else 0)
    total = first + across * step
    wrapped = max(20, total // 6)
    lines = [line for text in (page.words, *page.facts) for line in textwrap.wrap(text, wrapped)]
    lines = lines or ([] if asked else [""])
    top = _GAP + (_TEXT_HEIGHT * len(lines) + _GAP if lines else 0)
    canvas = Image.new("RGB", (total, top + row * down), "white")
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((_GAP, _GAP + number * _TEXT_HEIGHT), line, fill="black", font=font)

    def place(left: int, upper: int, image: Image.Image, colour: str | tuple[int, int, int], text: str) -> None:
        draw.rectangle((left, upper, left + width + 2 * _FRAME - 1, upper + height + 2 * _FRAME - 1), fill=colour)
        inner = (left + _FRAME, upper + _FRAME, left + width + _FRAME - 1, upper + height + _FRAME - 1)
        draw.rectangle(inner, fill="white")
        canvas.paste(image, (inner[0] + (width - image.width) // 2, inner[1]))
        draw.text((left + _FRAME, upper + height + 2 * _FRAME + 1), text, fill="black", font=font)

    for number, (role, image) in enumerate(asked):
        place(_GAP + number % beside * step, top + number // beside * row, image, "white", f"query, {role}")
    if asked:
        bar = first - _GAP - _GAP // 2
        draw.line((bar, top, bar, canvas.height - _GAP), fill=UNKNOWN)
    for number, (hit, image) in enumerate(zip(page.hits, scaled, strict=True)):
        at = first + number % across * step, top + number // across * row
        place(*at, image, frame_of(hit.correct), f"{number + 1}: {hit.score:.3f}")
    return canvas


def _scaled(image: Image.Image, height: int) -> Image.Image:
    width = max(1, round(height * image.width / image.height))
    return image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
