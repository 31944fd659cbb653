"""From the tokens of several modalities to one feature: ReID5o's feature mixture (Zuo et al., NeurIPS 2025,
arXiv:2506.09385; `mm_fusion` of its code).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_lab.contracts import Input
from reid_lab.parts.towers import initialise_blocks
from reid_lab.parts.trunk import Blocks, TransformerConfig, join_heads, quick_gelu, split_heads

Kinds = Mapping[str, Sequence[str]]
"""Kinds of queries: name -> the roles that make one up."""


@final
@dataclass(frozen=True)
class Read:
    """What a trunk made of one modality, of n items.

    feature: (n, D). tokens: (n, T, D), projected like the feature. place: (groups,) int64, the number of each
    group's item, -1 where it has none. mask: (n, T) bool, True where a token counts; None: all count.
    """

    feature: Tensor
    tokens: Tensor
    place: Tensor
    mask: Tensor | None = None


@final
@dataclass(frozen=True)
class Projected:
    """Queries, keys and values of n items, `qkv` (n, T, 3D), and their `mask` as in `Read`."""

    qkv: Tensor
    mask: Tensor | None

    def take(self, index: Tensor) -> Projected:
        """The items with these numbers, in this order."""
        return Projected(self.qkv[index], None if self.mask is None else self.mask[index])


def join(parts: Sequence[Projected], axis: int) -> Projected:
    """The same items' tokens behind one another (axis 1), or equally many tokens of other items (axis 0)."""
    qkv = torch.cat([part.qkv for part in parts], dim=axis)
    if all(part.mask is None for part in parts):
        return Projected(qkv, None)
    masks = [torch.ones_like(part.qkv[:, :, 0], dtype=torch.bool) if part.mask is None else part.mask for part in parts]
    return Projected(qkv, torch.cat(masks, dim=axis))


@final
class TokenFusion(nn.Module):
    """One attention over all tokens of a query without a residual, `depth` pre-norm blocks, a head, and the mean.

    Nothing tells a modality's tokens from another's, and their order does not matter. The projections of the
    attention are made once per modality and serve every combination; the head's last layer is linear, so that
    the mean of the tokens may be taken in front of it.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        config = TransformerConfig(width, depth, heads(width), 4 * width, "quick_gelu")
        self.heads = config.heads
        self.norm_in = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.blocks = Blocks(config)
        self.norm_out = nn.LayerNorm(width)
        self.head_dense = nn.Linear(width, width)
        self.head_norm = nn.LayerNorm(width)
        self.head_fc = nn.Linear(width, width)

        narrow, deep = width**-0.5, (2 * max(depth, 1)) ** -0.5
        initialise_blocks(self.blocks, config)
        nn.init.normal_(self.qkv.weight, std=narrow)
        nn.init.normal_(self.out.weight, std=narrow * deep)
        nn.init.normal_(self.head_dense.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(self.head_fc.weight, std=narrow * deep)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Projected) -> Tensor:
        """All tokens of n queries, those of one modality behind those of another -> (n, D) float32."""
        q, k, v = (split_heads(part, self.heads) for part in tokens.qkv.chunk(3, dim=-1))
        keys = None if tokens.mask is None else tokens.mask[:, None, None, :]
        x = self.out(join_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=keys)))
        x = self.norm_out(self.blocks(x, tokens.mask))
        x = self.head_norm(quick_gelu(self.head_dense(x)))
        return self.head_fc(_mean(x, tokens.mask)).float()  # type: ignore[no-any-return]

    def combine(self, reads: Mapping[str, Read], kinds: Kinds) -> dict[str, Input]:
        """The fused features of several kinds of queries, each of the groups that have all its modalities.

        A kind that no group is complete for is left out. Kinds of equally many tokens share a pass.
        """
        projected = {
            role: Projected(self.qkv(self.norm_in(read.tokens)), read.mask)
            for role, read in reads.items()
            if any(role in roles for roles in kinds.values())
        }
        passes: dict[int, list[tuple[str, Tensor, Projected]]] = {}
        for name, rows, items in complete(reads, kinds):
            tokens = join([projected[role].take(item) for role, item in items.items()], 1)
            passes.setdefault(tokens.qkv.shape[1], []).append((name, rows, tokens))
        found: dict[str, Input] = {}
        for together in passes.values():
            features = self(join([tokens for _, _, tokens in together], 0))
            counts = [len(rows) for _, rows, _ in together]
            for (name, rows, _), feature in zip(together, features.split(counts), strict=True):
                found[name] = Input(feature, rows)
        return {name: found[name] for name in kinds if name in found}


@final
class MeanDirection(nn.Module):
    """The empty slot of a fusion: the mean of the normalised features."""

    def combine(self, reads: Mapping[str, Read], kinds: Kinds) -> dict[str, Input]:
        """As `TokenFusion.combine`."""
        found = {}
        for name, rows, items in complete(reads, kinds):
            units = [F.normalize(reads[role].feature[item].float(), dim=1) for role, item in items.items()]
            found[name] = Input(torch.stack(units).mean(dim=0), rows)
        return found


def complete(reads: Mapping[str, Read], kinds: Kinds) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
    """Each kind that groups are complete for: its name, their rows (m,), and role -> the numbers (m,) of items."""
    for name, roles in kinds.items():
        if all(role in reads for role in roles):
            place = torch.stack([reads[role].place for role in roles])
            rows = torch.nonzero((place >= 0).all(dim=0)).flatten()
            if len(rows):
                yield name, rows, dict(zip(roles, place[:, rows], strict=True))


def places(rows: Tensor, groups: int) -> Tensor:
    """The number of each group's item (the last where it has several), or -1: (n,) -> (groups,) int64."""
    place = torch.full((groups,), -1, dtype=torch.int64, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)
    return place


def heads(width: int) -> int:
    """One head per 64 channels, as published; fewer where the width is no multiple of that."""
    return max(count for count in range(1, max(1, width // 64) + 1) if width % count == 0)


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of the tokens that count: (n, T, D) -> (n, D)."""
    if mask is None:
        return x.mean(dim=1)
    count = mask.unsqueeze(-1).to(x.dtype)
    return (x * count).sum(dim=1) / count.sum(dim=1)
