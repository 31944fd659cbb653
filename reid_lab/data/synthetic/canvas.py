"""The canvas: a map of part labels at twice the final size, on which polygons and ellipses are filled."""

from __future__ import annotations

import math
from enum import IntEnum, auto

import numpy as np
from PIL import Image, ImageDraw

SCALE = 2  # supersampling
Point = tuple[float, float]


class Part(IntEnum):
    """What a pixel of the label map shows."""

    WALL = 0
    FLOOR = auto()
    PROP_A = auto()
    PROP_B = auto()
    PROP_C = auto()
    SHADOW = auto()
    OCCLUDER = auto()
    OCCLUDER_DARK = auto()
    SKIN = auto()
    SKIN_FAR = auto()
    FACE = auto()
    MOUTH = auto()
    HAIR = auto()
    BEARD = auto()
    GLASSES = auto()
    UPPER = auto()
    UPPER_NEAR = auto()
    UPPER_FAR = auto()
    TRIM = auto()
    SECOND = auto()
    LOGO = auto()
    INNER = auto()
    LOWER = auto()
    LOWER_FAR = auto()
    SHOE = auto()
    SOLE = auto()
    BAG = auto()
    BAG_DARK = auto()
    HAT = auto()
    HAT_DARK = auto()
    EXTRA = auto()
    EXTRA_DARK = auto()


PARTS = len(Part)
FIRST_PERSON_PART = Part.SKIN


class Canvas:
    """A label map that is drawn on in pixels of the supersampled image."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height * SCALE, width * SCALE
        self.image = Image.new("L", (self.width, self.height), int(Part.WALL))
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: list[Point], part: Part) -> None:
        """Fills a polygon."""
        self._draw.polygon(points, fill=int(part))

    def ellipse(self, centre: Point, rx: float, ry: float, part: Part) -> None:
        """Fills an ellipse; nothing when it has no extent."""
        x, y = centre
        if rx > 0 and ry > 0:
            self._draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=int(part))

    def box(self, x0: float, y0: float, x1: float, y1: float, part: Part) -> None:
        """Fills a rectangle given by two corners."""
        if x1 > x0 and y1 > y0:
            self._draw.rectangle((x0, y0, x1, y1), fill=int(part))

    def limb(self, start: Point, end: Point, width0: float, width1: float, part: Part) -> None:
        """Fills a tapered limb with round ends; the widths are radii."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length, dx / length
        self._draw.polygon(
            [
                (start[0] + nx * width0, start[1] + ny * width0),
                (end[0] + nx * width1, end[1] + ny * width1),
                (end[0] - nx * width1, end[1] - ny * width1),
                (start[0] - nx * width0, start[1] - ny * width0),
            ],
            fill=int(part),
        )
        self.ellipse(start, width0, width0, part)
        self.ellipse(end, width1, width1, part)

    def labels(self) -> np.ndarray:
        """The label map, (height, width) uint8 at supersampled size."""
        return np.asarray(self.image)
