"""A registry of two architectures and one data set, so that the loader is tested without torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator

from reid_lab.errors import unknown
from reid_lab.spec.loader import Registries
from reid_lab.spec.run import DataSpec, ModelSpec
from reid_lab.spec.schedule import Scheduled
from reid_lab.spec.section import Section, Tune


class Adapter(Section):
    rank: Annotated[int, Field(ge=1, le=64)] = 4
    layers: tuple[int, ...] | None = None


class Mean(Section):
    kind: Literal["mean"]


class Attention(Section):
    kind: Literal["attention"]
    heads: int = 4


def known_backbone(name: str) -> str:
    presets = ("tiny-clip", "tiny-vit")
    if "/" not in name and name not in presets:
        raise ValueError(unknown("backbone", name, presets))
    return name


class IrraLike(ModelSpec):
    TERMS: ClassVar[tuple[str, ...]] = ("sdm", "id", "mlm")

    name: Literal["irra"] = "irra"
    backbone: Annotated[str, AfterValidator(known_backbone)] = "tiny-clip"
    adapter: Adapter | None = Adapter()
    pooling: Annotated[Mean | Attention, Field(discriminator="kind")] = Mean(kind="mean")
    temperature: Annotated[float, Field(gt=0), Tune(0.01, 0.1, log=True)] = 0.02
    id_weight: Scheduled = 1.0

    @field_validator("id_weight")
    @classmethod
    def _not_thirteen(cls, value: object) -> object:
        if value == 13:
            raise ValueError("13 brings bad luck")
        return value


class OtherModel(ModelSpec):
    name: Literal["other"] = "other"
    width: int


class Pictures(DataSpec):
    name: Literal["pictures"] = "pictures"
    preset: Literal["smoke", "default"] = "default"


REGISTRIES = Registries(
    models={"irra": lambda: IrraLike, "other": lambda: OtherModel},
    data={"pictures": lambda: Pictures},
    protocols=("text_to_image", "image_to_image"),
)

GOOD = """\
name: good
data: {name: pictures}
model: {name: irra}
"""
