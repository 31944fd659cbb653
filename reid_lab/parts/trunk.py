"""Transformer blocks: pre-norm (CLIP, ViT), post-norm (BERT) and cross-attention.

Everything runs on `F.scaled_dot_product_attention` with one fused projection for q, k and v. Tensors
are (n, L, D): n items, L tokens, D channels.

`linear` is the factory of every projection, `(in, out) -> module`. A projection may also be a
`RoutedLinear` (`lora`), which treats each item by its `route`: (n,) int64, -1 for none, handed down
from `Blocks.forward`. Plain projections do not look at it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_lab.parts.layout import PADDED, Layout, Only

LinearFactory = Callable[[int, int], nn.Module]
Activation = Literal["gelu", "quick_gelu"]


@final
@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of one transformer: `mlp` is the hidden width, `eps` that of every LayerNorm."""

    width: int
    layers: int
    heads: int
    mlp: int
    activation: Activation = "gelu"
    eps: float = 1e-5


def quick_gelu(x: Tensor) -> Tensor:
    """x · sigmoid(1.702 x), the activation that OpenAI's CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": quick_gelu}
"""Exact GELU, not its tanh form: it is the faster one on a CPU."""


class RoutedLinear(nn.Module, ABC):
    """A projection that does something of its own to each item, by the item's route."""

    @abstractmethod
    def forward(self, x: Tensor, route: Tensor | None) -> Tensor:
        """(n, L, in) -> (n, L, out); `route` (n,) int64, -1 or None: the plain projection."""


def project(layer: nn.Module, x: Tensor, route: Tensor | None) -> Tensor:
    """What a projection, routed or not, makes of (n, L, in)."""
    return layer(x, route) if isinstance(layer, RoutedLinear) else layer(x)  # type: ignore[no-any-return]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(n, L, D) -> (n, heads, L, D / heads)."""
    n, length, width = x.shape
    return x.reshape(n, length, heads, width // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(n, heads, L, d) -> (n, L, heads · d)."""
    n, heads, length, depth = x.shape
    return x.transpose(1, 2).reshape(n, length, heads * depth)


@final
class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, section 3.2)."""

    def __init__(self, width: int, heads: int, *, causal: bool = False, linear: LinearFactory = nn.Linear) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.causal = causal
        self.qkv = linear(width, 3 * width)
        self.out = linear(width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, route: Tensor | None = None, layout: Layout = PADDED
    ) -> Tensor:
        """`x` (n, L, D) -> (n, L, D), or as `layout` has it; `mask` (n, L) bool: True where a key may be seen."""
        qkv = layout.spread(project(self.qkv, x, route))
        q, k, v = (split_heads(t, self.heads) for t in qkv.chunk(3, dim=-1))
        keys = None if mask is None else mask[:, None, None, :]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=keys, is_causal=self.causal)
        return project(self.out, layout.collect(join_heads(y)), route)


@final
class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another; q, k and v share one packed projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Queries `x` (n, L, D), keys and values `memory` (n, M, D) -> (n, L, D)."""
        width = x.shape[-1]
        q = F.linear(x, self.qkv.weight[:width], self.qkv.bias[:width])
        k, v = F.linear(memory, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, dim=-1)
        q, k, v = (split_heads(t, self.heads) for t in (q, k, v))
        return self.out(join_heads(F.scaled_dot_product_attention(q, k, v)))  # type: ignore[no-any-return]


@final
class Mlp(nn.Module):
    """Two projections with an activation between them."""

    def __init__(self, width: int, hidden: int, activation: Activation, *, linear: LinearFactory = nn.Linear) -> None:
        super().__init__()
        self.fc1 = linear(width, hidden)
        self.fc2 = linear(hidden, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, route: Tensor | None = None) -> Tensor:
        """(n, L, D) -> (n, L, D)."""
        return project(self.fc2, self.activation(project(self.fc1, x, route)), route)


@final
class PreNormBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): CLIP and ViT."""

    def __init__(self, config: TransformerConfig, *, causal: bool = False, linear: LinearFactory = nn.Linear) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.eps)
        self.attention = Attention(config.width, config.heads, causal=causal, linear=linear)
        self.norm2 = nn.LayerNorm(config.width, eps=config.eps)
        self.mlp = Mlp(config.width, config.mlp, config.activation, linear=linear)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, route: Tensor | None = None, layout: Layout = PADDED
    ) -> Tensor:
        """(n, L, D) -> (n, L, D); `mask` and `layout` as in `Attention`."""
        x = layout.kept(x) + self.attention(self.norm1(x), mask, route, layout)
        return x + self.mlp(self.norm2(x), route)  # type: ignore[no-any-return]


@final
class PostNormBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x)): BERT."""

    def __init__(self, config: TransformerConfig, *, causal: bool = False, linear: LinearFactory = nn.Linear) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads, causal=causal, linear=linear)
        self.norm1 = nn.LayerNorm(config.width, eps=config.eps)
        self.mlp = Mlp(config.width, config.mlp, config.activation, linear=linear)
        self.norm2 = nn.LayerNorm(config.width, eps=config.eps)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, route: Tensor | None = None, layout: Layout = PADDED
    ) -> Tensor:
        """(n, L, D) -> (n, L, D); `mask` and `layout` as in `Attention`."""
        x = self.norm1(layout.kept(x) + self.attention(x, mask, route, layout))
        return self.norm2(x + self.mlp(x, route))  # type: ignore[no-any-return]


@final
class Blocks(nn.ModuleList):
    """A stack of equal blocks."""

    def __init__(
        self,
        config: TransformerConfig,
        *,
        block: type[PreNormBlock] | type[PostNormBlock] = PreNormBlock,
        causal: bool = False,
        linear: LinearFactory = nn.Linear,
    ) -> None:
        super().__init__(block(config, causal=causal, linear=linear) for _ in range(config.layers))

    def forward(self, x: Tensor, mask: Tensor | None = None, route: Tensor | None = None) -> Tensor:
        """(n, L, D) -> (n, L, D); `mask` as in `Attention`, `route` as in `RoutedLinear`."""
        for block in self:
            x = block(x, mask, route)
        return x

    def read(self, x: Tensor, tokens: Tensor, layout: Layout = PADDED) -> Tensor:
        """`forward` at some tokens alone, (n, L, D) or (T, D) -> (k, D): the last block attends, and stops, at these.

        `tokens` is an index (k,) or a mask of the tokens.
        """
        if not len(self):
            return x[tokens]
        *before, last = self
        for block in before:
            x = block(x, layout=layout)
        return last(x, layout=Only(layout, tokens))  # type: ignore[no-any-return]
