"""The spec of the embedded benchmark: a preset, and knobs that replace single values of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from reid_lab.contracts import IMAGE_ROLES, ROLES
from reid_lab.data.items import Aliases, resolve_modality
from reid_lab.data.synthetic.captions import Wording
from reid_lab.data.synthetic.world import CAMERAS, World
from reid_lab.errors import DataError
from reid_lab.spec.run import DataSpec

GENERATOR_VERSION = 1  # raised by hand whenever a pixel or a word changes

_Count = Annotated[int, Field(ge=1, le=100_000)]
_Images = Annotated[int, Field(ge=1, le=64)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Side = Annotated[int, Field(ge=16, le=1024)]


@dataclass(frozen=True)
class Preset:
    """The values of one preset; identities and images are (train, val, test)."""

    world: str  # namespace: worlds of different names share nobody
    identities: tuple[int, int, int]
    images: tuple[int, int, int]
    hard: float
    outfits: int
    doc: str


PRESETS = {
    "smoke": Preset("benchmark", (200, 50, 50), (3, 4, 4), 0.2, 1, "seconds: for tests and first steps"),
    "default": Preset("benchmark", (1000, 150, 150), (3, 4, 4), 0.7, 1, "minutes: the benchmark of the tables"),
    "large": Preset("benchmark", (4000, 500, 1000), (4, 4, 4), 0.7, 2, "clothes-changing, for longer training"),
    "pretrain": Preset("pretraining", (2500, 150, 1), (4, 4, 1), 0.3, 2, "the world that tiny trunks are trained on"),
}


class SyntheticSpec(DataSpec):
    """The embedded benchmark. A knob that is null takes the preset's value; `image_size` null is 96 x 48."""

    name: Literal["synthetic"] = "synthetic"
    aliases: Aliases = {}
    preset: Literal["smoke", "default", "large", "pretrain"] = "default"
    roles: tuple[str, ...] = ("rgb", "caption", "id_caption", "cloth_caption")
    seed: Annotated[int, Field(ge=0)] = 0  # of the world, not of the run
    train_identities: _Count | None = None
    val_identities: _Count | None = None
    test_identities: _Count | None = None
    train_images: _Images | None = None  # of each identity
    eval_images: Annotated[int, Field(ge=2, le=CAMERAS)] | None = None  # of each identity; all in different cameras
    hard: _Share | None = None
    outfits: Annotated[int, Field(ge=1, le=8)] | None = None  # of each identity; its images take turns
    caption_drop: Annotated[float, Field(ge=0, lt=1)] = 0.3
    caption_error: _Share = 0.03
    aligned: bool = False  # drawings show the very pose of the photograph
    image_size: tuple[_Side, _Side] | None = None

    @field_validator("roles")
    @classmethod
    def _resolved(cls, roles: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        try:
            names = tuple(resolve_modality(role, info.data.get("aliases")) for role in roles)
        except DataError as error:
            raise ValueError(str(error)) from error
        if len(set(names)) != len(names) or not names:
            raise ValueError("roles must name at least one role, and each once")
        return names

    @model_validator(mode="after")
    def _val(self) -> SyntheticSpec:
        if self.val == "none":
            raise ValueError("val: the embedded benchmark has a val split of its own; allowed: authors")
        return self

    @property
    def world(self) -> World:
        """All that decides pixels, presets and knobs resolved."""
        preset = PRESETS[self.preset]

        def counts(values: tuple[int, int, int], *knobs: int | None) -> tuple[int, int, int]:
            train, val, test = (v if k is None else k for v, k in zip(values, knobs, strict=True))
            return train, val, test

        return World(
            name=preset.world,
            seed=self.seed,
            identities=counts(preset.identities, self.train_identities, self.val_identities, self.test_identities),
            images=counts(preset.images, self.train_images, self.eval_images, self.eval_images),
            outfits=preset.outfits if self.outfits is None else self.outfits,
            hard=preset.hard if self.hard is None else self.hard,
            image_size=self.image_size or (96, 48),
            aligned=self.aligned,
        )

    @property
    def wording(self) -> Wording:
        """All that decides the captions of a world."""
        return Wording(self.caption_drop, self.caption_error)

    @property
    def image_roles(self) -> tuple[str, ...]:
        """The roles that are rendered, in the order of `contracts.IMAGE_ROLES`."""
        return tuple(r for r in IMAGE_ROLES if r in self.roles)


def pixels_key(world: World) -> str:
    """The name of the cache folder: a hash of all that decides pixels, and of the generator's version."""
    return _hash({"generator": GENERATOR_VERSION, "world": world.plain()})


def words_key(spec: SyntheticSpec) -> str:
    """A hash of all that decides the captions; pixels are part of it, since captions tell what is seen."""
    return _hash({"pixels": pixels_key(spec.world), "wording": [spec.wording.drop, spec.wording.error]})


def digest(spec: SyntheticSpec) -> str:
    """The identity of the data set: configuration and generator version."""
    return _hash({"words": words_key(spec), "roles": [r for r in ROLES if r in spec.roles]})


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
