"""The world: its people, outfits, cameras and scenes, each a pure function of a few plain integers.

Everything is drawn from a random stream named by what it is (`reid_lab.seeding.rng`), never from a stream
that something else has used: a person does not change when the world gets more people, and images can be
rendered in any order by any number of processes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from reid_lab.data.synthetic.traits import (
    GARMENTS,
    Outfit,
    Person,
    choose,
    draw_identity,
    draw_outfit,
    settle,
)
from reid_lab.seeding import rng

SPLITS = ("train", "val", "test")
CAMERAS = 6
ALIGNED_ROLES = ("rgb", "nir", "tir")

FAMILY = 4  # people that look alike
_FAMILY_SHARE = 0.62  # of the attributes a look-alike takes over
_SHAPE = ("shoulder", "hip", "leg", "head", "stride", "swing")


@dataclass(frozen=True)
class World:
    """All that decides pixels. `name` is the namespace of the seeds: worlds of different names share nobody."""

    name: str
    seed: int
    identities: tuple[int, int, int]  # train, val, test
    images: tuple[int, int, int]  # of each identity
    outfits: int
    hard: float
    image_size: tuple[int, int]  # height, width
    aligned: bool

    def count(self, split: str) -> int:
        """Number of scenes (images of one role) in a split."""
        at = SPLITS.index(split)
        return self.identities[at] * self.images[at]

    def first_pid(self, split: str) -> int:
        """The pid of the first person of a split; the splits' persons follow one another."""
        return sum(self.identities[: SPLITS.index(split)])

    def plain(self) -> dict[str, Any]:
        """The world as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Scene:
    """One moment: where the person stands, how it moves, what lights and hides it."""

    camera: int
    view: int  # index of traits.VIEWS
    yaw: float  # radians, 0 faces the camera
    phase: float  # of the walking cycle, radians
    stride: float
    shift: tuple[float, float]  # of the crop, in fractions of the image
    zoom: float
    gain: float
    gamma: float
    side_light: float  # -1 … 1
    occluder: int  # 0 none, 1 post, 2 low wall, 3 bush, 4 crate
    occluder_at: float
    noise: int  # seed of the pixel noise
    jitter: tuple[float, ...]  # small numbers in [0, 1) for the background and the sensors


@dataclass(frozen=True)
class Camera:
    """A camera: its colour cast, sharpness, noise and what it looks at."""

    cast: np.ndarray  # (3,) factors
    gain: float
    blur: float  # pixels at 96 rows
    resolution: float  # share of the pixels that survive
    noise: float  # standard deviation in grey levels
    horizon: float
    wall: np.ndarray  # (3,) RGB
    floor: np.ndarray
    props: tuple[tuple[float, float, float, tuple[float, float, float]], ...]  # centre, half width, top, RGB


@lru_cache(maxsize=1024)
def person(world: World, split: str, number: int) -> Person:
    """Person `number` of a split. In a hard world half of the people resemble three others."""
    own = rng("person", world.name, world.seed, split, number)
    kin = rng("family", world.name, world.seed, split, number // FAMILY)
    resembles = own.random() < 0.55 * world.hard
    kin_gender, own_gender = choose(kin, (0.52, 0.48)), choose(own, (0.52, 0.48))
    gender = kin_gender if resembles else own_gender
    shared, alone = draw_identity(kin, gender), draw_identity(own, gender)
    kept = own.random(len(alone)) < (_FAMILY_SHARE if resembles else 0.0)
    attributes = {k: (shared[k] if keep else alone[k]) for (k, keep) in zip(alone, kept, strict=True)}
    shape = {k: float(v) for k, v in zip(_SHAPE, own.normal(1.0, 0.06, len(_SHAPE)), strict=True)}
    return Person(attributes, {**shape, "stoop": float(own.random() * (0.25 if attributes["age"] == 2 else 0.08))})


@lru_cache(maxsize=1024)
def outfit(world: World, split: str, number: int, index: int, gender: int) -> Outfit:
    """Outfit `index` of a person; look-alikes resemble each other in their outfits, too."""
    own = rng("outfit", world.name, world.seed, split, number, index)
    kin = rng("family outfit", world.name, world.seed, split, number // FAMILY, index)
    resembles = own.random() < 0.55 * world.hard
    shared, alone = draw_outfit(kin, gender), draw_outfit(own, gender)
    kept = own.random(len(alone)) < (_FAMILY_SHARE if resembles else 0.0)
    attributes = settle({k: (shared[k] if keep else alone[k]) for (k, keep) in zip(alone, kept, strict=True)})
    return Outfit(
        attributes,
        {g: own.normal(0.0, 9.0, 3).astype(np.float32) for g in GARMENTS},
        {g: float(own.uniform(0.3, 0.92)) for g in GARMENTS},
        {g: float(own.normal(0.0, 0.035)) for g in GARMENTS},
    )


@lru_cache(maxsize=64)
def camera(world: World, number: int) -> Camera:
    """Camera `number` of the world; the same for all splits."""
    draw = rng("camera", world.name, world.seed, number)
    hard = world.hard
    wall = draw.uniform(70, 205, 3) * 0.35 + draw.uniform(70, 205) * 0.65
    floor = draw.uniform(60, 170, 3) * 0.3 + draw.uniform(60, 170) * 0.7
    props = tuple(
        (float(draw.uniform(-0.3, 1.3)), float(draw.uniform(0.06, 0.2)), float(draw.uniform(0.0, 0.5)), _rgb(draw))
        for _ in range(3)
    )
    return Camera(
        cast=(1 + draw.normal(0, 0.03 + 0.045 * hard, 3)).astype(np.float32),
        gain=float(math.exp(draw.normal(0, 0.05 + 0.14 * hard))),
        blur=float(draw.uniform(0.0, 0.3 + 0.5 * hard)),
        resolution=float(1 - draw.uniform(0.0, 0.2 + 0.35 * hard)),
        noise=float(draw.uniform(1.0, 2.0 + 7 * hard)),
        horizon=float(draw.uniform(0.45, 0.8)),
        wall=wall.astype(np.float32),
        floor=floor.astype(np.float32),
        props=props,
    )


def _rgb(draw: np.random.Generator) -> tuple[float, float, float]:
    grey = draw.uniform(50, 200)
    red, green, blue = 0.45 * draw.uniform(30, 225, 3) + 0.55 * grey
    return float(red), float(green), float(blue)


@lru_cache(maxsize=1024)
def _camera_order(world: World, split: str, number: int) -> tuple[int, ...]:
    return tuple(rng("cameras", world.name, world.seed, split, number).permutation(CAMERAS).tolist())


def camera_of(world: World, split: str, number: int, image: int) -> int:
    """The camera of an image: no camera sees a person twice before all have seen it once.

    Backgrounds can therefore never tell the identity where a person has at most `CAMERAS` images.
    """
    return _camera_order(world, split, number)[image % CAMERAS]


def scene(world: World, split: str, number: int, image: int, role: str = "rgb") -> Scene:
    """The scene of an image. Spectral roles share one; drawings have their own pose unless the world is aligned."""
    own_pose = not world.aligned and role not in ALIGNED_ROLES
    draw = rng("scene", world.name, world.seed, split, number, image, role if own_pose else "rgb")
    hard = world.hard
    view = choose(draw, (0.36, 0.2, 0.26, 0.18))
    yaw = view * math.pi / 2 + draw.uniform(-0.55, 0.55)
    stretch = 0.35 + 0.65 * hard
    hidden = draw.random() < 0.22 * hard
    return Scene(
        camera=camera_of(world, split, number, image),
        view=view,
        yaw=float(yaw),
        phase=float(draw.uniform(0, 2 * math.pi)),
        stride=float(draw.uniform(0.1, 1.0)),
        shift=(float(draw.normal(0, 0.045 * stretch)), float(draw.normal(0, 0.022 * stretch))),
        zoom=float(1 + draw.normal(0, 0.04 * stretch)),
        gain=float(math.exp(draw.normal(0, 0.22 * stretch))),
        gamma=float(math.exp(draw.normal(0, 0.18 * stretch))),
        side_light=float(draw.uniform(-1, 1)),
        occluder=(1 + choose(draw, (0.3, 0.25, 0.25, 0.2))) if hidden else 0,
        occluder_at=float(draw.random()),
        noise=int(draw.integers(0, 2**62)),
        jitter=tuple(float(v) for v in draw.random(16)),
    )
