"""The sensors: from a label map to an image of one modality, by part values, pattern, light and degradation.

`rgb` and `cpencil` have three channels, `nir`, `tir` and `sketch` one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from reid_lab.data.synthetic.canvas import FIRST_PERSON_PART, PARTS, SCALE, Canvas, Part
from reid_lab.data.synthetic.figure import draw_figure
from reid_lab.data.synthetic.palette import GARMENT_OF, Subject, colours, subject
from reid_lab.data.synthetic.pencil import cpencil, sketch
from reid_lab.data.synthetic.skeleton import Figure
from reid_lab.data.synthetic.surroundings import draw_background, draw_occluder, draw_shadow
from reid_lab.data.synthetic.world import World
from reid_lab.seeding import rng

CHANNELS = {"rgb": 3, "nir": 1, "tir": 1, "sketch": 1, "cpencil": 3}

_FOLDS = np.array([0.11 if p in GARMENT_OF else 0.03 for p in Part], dtype=np.float32)
_IS_PERSON = np.array([p >= FIRST_PERSON_PART for p in Part], dtype=np.uint8)


def render(world: World, split: str, number: int, image: int, role: str) -> np.ndarray:
    """One image of one role: (C, height, width) uint8."""
    return drawn(subject(world, split, number, image, role), world, role)


def drawn(seen: Subject, world: World, role: str) -> np.ndarray:
    """What a sensor sees of a subject, also of one that no split holds: (C, height, width) uint8."""
    drawing = role in ("sketch", "cpencil")
    canvas = Canvas(*world.image_size)
    if not drawing:
        draw_background(canvas, seen.camera, seen.scene)
        draw_shadow(canvas, seen.scene)
    figure = Figure(canvas, seen.person, seen.outfit, seen.scene)
    draw_figure(figure)
    if not drawing:
        draw_occluder(canvas, seen.scene)
    labels = canvas.labels()
    if role != "tir":
        labels = _pattern(labels, figure, seen.outfit.attributes["pattern"])
    noise = rng("pixels", seen.scene.noise, role)
    pixels = _SENSORS[role](labels, seen, world, noise)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _pattern(labels: np.ndarray, figure: Figure, pattern: int) -> np.ndarray:
    """Paints the second colour on the garment above: stripes, checks, dots or a block."""
    if pattern == 0:
        return labels
    unit = figure.unit
    rows = (np.arange(labels.shape[0], dtype=np.float32)[:, None] - figure.top) / unit
    columns = (np.arange(labels.shape[1], dtype=np.float32)[None, :] - figure.left) / unit
    stripe = (rows * 17.0) % 1.0 < 0.45
    if pattern == 1:
        painted = np.broadcast_to(stripe, labels.shape)
    elif pattern == 2:
        painted = ((rows * 13.0) % 1.0 < 0.5) ^ ((columns * 13.0) % 1.0 < 0.5)
    elif pattern == 3:
        painted = ((rows * 17.0) % 1.0 - 0.5) ** 2 + ((columns * 17.0) % 1.0 - 0.5) ** 2 < 0.09
    else:
        painted = np.broadcast_to(rows > 0.345, labels.shape)
    cloth = labels == Part.UPPER if pattern > 2 else (labels == Part.UPPER) | (labels == Part.UPPER_NEAR)
    return np.where(painted & cloth, np.uint8(Part.SECOND), labels)


@lru_cache(maxsize=8)
def _fold_bank(height: int, width: int) -> np.ndarray:
    """Smooth random fields in [-1, 1], (16, height, width): folds of cloth and stains on walls."""
    coarse = rng("folds", height, width).standard_normal((16, 10, 7)).astype(np.float32)
    fields = [np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse]
    bank: np.ndarray = np.clip(np.stack(fields) * 0.7, -1, 1)
    return bank


def _shading(labels: np.ndarray, seen: Subject, noise: np.random.Generator) -> np.ndarray:
    """Folds and light from the side: factors, (height, width) float32 at final size."""
    small = labels[::SCALE, ::SCALE]
    bank = _fold_bank(*small.shape)
    fold = bank[int(noise.integers(len(bank)))]
    across = np.linspace(-1, 1, small.shape[1], dtype=np.float32)[None, :]
    shading: np.ndarray = (1 + _FOLDS[small] * fold) * (1 + 0.22 * seen.scene.side_light * across)
    return shading


def _reduce(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The picture of a label map under a table (parts, 3) or (parts,), averaged down to final size, float32."""
    image = Image.fromarray(np.ascontiguousarray(table.astype(np.uint8)[labels]))
    return np.asarray(image.reduce(SCALE), dtype=np.float32)


def _degrade(pixels: np.ndarray, seen: Subject, noise: np.random.Generator, sigma: float) -> np.ndarray:
    """Lost resolution, blur and pixel noise of a camera; (height, width[, C]) float32 to (height, width, C) uint8."""
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    width, height = image.size
    share = seen.camera.resolution
    if share < 0.97:
        small = image.resize((max(8, round(width * share)), max(8, round(height * share))), Image.Resampling.BILINEAR)
        image = small.resize((width, height), Image.Resampling.BILINEAR)
    if seen.camera.blur > 0.25:
        image = image.filter(ImageFilter.GaussianBlur(seen.camera.blur * height / 96))
    out = np.asarray(image, dtype=np.float32)
    out = out + noise.standard_normal(out.shape, dtype=np.float32) * sigma
    final: np.ndarray = np.clip(out + 0.5, 0, 255).astype(np.uint8).reshape(height, width, -1)
    return final


def _rgb(labels: np.ndarray, seen: Subject, world: World, noise: np.random.Generator) -> np.ndarray:
    light = _shading(labels, seen, noise)[..., None] * (seen.camera.cast * seen.camera.gain * seen.scene.gain)
    curve = (np.arange(256, dtype=np.float32) / 255) ** seen.scene.gamma * 255
    pixels = _reduce(labels, curve[colours(seen).astype(np.uint8)]) * light
    return _degrade(pixels, seen, noise, seen.camera.noise)


def _nir(labels: np.ndarray, seen: Subject, world: World, noise: np.random.Generator) -> np.ndarray:
    """Near infrared: the material decides, not its colour; a lamp at the camera lights the middle."""
    table = colours(seen).mean(1) * 0.45 + 40
    for part, (garment, bright) in GARMENT_OF.items():
        table[part] = 225 * seen.outfit.nir[garment] * bright
    skin = seen.person.attributes["skin"]
    table[Part.SKIN], table[Part.SKIN_FAR] = 205 - 9 * skin, 176 - 8 * skin
    table[Part.HAIR] = table[Part.BEARD] = (70, 96, 150, 120, 165)[seen.person.attributes["hair_colour"]]
    table[Part.FACE], table[Part.GLASSES], table[Part.MOUTH] = 46, 30, 150
    if seen.scene.occluder == 3:
        table[Part.OCCLUDER], table[Part.OCCLUDER_DARK] = 215, 180  # leaves are bright
    height, width = world.image_size
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    lamp = 1.08 - 0.3 * (x * x + 0.6 * y * y)
    pixels = _reduce(labels, np.clip(table, 0, 255)) * _shading(labels, seen, noise) * lamp * seen.scene.gain
    return _degrade(pixels, seen, noise, 2.0 + 1.3 * seen.camera.noise)


def _tir(labels: np.ndarray, seen: Subject, world: World, noise: np.random.Generator) -> np.ndarray:
    """Thermal infrared: warm skin, cooler clothes by their thickness, no colour, no pattern, blurred."""
    jitter, worn = seen.scene.jitter, seen.outfit
    ambient = 0.14 + 0.18 * jitter[13]
    table = np.full(PARTS, ambient, dtype=np.float32)
    table[Part.FLOOR] += 0.05
    table[Part.PROP_A], table[Part.PROP_B] = ambient + 0.09, ambient - 0.06
    table[Part.OCCLUDER], table[Part.OCCLUDER_DARK] = ambient + 0.06, ambient + 0.02
    table[[Part.SKIN, Part.MOUTH, Part.FACE]], table[Part.SKIN_FAR] = 0.92, 0.85
    table[Part.HAIR], table[Part.BEARD], table[Part.GLASSES] = 0.62, 0.76, 0.3
    upper = (0.66, 0.62, 0.54, 0.5, 0.46, 0.4, 0.64)[worn.attributes["upper"]]
    lower = (0.56, 0.6, 0.58, 0.54, 0.66)[worn.attributes["lower"]]
    warm = {"upper": upper, "second": upper, "inner": 0.7, "lower": lower, "shoe": 0.4, "bag": 0.3, "hat": 0.5}
    for part, (garment, _) in GARMENT_OF.items():
        table[part] = warm.get(garment, 0.44) + worn.warmth[garment]
    table[Part.UPPER_FAR] -= 0.04
    table[Part.LOWER_FAR] -= 0.04
    table[Part.TRIM] = table[Part.UPPER] - 0.03
    table[Part.SOLE] = 0.34
    pixels = _reduce(labels, np.clip(table, 0, 1) * 255)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(0.85 * world.image_size[0] / 96)), dtype=np.float32)
    contrast = 0.85 + 0.3 * jitter[14]
    pixels = (blurred * _fold_factor(labels, noise) - 110) * contrast + 110
    return _degrade(pixels, seen, noise, 2.0 + 0.5 * seen.camera.noise)


def _fold_factor(labels: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    small = labels[::SCALE, ::SCALE]
    bank = _fold_bank(*small.shape)
    factors: np.ndarray = 1 + 0.5 * _FOLDS[small] * bank[int(noise.integers(len(bank)))]
    return factors


_SENSORS = {"rgb": _rgb, "nir": _nir, "tir": _tir, "sketch": sketch, "cpencil": cpencil}
