"""Low-rank adapters, one per modality, in the projections of a transformer: Hu et al., "LoRA", ICLR 2022.

A mixed batch goes through a projection once, and each item through the adapter that its route names.
All adapters of a projection stand in one tensor: one product makes the low-rank coordinates of all of
them, those of the others are set to 0, and one product, added to the plain projection in place, leads
back. An up-projection of 0, as at the start, therefore changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from reid_lab.errors import SpecError, unknown
from reid_lab.parts.trunk import Blocks, RoutedLinear
from reid_lab.seeding import stream
from reid_lab.spec.section import Choice, Section, Tune

ATTENTION = ("q", "k", "v", "out")
MLP = ("fc1", "fc2")
TARGETS = ATTENTION + MLP
"""The linear maps of a block; q, k and v are thirds of one fused projection, each with adapters of its own."""

_PLACES = {"attention.qkv": ("q", "k", "v"), "attention.out": ("out",), "mlp.fc1": ("fc1",), "mlp.fc2": ("fc2",)}


@final
@dataclass(frozen=True)
class Lora:
    """Adapters as plain values: the update is `scaling` · B A; `layers` counts from the end, None is all."""

    rank: int
    scaling: float
    dropout: float = 0.0
    layers: int | None = None
    targets: tuple[str, ...] = TARGETS


class LoraSpec(Section):
    """Low-rank adapters. `scaling` is alpha / rank, so that tuning the rank does not move the scale; an `alpha` of
    another project may be given in its stead."""

    rank: Annotated[int, Choice(2, 4, 8, 16, 32)] = 4
    scaling: Annotated[float, Field(gt=0), Tune(0.25, 2.0, log=True)] = 0.25
    alpha: Annotated[float, Field(gt=0)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.3)] = 0.0
    layers: Annotated[Literal["all"] | Annotated[int, Field(ge=1)], Choice("all", 1)] = "all"  # or the last n
    targets: Annotated[tuple[str, ...], Choice(ATTENTION, MLP, TARGETS)] = TARGETS

    @field_validator("rank")
    @classmethod
    def _some(cls, rank: int) -> int:
        if rank < 1:
            raise ValueError(f"a rank of {rank} adapts nothing; allowed: 1 and above, or null for no adapters")
        return rank

    @field_validator("targets")
    @classmethod
    def _known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            if target not in TARGETS:
                raise ValueError(unknown("adapter target", target, TARGETS))
        if not targets or len(set(targets)) < len(targets):
            raise ValueError(f"name at least one of {', '.join(TARGETS)}, and each once")
        return targets

    @model_validator(mode="after")
    def _one_scale(self) -> LoraSpec:
        # A resolved spec names every field, so that the default beside an alpha says nothing.
        default = type(self).model_fields["scaling"].default
        if self.alpha is not None and self.scaling not in (default, self.alpha / self.rank):
            raise ValueError(f"scaling is alpha / rank ({self.alpha / self.rank:g} here); give one of the two")
        return self

    def lora(self) -> Lora:
        """The plain values."""
        scaling = self.scaling if self.alpha is None else self.alpha / self.rank
        layers = None if self.layers == "all" else self.layers
        return Lora(self.rank, scaling, self.dropout, layers, self.targets)


@final
class LowRankLinear(RoutedLinear):
    """A linear map with M adapters; `weight` and `bias` are those of the plain one, under their own names.

    The output is of `of` equal parts (3 of a fused projection), of which those at `places` are adapted,
    each by itself. lora_down: (places, M, r, in), uniform as `nn.Linear`'s (Kaiming, a = √5), to be drawn
    by the caller; lora_up: (places, M, r, out / of), zero.
    """

    numbers: Tensor

    def __init__(self, base: nn.Linear, adapters: int, lora: Lora, places: Sequence[int] = (0,), of: int = 1) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.places, self.of = tuple(places), of
        self.scaling = lora.scaling
        self.dropout = nn.Dropout(lora.dropout)
        self.lora_down = nn.Parameter(torch.empty(len(self.places), adapters, lora.rank, base.in_features))
        self.lora_up = nn.Parameter(torch.zeros(len(self.places), adapters, lora.rank, base.out_features // of))
        self.register_buffer("numbers", torch.arange(adapters), persistent=False)

    def forward(self, x: Tensor, route: Tensor | None) -> Tensor:
        """(n, L, in) -> (n, L, out); `route` (n,) int64 numbers each item's adapter, -1: none."""
        if route is None:
            return F.linear(x, self.weight, self.bias)
        places, adapters, rank, width = self.lora_down.shape
        x = x.contiguous()
        y = F.linear(x.view(-1, width), self.weight, self.bias)
        low = F.linear(self.dropout(x), self.lora_down.view(-1, width))
        own = torch.eq(route[:, None], self.numbers)
        low = low.view(len(x), -1, places, adapters, rank) * own[:, None, None, :, None]
        y = y.addmm_(low.view(len(y), -1), self._up().to(y.dtype), alpha=self.scaling)
        return y.view(*x.shape[:-1], -1)

    def _up(self) -> Tensor:
        """All up-projections as one matrix (places · M · r, out), zero outside of each one's part."""
        if self.of == 1:
            return self.lora_up.flatten(0, 2)
        width = self.lora_up.shape[-1]
        rows = self.lora_up.flatten(1, 2)
        return torch.cat(
            [F.pad(up, (at * width, (self.of - 1 - at) * width)) for at, up in zip(self.places, rows, strict=True)]
        )

    def update(self, adapter: int) -> Tensor:
        """What an adapter adds to `weight`: (out, in)."""
        update = torch.zeros_like(self.weight)
        thirds = update.view(self.of, -1, self.weight.shape[1])
        for at, down, up in zip(self.places, self.lora_down, self.lora_up, strict=True):
            thirds[at] = self.scaling * (up[adapter].T @ down[adapter])
        return update


def adapt(blocks: Blocks, names: Sequence[str], lora: Lora, *, seed: int, part: str) -> None:
    """Gives the projections of `blocks` an adapter for each name; item of route i uses that of names[i].

    Weights keep their names and values. Every down-projection is drawn from a stream of its own, named by
    `part`, the adapter's name and the place, so that another modality, target or layer changes no other.
    Raises SpecError when more layers are asked for than there are.
    """
    count = len(blocks) if lora.layers is None else lora.layers
    if count > len(blocks):
        raise SpecError(f"adapters in the last {count} layers of a transformer that has {len(blocks)}")
    for layer in range(len(blocks) - count, len(blocks)):
        for path, maps in _PLACES.items():
            places = [i for i, name in enumerate(maps) if name in lora.targets]
            if not places:
                continue
            owner, _, last = path.partition(".")
            module = blocks[layer].get_submodule(owner)
            routed = LowRankLinear(getattr(module, last), len(names), lora, places, len(maps))
            for place, down in zip(places, routed.lora_down.detach(), strict=True):
                for name, matrix in zip(names, down, strict=True):
                    with stream(seed, part, name, layer, maps[place]):
                        nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))
            setattr(module, last, routed)
