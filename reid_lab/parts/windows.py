"""Windows of several sizes over image tokens, pooled to one feature that strengthens the class token.

Sources: two design notes without a paper or code. As published a window is a convolution over `scale` consecutive
tokens (or `scale` x `scale` cells of their grid) with kernel = stride, followed by the mean over all windows: together
a linear map of the tokens. A nonlinearity before the pooling, overlapping windows, the pooling by maximum or attention
and windows over the grid make more of them; each is a choice of its own.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from reid_lab.errors import Advice, SpecError
from reid_lab.seeding import stream
from reid_lab.spec.section import Choice, Section, Tune

Kind = Literal["conv1d", "conv2d"]
Nonlinearity = Literal["as_published", "before_pooling"]
Pooling = Literal["mean", "max", "attention"]
Injection = Literal["add", "gated", "concat"]
Grid = tuple[int, int]

SCALES = (4, 8, 16)
PART = "windows"
"""The stream that initial weights are drawn from."""


@final
@dataclass(frozen=True)
class Windows:
    """Windows as plain values; `WindowSpec` tells what they mean."""

    scales: tuple[int, ...] | None = None
    kind: Kind = "conv1d"
    project: int | None = None
    nonlinearity: Nonlinearity = "before_pooling"
    overlap: float = 0.0
    pooling: Pooling = "mean"
    injection: Injection = "gated"


class WindowSpec(Section):
    """Multi-scale windows. `scales: null` is 4, 8 and 16; of `conv2d` those that the grid of tokens can hold.

    kind: windows over runs of tokens, or over the grid, the kernel clipped to it. project: null windows the tokens
    as they are (scheme 1); a number is the width that they are led to and back from (scheme 2; published: 768).
    nonlinearity: as published none; `before_pooling` a GELU of every window. overlap: the share of a window that the
    next one sees again. injection: the feature is added to the class token (published), added by a gate that begins
    at 0, or stands beside it.
    """

    scales: Annotated[tuple[int, ...] | None, Choice(None, (4,), (8,), (16,), (4, 8), (4, 16), (8, 16))] = None
    kind: Kind = "conv1d"
    project: Annotated[Annotated[int, Field(ge=1)] | None, Choice(None, 768)] = None
    nonlinearity: Nonlinearity = "before_pooling"
    overlap: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.75)] = 0.0
    pooling: Pooling = "mean"
    injection: Injection = "gated"

    @field_validator("scales")
    @classmethod
    def _sensible(cls, scales: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if scales is not None:
            check_scales(scales)
        return scales

    def windows(self) -> Windows:
        """The plain values."""
        return Windows(
            scales=self.scales,
            kind=self.kind,
            project=self.project,
            nonlinearity=self.nonlinearity,
            overlap=self.overlap,
            pooling=self.pooling,
            injection=self.injection,
        )


def check_scales(scales: tuple[int, ...]) -> None:
    """Raises ValueError, in one line, for no scale, one below 1, or one that is named twice."""
    low = [scale for scale in scales if scale < 1]
    if low:
        raise ValueError(f"a window of {low[0]} tokens: a scale must be 1 or above")
    if not scales or len(set(scales)) < len(scales):
        raise ValueError(f"name at least one scale, and each once; got {list(scales)}")


def window_size(scale: int, kind: Kind, grid: Grid, field: str = "model.windows") -> tuple[int, ...]:
    """The kernel of a scale: (scale,) tokens, or (min(scale, H'), min(scale, W')) cells of the grid.

    Raises:
        SpecError: the scale is below 1, or a 2-D window is larger than the grid both ways; `field` is named.
    """
    if scale < 1:
        raise SpecError(f"{field}.scales: a window of {scale} tokens: a scale must be 1 or above")
    if kind == "conv1d":
        return (scale,)
    if scale > max(grid):
        raise SpecError(
            f"{field}.scales: a {scale}x{scale} window is larger than the grid of {grid[0]}x{grid[1]} tokens both "
            f"ways; scales of 1 to {max(grid)} are possible, or kind conv1d"
        )
    return min(scale, grid[0]), min(scale, grid[1])


@final
class OneScale(nn.Module):
    """The windows of one scale over all tokens, pooled."""

    def __init__(self, width: int, size: tuple[int, ...], spans: tuple[int, ...], windows: Windows) -> None:
        """size: of the kernel. spans: the tokens along each axis; none may be shorter than the kernel's."""
        super().__init__()
        stride = tuple(max(1, round(side * (1.0 - windows.overlap))) for side in size)
        counts = [(span - side) // step + 1 for span, side, step in zip(spans, size, stride, strict=True)]
        self.spans = spans
        conv: nn.Conv1d | nn.Conv2d
        if len(size) == 1:
            conv = nn.Conv1d(width, width, size[0], stride=stride[0])
        else:
            conv = nn.Conv2d(width, width, (size[0], size[1]), stride=(stride[0], stride[1]))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.conv = conv
        self.curve: nn.Module = nn.GELU() if windows.nonlinearity == "before_pooling" else nn.Identity()
        # A single window needs no pooling: scores of it would learn nothing.
        self.pool = Mean() if math.prod(counts) == 1 else POOLS[windows.pooling](width)

    def forward(self, patches: Tensor) -> Tensor:
        """(n, N, D) -> (n, D)."""
        x = self.conv(patches.transpose(1, 2).reshape(len(patches), -1, *self.spans))
        return self.pool(self.curve(x).flatten(2))  # type: ignore[no-any-return]


@final
class Mean(nn.Module):
    """The mean over windows; also what stands for a run that is longer than the tokens."""

    def __init__(self, width: int = 0) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """(n, D, windows) -> (n, D)."""
        return x.mean(dim=2)


@final
class Max(nn.Module):
    """The maximum over windows, channel by channel."""

    def __init__(self, width: int = 0) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """(n, D, windows) -> (n, D)."""
        return x.amax(dim=2)


@final
class Attend(nn.Module):
    """The mean of all windows, weighted by a softmax over one learned score of each; at the start their plain mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(n, D, windows) -> (n, D)."""
        weights = torch.einsum("ndw,d->nw", x, self.score).softmax(dim=1)
        return torch.einsum("ndw,nw->nd", x, weights)


POOLS: dict[str, type[Mean] | type[Max] | type[Attend]] = {"mean": Mean, "max": Max, "attention": Attend}


@final
class TokenMean(nn.Module):
    """What a scale above the number of tokens falls back to, as published: the mean of the tokens."""

    def forward(self, patches: Tensor) -> Tensor:
        """(n, N, D) -> (n, D)."""
        return patches.mean(dim=1)


@final
class MultiScaleWindows(nn.Module):
    """Scheme 1: the windows of every scale, concatenated, through two linear maps with a ReLU between them.

    Every scale and the maps draw their initial weights from streams of their own, named by (seed, part); the biases of
    windows and of the first map, which the number of inputs would scale, begin at 0. A run longer than the tokens is
    replaced by their mean, with one warning for all such scales that names `field`.
    """

    def __init__(self, width: int, grid: Grid, windows: Windows, *, seed: int, field: str = "model.windows") -> None:
        super().__init__()
        scales = windows.scales or tuple(s for s in SCALES if windows.kind == "conv1d" or s <= max(grid)) or SCALES[:1]
        count = grid[0] * grid[1]
        spans = grid if windows.kind == "conv2d" else (count,)
        sizes = {scale: window_size(scale, windows.kind, grid, field) for scale in scales}
        long = [scale for scale, size in sizes.items() if windows.kind == "conv1d" and size[0] > count]
        if long:
            told = f"windows of {', '.join(map(str, long))} tokens over {count} tokens: the mean of all stands for them"
            warnings.warn(Advice(f"{field}.scales: {told}"), stacklevel=2)
        self.scales = nn.ModuleDict()
        for scale, size in sizes.items():
            with stream(seed, PART, scale):
                self.scales[str(scale)] = TokenMean() if scale in long else OneScale(width, size, spans, windows)
        with stream(seed, PART, "fuse_in"):
            self.fuse_in = nn.Linear(width * len(scales), width)
            nn.init.zeros_(self.fuse_in.bias)
        with stream(seed, PART, "fuse_out"):
            self.fuse_out = nn.Linear(width, width)

    def forward(self, patches: Tensor) -> Tensor:
        """Patch tokens (n, H'·W', D), without the class token -> (n, D)."""
        found = torch.cat([scale(patches) for scale in self.scales.values()], dim=1)
        return self.fuse_out(F.relu(self.fuse_in(found)))  # type: ignore[no-any-return]


@final
class ProjectedWindows(nn.Module):
    """Scheme 2: the tokens are led to another width, windowed there, and the feature is led back."""

    def __init__(self, width: int, grid: Grid, windows: Windows, *, seed: int, field: str = "model.windows") -> None:
        super().__init__()
        inner = windows.project or width
        with stream(seed, PART, "there"):
            self.there = nn.Sequential(nn.Linear(width, inner), nn.LayerNorm(inner), nn.ReLU(), nn.Linear(inner, inner))
        self.inner = MultiScaleWindows(inner, grid, windows, seed=seed, field=field)
        with stream(seed, PART, "back"):
            self.back = nn.Sequential(nn.Linear(inner, width), nn.LayerNorm(width))

    def forward(self, patches: Tensor) -> Tensor:
        """Patch tokens (n, H'·W', D) -> (n, D)."""
        return self.back(self.inner(self.there(patches)))  # type: ignore[no-any-return]


@final
class Add(nn.Module):
    """Class token + feature, as published."""

    def forward(self, first: Tensor, feature: Tensor) -> Tensor:
        """(n, D), (n, D) -> (n, D)."""
        return first + feature


@final
class Gated(nn.Module):
    """Class token + gate · feature, a gate for each channel; it begins at 0, where the trunk is left as it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, first: Tensor, feature: Tensor) -> Tensor:
        """(n, D), (n, D) -> (n, D)."""
        return first + self.gate * feature


@final
class Concat(nn.Module):
    """The feature beside the class token."""

    def forward(self, first: Tensor, feature: Tensor) -> Tensor:
        """(n, D), (n, D) -> (n, 2 D)."""
        return torch.cat([first, feature], dim=1)


@final
class WindowedToken(nn.Module):
    """The class token, strengthened by windows over the others; `width` is that of the result."""

    def __init__(self, width: int, grid: Grid, windows: Windows, *, seed: int, field: str = "model.windows") -> None:
        super().__init__()
        kind = MultiScaleWindows if windows.project is None else ProjectedWindows
        self.windows = kind(width, grid, windows, seed=seed, field=field)
        self.inject: Add | Gated | Concat = (
            Gated(width) if windows.injection == "gated" else Concat() if windows.injection == "concat" else Add()
        )
        self.width = 2 * width if windows.injection == "concat" else width

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, 1 + H'·W', D), the class token first -> (n, width)."""
        return self.inject(tokens[:, 0], self.windows(tokens[:, 1:]))  # type: ignore[no-any-return]


@final
class ClassToken(nn.Module):
    """The empty slot of windows: the class token as it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, T, D) -> (n, D)."""
        return tokens[:, 0]
