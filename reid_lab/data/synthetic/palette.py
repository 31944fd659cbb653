"""What a sensor looks at, and the colour of each of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from reid_lab.data.synthetic.canvas import PARTS, Part
from reid_lab.data.synthetic.traits import COLOUR_RGB, HAIR_RGB, SKIN_RGB, Outfit, Person
from reid_lab.data.synthetic.world import Camera, Scene, World, camera, outfit, person, scene

# Which garment a part belongs to, and how bright it is there.
GARMENT_OF: dict[Part, tuple[str, float]] = {
    Part.UPPER: ("upper", 1.0),
    Part.UPPER_NEAR: ("upper", 0.88),
    Part.UPPER_FAR: ("upper", 0.7),
    Part.TRIM: ("upper", 0.62),
    Part.SECOND: ("second", 1.0),
    Part.LOGO: ("second", 1.0),
    Part.INNER: ("inner", 1.0),
    Part.LOWER: ("lower", 1.0),
    Part.LOWER_FAR: ("lower", 0.78),
    Part.SHOE: ("shoe", 1.0),
    Part.BAG: ("bag", 1.0),
    Part.BAG_DARK: ("bag", 0.66),
    Part.HAT: ("hat", 1.0),
    Part.HAT_DARK: ("hat", 0.75),
    Part.EXTRA: ("extra", 1.0),
    Part.EXTRA_DARK: ("extra", 0.8),
}
_COLOUR_OF = {
    "upper": "upper_colour", "second": "second_colour", "inner": "inner_colour", "lower": "lower_colour",
    "shoe": "shoe_colour", "bag": "bag_colour", "hat": "hat_colour", "extra": "extra_colour",
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """All that a sensor looks at."""

    person: Person
    outfit: Outfit
    camera: Camera
    scene: Scene


@lru_cache(maxsize=4096)
def subject(world: World, split: str, number: int, image: int, role: str) -> Subject:
    """What image `image` of person `number` of a split shows in one role."""
    who = person(world, split, number)
    seen = scene(world, split, number, image, role)
    clothes = outfit(world, split, number, image % world.outfits, who.attributes["gender"])
    return Subject(who, clothes, camera(world, seen.camera), seen)


def colours(seen: Subject) -> np.ndarray:
    """The table of part colours, (parts, 3) float32."""
    table = np.zeros((PARTS, 3), dtype=np.float32)
    who, worn, camera_, jitter = seen.person.attributes, seen.outfit, seen.camera, seen.scene.jitter
    table[Part.WALL] = camera_.wall * (0.9 + 0.2 * jitter[2])
    table[Part.FLOOR] = camera_.floor * (0.9 + 0.2 * jitter[3])
    for part, prop in zip((Part.PROP_A, Part.PROP_B, Part.PROP_C), camera_.props, strict=True):
        table[part] = prop[3]
    table[Part.SHADOW] = table[Part.FLOOR] * 0.62
    hider = np.array(jitter[10:13], dtype=np.float32) * 110 + 50
    table[Part.OCCLUDER] = (40, 92, 44) if seen.scene.occluder == 3 else hider
    table[Part.OCCLUDER_DARK] = table[Part.OCCLUDER] * 0.68
    skin, hair = SKIN_RGB[who["skin"]], HAIR_RGB[who["hair_colour"]]
    table[Part.SKIN], table[Part.SKIN_FAR] = skin, skin * 0.84
    table[Part.FACE] = (34, 26, 26)
    table[Part.MOUTH] = skin * (0.78, 0.5, 0.5)
    table[Part.HAIR], table[Part.BEARD] = hair, hair * 0.8 + skin * 0.12
    table[Part.GLASSES] = (16, 16, 18)
    table[Part.SOLE] = (232, 232, 230)
    for part, (garment, bright) in GARMENT_OF.items():
        value = worn.attributes[_COLOUR_OF[garment]]
        if value < len(COLOUR_RGB):
            table[part] = (COLOUR_RGB[value] + worn.shade[garment]) * bright
    return np.clip(table, 0, 255)
