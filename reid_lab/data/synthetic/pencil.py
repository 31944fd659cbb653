"""Drawings: pencil sketches and coloured ones, made of outlines and strokes by an unsure hand."""

from __future__ import annotations

import numpy as np
from PIL import Image

from reid_lab.data.synthetic.canvas import FIRST_PERSON_PART, PARTS, SCALE
from reid_lab.data.synthetic.palette import Subject, colours
from reid_lab.data.synthetic.world import World

_PAPER = 246.0


def _wobble(labels: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Moves rows and columns by smooth small amounts, as an unsure hand does."""
    moved = labels
    for axis in (0, 1):
        n = moved.shape[1 - axis]
        knots = noise.normal(0, 0.011 * labels.shape[0], 9)
        shift = np.rint(np.interp(np.linspace(0, 8, n), np.arange(9), knots)).astype(np.int64)
        across = np.arange(moved.shape[axis])
        if axis == 0:
            rows = np.clip(across[:, None] + shift[None, :], 0, moved.shape[0] - 1)
            moved = np.take_along_axis(moved, rows, 0)
        else:
            columns = np.clip(across[None, :] + shift[:, None], 0, moved.shape[1] - 1)
            moved = np.take_along_axis(moved, columns, 1)
    return moved


def _lines(labels: np.ndarray) -> np.ndarray:
    """Where parts meet: (height, width) bool at supersampled size, two pixels wide."""
    edge = np.zeros(labels.shape, dtype=bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _strokes(labels: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Slanting pencil strokes in [0, 1], (height, width) at supersampled size."""
    slope, period = noise.uniform(0.5, 1.6), noise.uniform(5.0, 8.0) * labels.shape[0] / 192
    rows = np.arange(labels.shape[0], dtype=np.float32)[:, None]
    columns = np.arange(labels.shape[1], dtype=np.float32)[None, :]
    return np.abs(((columns + np.float32(slope) * rows) / np.float32(period)) % 1.0 - 0.5) * 2


def sketch(labels: np.ndarray, seen: Subject, world: World, noise: np.random.Generator) -> np.ndarray:
    """A pencil drawing: outlines, and hatching that is denser on dark clothes."""
    labels = _wobble(labels, noise)
    darkness = 1 - colours(seen).mean(1) / 255
    darkness[: int(FIRST_PERSON_PART)] = 0
    ink = np.clip(darkness + noise.normal(0, 0.1, PARTS), 0, 1).astype(np.float32)
    ink[: int(FIRST_PERSON_PART)] = 0
    hatch = _strokes(labels, noise) < (0.75 * ink**1.5)[labels]
    pixels = np.where(hatch, np.float32(150), np.float32(_PAPER))
    pixels[_lines(labels)] = 46 + 50 * seen.scene.jitter[15]
    return _on_paper(pixels, noise)


def cpencil(labels: np.ndarray, seen: Subject, world: World, noise: np.random.Generator) -> np.ndarray:
    """A drawing with colour pencils: outlines and coloured strokes, the hues those of memory and of the box."""
    labels = _wobble(labels, noise)
    table = colours(seen) + noise.normal(0, 14 + 16 * world.hard, (PARTS, 3))
    pressure = noise.uniform(0.4, 0.75)
    table = np.clip(_PAPER + (np.clip(table, 0, 255) - _PAPER) * pressure, 0, 255).astype(np.float32)
    table[: int(FIRST_PERSON_PART)] = _PAPER
    strength = (0.45 + 0.55 * _strokes(labels, noise))[..., None]
    pixels = _PAPER + (table[labels] - _PAPER) * strength
    pixels[_lines(labels)] *= 0.55
    return _on_paper(pixels, noise)


def _on_paper(pixels: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Averages down to final size and adds the grain of the paper; (height, width, C) uint8."""
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).reduce(SCALE)
    out = np.asarray(image, dtype=np.float32)
    grain = noise.standard_normal(out.shape[:2], dtype=np.float32) * 4
    out = out + (grain[..., None] if out.ndim == 3 else grain)
    final: np.ndarray = np.clip(out + 0.5, 0, 255).astype(np.uint8).reshape(*out.shape[:2], -1)
    return final
