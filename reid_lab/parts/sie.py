"""Side information: a learned vector for each camera, view or pair of both, added to the tokens of an image.

TransReID (He et al., ICCV 2021, section 3.2) adds it to all tokens, CLIP-ReID (Li et al., AAAI 2023) to the class token
alone, both before the first block and the norm in front of it.
"""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from reid_lab.errors import SpecError
from reid_lab.seeding import stream
from reid_lab.spec.section import Section, Tune

VIEWS = "scenes"
"""The label of a group that numbers its view."""

Of = Literal["camera", "view", "both"]
Site = Literal["class_token", "all_tokens"]


class SideSpec(Section):
    """Side information embedding: of what, `coefficient` times, to which tokens; a coefficient of 0 removes it."""

    of: Of = "camera"
    coefficient: Annotated[float, Field(ge=0), Tune(0.0, 4.0)] = 1.0
    site: Site = "class_token"


@final
class SideInformation(nn.Module):
    """The vectors and their numbering: camera · views + view, as TransReID numbers pairs."""

    def __init__(self, width: int, cameras: int, views: int, coefficient: float, site: Site) -> None:
        """cameras, views: how many there are; 0 where one of the two is not asked for."""
        super().__init__()
        self.cameras, self.views = cameras, views
        self.coefficient = coefficient
        self.tokens = slice(0, 1) if site == "class_token" else slice(None)
        self.embedding = nn.Parameter(torch.empty(max(cameras, 1) * max(views, 1), width))
        nn.init.trunc_normal_(self.embedding, std=0.02)

    def forward(self, tokens: Tensor, camids: Tensor, views: Tensor) -> Tensor:
        """Tokens (n, T, D) of images with cameras and views (n,) int64; nothing is added where one is unknown.

        A number outside of those that were trained (-1, another data set's) is unknown.
        """
        number = torch.zeros_like(camids)
        known = torch.ones_like(camids, dtype=torch.bool)
        for count, ids in ((self.cameras, camids), (self.views, views)):
            if count:
                known &= (ids >= 0) & (ids < count)
                number = number * count + ids
        added = self.embedding[number.where(known, 0)] * (self.coefficient * known)[:, None].to(self.embedding.dtype)
        added = added[:, None].to(tokens.dtype)
        return torch.cat([tokens[:, self.tokens] + added, tokens[:, 1:]], dim=1) if self.tokens.stop else tokens + added


@final
class NoSide(nn.Module):
    """The empty slot of side information."""

    def forward(self, tokens: Tensor, camids: Tensor, views: Tensor) -> Tensor:
        """The tokens as they are."""
        return tokens


def side_information(
    spec: SideSpec | None, width: int, cameras: int, views: int, seed: int, field: str = "model.sie"
) -> SideInformation | NoSide:
    """The part of a spec, drawn from the stream (seed, "sie"); nothing for null and for a coefficient of 0.

    Raises:
        SpecError: the data tells no cameras (or views), and they are asked for; `field` is named.
    """
    if spec is None or spec.coefficient == 0:
        return NoSide()
    counts = {"cameras": cameras if spec.of != "view" else 0, "views": views if spec.of != "camera" else 0}
    wanted = {"camera": ("cameras",), "view": ("views",), "both": ("cameras", "views")}[spec.of]
    missing = [name for name in wanted if counts[name] < 1]
    if missing:
        told = " and no ".join(missing).replace("views", "views (scenes that several images share)")
        instead = f"set {field}.of to camera, or {field} to null" if cameras else f"set {field} to null"
        raise SpecError(f"{field}.of {spec.of}: the data tells no {told}; {instead}")
    with stream(seed, "sie"):
        return SideInformation(width, counts["cameras"], counts["views"], spec.coefficient, spec.site)
