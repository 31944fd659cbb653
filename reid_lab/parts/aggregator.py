"""MambaPro's aggregator: the tokens of all modalities of a moment mixed by selective scans, and read as one feature.

Wang et al., AAAI 2025 (arXiv 2412.10707), "Mamba Aggregation"; what is not in the paper was read in a public fork of
the authors' code. A layer mixes the tokens of each modality by themselves, then all of them, one modality behind the
other. Each time: a linear map to a value and a gate, a depthwise convolution of 3x3 cells of the grid, a scan, the
gate, and a linear map back, added to the tokens. At the end the mean of an image's tokens stands beside its feature,
and a norm and a linear map of its modality make one of both.

A modality that a moment lacks is not there for the others: its tokens leave the state of the scan as it is.
"""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reid_lab.parts.scan import SelectiveStateSpace, Start
from reid_lab.parts.synergy import Gate
from reid_lab.parts.windows import Grid
from reid_lab.seeding import stream
from reid_lab.spec.section import Choice, Section, Tune


class MambaSpec(Section):
    """Selective scans over the tokens of all roles; sizes are the published ones.

    expand: the width of a scan, in widths of the tokens. both_ways: a second scan runs from the last token to the
    first. norm: of the convolution's channels at a token; `none`: as the weights of MambaPro are, once the BatchNorm
    that it has there is folded into the convolution. start: how the scans' weights begin (`SelectiveStateSpace`).
    gate: as published the linear map's result is the feature; `zero` adds it to the image's own, each channel times a
    gate that begins at 0.
    """

    kind: Literal["mamba"] = "mamba"
    layers: Annotated[int, Field(ge=1), Tune(1, 4)] = 2
    states: Annotated[int, Field(ge=1), Choice(4, 8, 16, 32)] = 16
    expand: Annotated[int, Field(ge=1), Choice(1, 2)] = 2
    both_ways: bool = False
    norm: Literal["layer", "none"] = "layer"
    start: Start = "s6"
    gate: Gate = "zero"


@final
class Neighbours(nn.Module):
    """A convolution of 3x3 cells for each channel, a norm over channels, and SiLU."""

    def __init__(self, width: int, grid: Grid, *, normed: bool) -> None:
        super().__init__()
        self.grid = grid
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width) if normed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, H'·W', D) -> (n, H'·W', D)."""
        found = self.conv(x.transpose(1, 2).reshape(len(x), -1, *self.grid)).flatten(2).transpose(1, 2)
        return F.silu(self.norm(found))


@final
class Mixing(nn.Module):
    """One half of a layer: the tokens of each modality mixed by a scan of its own, or all of them by one."""

    def __init__(
        self, spec: MambaSpec, width: int, grid: Grid, modalities: int, *, together: bool, seed: int, layer: int
    ) -> None:
        super().__init__()
        part = "together" if together else "apart"
        inner, rank, each = spec.expand * width, -(-width // 16), range(modalities)
        self.enter, self.near = nn.ModuleList(), nn.ModuleList()
        for number in each:
            with stream(seed, "aggregator", layer, part, "enter", number):
                self.enter.append(_linear(width, 2 * inner))
            with stream(seed, "aggregator", layer, part, "near", number):
                self.near.append(Neighbours(inner, grid, normed=spec.norm == "layer"))
        self.scans, self.back = nn.ModuleList(), nn.ModuleList()
        for scans, way in ((self.scans, "on"), (self.back, "back")):
            for number in each[:1] if together else each:
                if way == "on" or spec.both_ways:
                    with stream(seed, "aggregator", layer, part, way, number):
                        scans.append(SelectiveStateSpace(inner, spec.states, rank, spec.start))
        with stream(seed, "aggregator", layer, part, "leave"):
            self.leave = _linear(inner, width)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Tokens (groups, modalities, P, D), there (groups, modalities): 1 or 0 -> tokens of the same shape."""
        entered = [enter(tokens).chunk(2, dim=-1) for enter, tokens in zip(self.enter, x.unbind(1), strict=True)]
        values = [near(value) for near, (value, _) in zip(self.near, entered, strict=True)]
        gate = torch.stack([gate for _, gate in entered], dim=1)
        runs = torch.cat(values, dim=1).chunk(len(self.scans), dim=1)
        seen = there.repeat_interleave(x.shape[2], dim=1).chunk(len(self.scans), dim=1)
        mixed = torch.cat([self._scan(k, *run) for k, run in enumerate(zip(runs, seen, strict=True))], dim=1)
        return x + self.leave(mixed.view(gate.shape) * F.silu(gate))  # type: ignore[no-any-return]

    def _scan(self, number: int, tokens: Tensor, seen: Tensor) -> Tensor:
        found: Tensor = self.scans[number](tokens, seen)
        if len(self.back):
            found = found + self.back[number](tokens.flip(1), seen.flip(1)).flip(1)
        return found


@final
class Aggregator(nn.Module):
    """A feature of every image that has seen the tokens of its group's other modalities."""

    def __init__(self, spec: MambaSpec, width: int, feature: int, grid: Grid, modalities: int, *, seed: int) -> None:
        """width: of the tokens; feature: of what an image comes with, and of the result."""
        super().__init__()
        self.layers = nn.ModuleList(
            Mixing(spec, width, grid, modalities, together=together, seed=seed, layer=layer)
            for layer in range(spec.layers)
            for together in (False, True)
        )
        self.reduce = nn.ModuleList()
        for number in range(modalities):
            with stream(seed, "aggregator", "reduce", number):
                self.reduce.append(
                    nn.Sequential(nn.LayerNorm(feature + width), _linear(feature + width, feature, True))
                )
        self.gate = nn.Parameter(torch.zeros(feature)) if spec.gate == "zero" else None

    def forward(self, feature: Tensor, tokens: Tensor, route: Tensor, rows: Tensor) -> Tensor:
        """Features (n, F) and tokens (n, P, D) of images, their modalities and groups (n,) int64 -> (n, F).

        A group has at most one image of a modality.
        """
        groups, place = torch.unique(rows, return_inverse=True)
        x = tokens.new_zeros(len(groups), len(self.reduce), *tokens.shape[1:]).index_put((place, route), tokens)
        there = tokens.new_zeros(x.shape[:2]).index_put((place, route), tokens.new_ones(()))
        for layer in self.layers:
            x = layer(x, there)
        whole = torch.cat([feature, x[place, route].mean(dim=1).to(feature.dtype)], dim=1)
        found = torch.stack([reduce(whole) for reduce in self.reduce])[
            route, torch.arange(len(route), device=route.device)
        ]
        return found if self.gate is None else feature + self.gate * found


def _linear(inputs: int, outputs: int, bias: bool = False) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
