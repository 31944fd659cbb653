"""A pretrained image trunk behind one interface: pixels, cameras and views in, tokens and a feature out.

CLIP's image tower and ImageNet's ViT differ in the norm in front, in the projection behind, in where side information
enters and in how pixels are normalised. All of that ends here: what stands above sees tokens (n, 1 + H'·W', D), the
class token first, and a feature (n, width), the class token, strengthened by windows where there are any.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal, final

import torch
from pydantic import AfterValidator, model_validator
from torch import Tensor, nn

from reid_lab.parts import backbones
from reid_lab.parts.locate import known_name
from reid_lab.parts.sie import SideSpec, side_information
from reid_lab.parts.towers import CLIP_MEAN, CLIP_STD
from reid_lab.parts.windows import ClassToken, WindowedToken, WindowSpec
from reid_lab.spec.run import Positive
from reid_lab.spec.section import Misfit, Section

Pixels = Literal["clip", "vit", "imagenet"]
Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]

STATISTICS: dict[Pixels, Statistics] = {
    "clip": (CLIP_MEAN, CLIP_STD),
    "vit": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and deviation of pixels in 0..1: of every CLIP and of the tiny trunks; of Google's and timm's ViT; of DeiT."""


class VitBranchSpec(Section):
    """ImageNet's ViT with what TransReID and the windows add."""

    backbone: Annotated[str, AfterValidator(known_name)] = "tiny-vit"  # a preset, a Hugging Face id, or a folder
    pretrained: bool = True
    stride: Positive | None = None  # of the patches; below their size they overlap; null: their size
    pixels: Pixels = "clip"  # mean and deviation: clip for the tiny trunks; vit, .5, for google/vit-*; imagenet, DeiT
    sie: SideSpec | None = SideSpec(site="all_tokens")
    windows: WindowSpec | None = WindowSpec()


class ClipBranchSpec(Section):
    """CLIP's image tower with what CLIP-ReID and the windows add."""

    backbone: Annotated[str, AfterValidator(known_name)] = "tiny-clip"
    pretrained: bool = True
    stride: Positive | None = None
    pixels: Pixels = "clip"
    sie: SideSpec | None = SideSpec()
    windows: WindowSpec | None = WindowSpec()
    tokens: Literal["as_published", "before_projection"] = "before_projection"  # what the windows run over

    @model_validator(mode="after")
    def _windowed(self) -> ClipBranchSpec:
        if self.windows is None and self.tokens == "as_published":
            raise Misfit("tokens", "it is what the windows run over, and windows is null", because="windows")
        return self


@final
class Renormalise(nn.Module):
    """From pixels of one normalisation to those of another: one factor and one shift for each channel."""

    gain: Tensor
    shift: Tensor

    def __init__(self, given: Statistics, wanted: Statistics) -> None:
        super().__init__()
        (mean, std), (own_mean, own_std) = (
            (torch.tensor(m).view(-1, 1, 1), torch.tensor(s).view(-1, 1, 1)) for m, s in (given, wanted)
        )
        self.register_buffer("gain", std / own_std, persistent=False)
        self.register_buffer("shift", (mean - own_mean) / own_std, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, H, W) -> (n, 3, H, W)."""
        return pixels * self.gain + self.shift


class Branch(nn.Module, ABC):
    """A trunk of images. `depth`: channels of a token; `width`: of the feature."""

    depth: int
    width: int

    @abstractmethod
    def forward(self, pixels: Tensor, camids: Tensor, views: Tensor) -> Tensor:
        """Pixels (n, C, H, W), normalised as the model is told, cameras and views (n,) -> tokens (n, T, depth)."""

    @abstractmethod
    def feature(self, tokens: Tensor) -> Tensor:
        """Tokens (n, T, depth) -> (n, width)."""


@final
class VitBranch(Branch):
    """Side information enters behind the positions, in front of the blocks; tokens are those of the final norm."""

    def __init__(
        self,
        spec: VitBranchSpec,
        size: tuple[int, int],
        given: Pixels,
        *,
        cameras: int,
        views: int,
        seed: int,
        field: str = "model",
    ) -> None:
        """given: how the pixels are normalised that this branch is handed. field: where its spec stands."""
        super().__init__()
        self.trunk = backbones.vit(
            spec.backbone, image_size=size, stride=spec.stride, pretrained=spec.pretrained, seed=seed
        )
        self.depth = self.trunk.width
        self.sie = side_information(spec.sie, self.depth, cameras, views, seed, f"{field}.sie")
        self.adjust = _adjust(given, spec.pixels)
        self.windows = _windows(spec.windows, self.depth, self.trunk.embed.grid, seed, field)
        self.width = self.windows.width

    def forward(self, pixels: Tensor, camids: Tensor, views: Tensor) -> Tensor:
        """As in `Branch`."""
        tokens = self.sie(self.trunk.embed(self.adjust(pixels)), camids, views)
        return self.trunk.norm(self.trunk.blocks(tokens))  # type: ignore[no-any-return]

    def feature(self, tokens: Tensor) -> Tensor:
        """As in `Branch`."""
        return self.windows(tokens)  # type: ignore[no-any-return]


@final
class ClipBranch(Branch):
    """Side information enters behind the positions, in front of the first norm.

    Tokens are those of the last norm, and what the windows make of them is projected; or each is projected, and the
    windows run over that (`as_published`).
    """

    def __init__(
        self,
        spec: ClipBranchSpec,
        size: tuple[int, int],
        given: Pixels,
        *,
        cameras: int,
        views: int,
        seed: int,
        field: str = "model",
    ) -> None:
        """given, field: as for `VitBranch`."""
        super().__init__()
        clip = backbones.clip(spec.backbone, image_size=size, stride=spec.stride, pretrained=spec.pretrained, seed=seed)
        inner = clip.config.vision.transformer.width
        self.vision, self.projection = clip.vision, clip.vision_projection
        self.first = spec.tokens == "as_published"
        self.depth = clip.width if self.first else inner
        self.sie = side_information(spec.sie, inner, cameras, views, seed, f"{field}.sie")
        self.adjust = _adjust(given, spec.pixels)
        self.windows = _windows(spec.windows, self.depth, self.vision.embed.grid, seed, field)
        self.width = clip.width * (self.windows.width // self.depth)

    def forward(self, pixels: Tensor, camids: Tensor, views: Tensor) -> Tensor:
        """As in `Branch`."""
        tokens = self.sie(self.vision.embed(self.adjust(pixels)), camids, views)
        tokens = self.vision.norm(self.vision.blocks(self.vision.norm_pre(tokens)))
        return self.projection(tokens) if self.first else tokens  # type: ignore[no-any-return]

    def feature(self, tokens: Tensor) -> Tensor:
        """As in `Branch`."""
        found: Tensor = self.windows(tokens)
        if not self.first:
            found = self.projection(found.view(len(found), -1, self.depth)).flatten(1)
        return found


def _adjust(given: Pixels, wanted: Pixels) -> Renormalise | nn.Identity:
    return nn.Identity() if given == wanted else Renormalise(STATISTICS[given], STATISTICS[wanted])


def _windows(
    spec: WindowSpec | None, width: int, grid: tuple[int, int], seed: int, field: str
) -> WindowedToken | ClassToken:
    if spec is None:
        return ClassToken(width)
    return WindowedToken(width, grid, spec.windows(), seed=seed, field=f"{field}.windows")
