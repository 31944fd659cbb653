"""One feature of whichever modalities there are, and a module that looks across them.

Features stand in (B, M, D), a column for each modality; `present` (B, M) bool says which are there. Each
row has at least one, and an absent one has no part in anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_lab.contracts import Input
from reid_lab.errors import DataError, SpecError
from reid_lab.parts.towers import initialise_blocks
from reid_lab.parts.trunk import Blocks, TransformerConfig, join_heads, split_heads
from reid_lab.seeding import stream


def stacked(items: Sequence[Input | None], groups: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features of M modalities, each (n, D) with rows or None, as (B, M, D) float32 and `present` (B, M).

    Several items of a modality in one group are averaged.
    """
    columns, counts = [], []
    for item in items:
        total, count = torch.zeros(groups, width, device=device), torch.zeros(groups, device=device)
        if item is not None:
            total = total.index_add(0, item.rows, item.values.float())
            count = count.index_add(0, item.rows, torch.ones(len(item.rows), device=device))
        columns.append(total / count.clamp(min=1.0)[:, None])
        counts.append(count)
    return torch.stack(columns, dim=1), torch.stack(counts, dim=1) > 0


def check_present(present: Tensor, names: Sequence[str]) -> None:
    """Raises DataError when a row of `present` (B, M) is empty."""
    empty = torch.nonzero(~present.any(dim=1)).flatten().tolist()
    if empty:
        which = f"all {len(present)} groups" if len(empty) == len(present) else f"group {empty[0]}"
        more = f" and {len(empty) - 1} more" if 1 < len(empty) < len(present) else ""
        raise DataError(f"no input for {which}{more} of the batch; at least one of {', '.join(names)} is needed")


class SubsetFusion(nn.Module, ABC):
    """Makes one feature of any subset."""

    @abstractmethod
    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """(B, M, D), (B, M) -> (B, D)."""


@final
class MeanDirection(SubsetFusion):
    """The empty slot: the mean of directions, where no modality weighs more for being longer."""

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """As in `SubsetFusion`."""
        return _mean(F.normalize(features, dim=2), present)


@final
class Mean(SubsetFusion):
    """The mean of the features."""

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """As in `SubsetFusion`."""
        return _mean(features, present)


@final
class ConcatFusion(SubsetFusion):
    """All features side by side, zeros for absent ones, and which are there, through two layers; added to the mean."""

    def __init__(self, modalities: int, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(modalities * (width + 1), hidden)
        self.fc2 = nn.Linear(hidden, width)
        nn.init.normal_(self.fc2.weight, std=0.1 * hidden**-0.5)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """As in `SubsetFusion`."""
        there = present.to(features.dtype)
        beside = torch.cat([(features * there[:, :, None]).flatten(1), there], dim=1)
        return _mean(features, present) + self.fc2(F.gelu(self.fc1(beside)))  # type: ignore[no-any-return]


@final
class AttentionFusion(SubsetFusion):
    """A transformer block over the features that are there, and the mean of what comes out.

    The two projections that lead back begin small, so that the block begins near the plain mean.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        config = TransformerConfig(width, 1, heads, hidden)
        self.blocks = Blocks(config)
        initialise_blocks(self.blocks, config)
        with torch.no_grad():
            for name, value in self.blocks.named_parameters():
                if name.endswith(("out.weight", "fc2.weight")):
                    value.mul_(0.1)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """As in `SubsetFusion`."""
        return _mean(self.blocks(features, present), present)


def _mean(features: Tensor, present: Tensor) -> Tensor:
    there = present.to(features.dtype)
    return (features * there[:, :, None]).sum(dim=1) / there.sum(dim=1).clamp(min=1.0)[:, None]


@final
class Semantic(nn.Module):
    """The semantic module of CLIP+MER: self-attention, then a projection of two layers with a norm.

    form: `as_published` attends over each modality's feature by itself, a sequence of length 1, so that
    the softmax is 1 and q and k never learn; `modality_tokens` over the features of the group, where a bias
    of the keys would have no effect and is left out. residual: the result is added to the features.
    """

    def __init__(
        self,
        width: int,
        output: int,
        heads: int,
        *,
        form: Literal["as_published", "modality_tokens"],
        residual: bool,
        seed: int,
    ) -> None:
        super().__init__()
        if width % heads:
            raise SpecError(f"model.semantic.heads: {heads} heads do not divide a width of {width}")
        if residual and width != output:
            raise SpecError(f"model.semantic.residual: {output} channels cannot be added to {width}")
        self.heads, self.residual = heads, residual
        self.alone = form == "as_published"
        for name in ("q", "k", "v", "out"):
            with stream(seed, "semantic", name):
                weight = nn.init.xavier_uniform_(torch.empty(width, width))
                layer = nn.Linear(width, width, bias=name != "k" or self.alone)
            layer.weight = nn.Parameter(weight)
            for bias in layer.parameters():
                if bias.ndim == 1:
                    nn.init.zeros_(bias)
            self.add_module(name, layer)
        with stream(seed, "semantic", "projection"):
            self.fc1, self.norm, self.fc2 = nn.Linear(width, output), nn.LayerNorm(output), nn.Linear(output, output)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """(B, M, D), (B, M) -> (B, M, output)."""
        q, k, v = (split_heads(self.get_submodule(name)(features), self.heads) for name in "qkv")
        own = torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
        seen = own[None].expand(len(present), -1, -1) if self.alone else present[:, None, :] | own
        scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
        weights = scores.masked_fill(~seen[:, None], -torch.inf).softmax(dim=-1)  # of one token exactly 1
        x = self.get_submodule("out")(join_heads(weights.to(v.dtype) @ v))
        x = self.fc2(F.relu(self.norm(self.fc1(x))))
        return features + x if self.residual else x  # type: ignore[no-any-return]


@final
class NoSemantic(nn.Module):
    """The empty slot: features as they are."""

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """`features`."""
        return features
