"""What a person and an outfit are made of: the attributes, how often each value occurs, and how they are drawn.

Every attribute has a value in every image, so that it can supervise training: a colour that belongs to
nothing (the bag colour of a person without a bag) has the last value, `NO_COLOUR`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

COLOURS = (
    "black", "white", "grey", "navy", "blue", "red", "brown", "green",
    "beige", "pink", "yellow", "maroon", "orange", "purple", "olive",
)  # fmt: skip
COLOUR_RGB = np.array(
    [
        (28, 28, 32), (236, 236, 232), (132, 134, 138), (24, 34, 88), (40, 98, 208), (208, 28, 32), (106, 64, 34),
        (30, 140, 60), (214, 192, 152), (244, 138, 178), (244, 214, 40), (114, 16, 40), (246, 128, 20), (122, 44, 158),
        (106, 112, 42),
    ],
    dtype=np.float32,
)  # fmt: skip
NO_COLOUR = len(COLOURS)

SKIN_RGB = np.array([(246, 214, 194), (228, 182, 150), (198, 146, 106), (146, 96, 64), (86, 56, 42)], dtype=np.float32)
HAIR_RGB = np.array([(24, 20, 20), (86, 54, 32), (214, 178, 104), (168, 74, 34), (172, 172, 172)], dtype=np.float32)

# The values of the attributes that decide shapes, by name.
TSHIRT, SHIRT, SWEATER, HOODIE, JACKET, COAT, DRESS = range(7)
TROUSERS, SHORTS, SKIRT, LONG_SKIRT, LEGGINGS = range(5)
SNEAKERS, BOOTS, SANDALS = range(3)
NO_BAG, BACKPACK, SHOULDER_BAG, HANDBAG, SUITCASE = range(5)
BALD, CROPPED, SHORT, BOB, LONG, PONYTAIL, BUN, CURLY = range(8)
SCARF, UMBRELLA, MASK = 1, 2, 3

IDENTITY: Mapping[str, tuple[str, ...]] = {
    "gender": ("man", "woman"),
    "age": ("young", "middle", "old"),
    "build": ("slim", "average", "heavy"),
    "height": ("short", "average", "tall"),
    "skin": ("pale", "light", "tan", "brown", "dark"),
    "hair_style": ("bald", "cropped", "short", "bob", "long", "ponytail", "bun", "curly"),
    "hair_colour": ("black", "brown", "blond", "red", "grey"),
    "glasses": ("none", "glasses", "sunglasses"),
    "beard": ("none", "beard"),
}
_COLOUR_OR_NONE = (*COLOURS, "none")
OUTFIT: Mapping[str, tuple[str, ...]] = {
    "upper": ("tshirt", "shirt", "sweater", "hoodie", "jacket", "coat", "dress"),
    "upper_colour": COLOURS,
    "second_colour": _COLOUR_OR_NONE,
    "pattern": ("plain", "striped", "checked", "dotted", "block"),
    "logo": ("none", "logo"),
    "inner_colour": _COLOUR_OR_NONE,
    "lower": ("trousers", "shorts", "skirt", "long_skirt", "leggings"),
    "lower_colour": COLOURS,
    "shoes": ("sneakers", "boots", "sandals"),
    "shoe_colour": COLOURS,
    "bag": ("none", "backpack", "shoulder_bag", "handbag", "suitcase"),
    "bag_colour": _COLOUR_OR_NONE,
    "hat": ("none", "cap", "beanie"),
    "hat_colour": _COLOUR_OR_NONE,
    "extra": ("none", "scarf", "umbrella", "mask"),
    "extra_colour": _COLOUR_OR_NONE,
}
VIEWS = ("front", "rightwards", "back", "leftwards")
ATTRIBUTES: Mapping[str, int] = {name: len(v) for name, v in {**IDENTITY, **OUTFIT, "view": VIEWS}.items()}
GARMENTS = ("upper", "second", "inner", "lower", "shoe", "bag", "hat", "extra")

_ZIPF = tuple(1.0 / (rank + 3.0) for rank in range(len(COLOURS)))
_LOWER_COLOURS = (6, 1.5, 3, 4, 4, 0.6, 2, 0.8, 2, 0.6, 0.3, 0.7, 0.3, 0.4, 1.2)
_SHOE_COLOURS = (6, 5, 2, 1, 1, 1.5, 3, 0.3, 1, 0.6, 0.4, 0.4, 0.4, 0.2, 0.2)
_HAIR_STYLE = {0: (0.14, 0.2, 0.42, 0.02, 0.08, 0.02, 0.02, 0.1), 1: (0.0, 0.03, 0.1, 0.24, 0.27, 0.18, 0.1, 0.08)}
_UPPER = {0: (0.24, 0.17, 0.17, 0.16, 0.17, 0.09, 0.0), 1: (0.18, 0.14, 0.15, 0.11, 0.15, 0.12, 0.15)}
_LOWER = {0: (0.74, 0.26, 0.0, 0.0, 0.0), 1: (0.36, 0.13, 0.18, 0.13, 0.2)}
_HAIR_COLOUR = {0: (0.38, 0.3, 0.18, 0.1, 0.04), 1: (0.36, 0.3, 0.14, 0.06, 0.14), 2: (0.1, 0.12, 0.06, 0.02, 0.7)}
_JACKETS = (4, 5)
_LOGO_UPPERS = (0, 2, 3)
_DRESS, _LEGGINGS = 6, 4


def choose(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """One index, drawn in proportion to `weights`; exactly one uniform number is consumed."""
    left = rng.random() * sum(weights)
    for index, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return index
    return len(weights) - 1


def draw_identity(rng: np.random.Generator, gender: int) -> dict[str, int]:
    """The identity attributes of a person of the given gender."""
    age = choose(rng, (0.5, 0.34, 0.16))
    return {
        "gender": gender,
        "age": age,
        "build": choose(rng, (0.36, 0.42, 0.22)),
        "height": choose(rng, (0.28, 0.44, 0.28)),
        "skin": choose(rng, (0.26, 0.26, 0.2, 0.16, 0.12)),
        "hair_style": choose(rng, _HAIR_STYLE[gender]),
        "hair_colour": choose(rng, _HAIR_COLOUR[age]),
        "glasses": choose(rng, (0.64, 0.24, 0.12)),
        "beard": int(rng.random() < 0.36 and gender == 0),
    }


def draw_outfit(rng: np.random.Generator, gender: int) -> dict[str, int]:
    """The attributes of one outfit; `settle` makes mixtures of two outfits consistent again."""
    return {
        "upper": choose(rng, _UPPER[gender]),
        "upper_colour": choose(rng, _ZIPF),
        "second_colour": choose(rng, _ZIPF),
        "pattern": choose(rng, (0.54, 0.15, 0.1, 0.07, 0.14)),
        "logo": int(rng.random() < 0.35),
        "inner_colour": choose(rng, _ZIPF),
        "lower": choose(rng, _LOWER[gender]),
        "lower_colour": choose(rng, _LOWER_COLOURS),
        "shoes": choose(rng, (0.6, 0.25, 0.15)),
        "shoe_colour": choose(rng, _SHOE_COLOURS),
        "bag": choose(rng, (0.38, 0.25, 0.15, 0.14, 0.08)),
        "bag_colour": choose(rng, _ZIPF),
        "hat": choose(rng, (0.7, 0.17, 0.13)),
        "hat_colour": choose(rng, _ZIPF),
        "extra": choose(rng, (0.6, 0.18, 0.1, 0.12)),
        "extra_colour": choose(rng, _ZIPF),
    }


def settle(outfit: dict[str, int]) -> dict[str, int]:
    """Makes an outfit consistent: colours of absent things become `NO_COLOUR`, equal neighbours are told apart."""
    out = dict(outfit)
    if out["upper"] == _DRESS:
        out["lower"] = _LEGGINGS
    out["logo"] = int(bool(out["logo"]) and out["upper"] in _LOGO_UPPERS and out["pattern"] == 0)
    if out["second_colour"] == out["upper_colour"]:
        out["second_colour"] = (out["upper_colour"] + 1) % len(COLOURS)
    if out["pattern"] == 0 and not out["logo"]:
        out["second_colour"] = NO_COLOUR
    if out["upper"] not in _JACKETS:
        out["inner_colour"] = NO_COLOUR
    for thing in ("bag", "hat", "extra"):
        if out[thing] == 0:
            out[f"{thing}_colour"] = NO_COLOUR
    return out


@dataclass(frozen=True)
class Person:
    """One identity: discrete attributes and the continuous shape of the body (factors around 1)."""

    attributes: Mapping[str, int]
    shape: Mapping[str, float]


@dataclass(frozen=True)
class Outfit:
    """One outfit: attributes, the RGB shade of each garment, its reflectance in near infrared and its warmth."""

    attributes: Mapping[str, int]
    shade: Mapping[str, np.ndarray]
    nir: Mapping[str, float]
    warmth: Mapping[str, float]
