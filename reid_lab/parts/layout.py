"""Where tokens lie: each in its own sequence, or shared by several, with no padding between them.

Attention alone looks at sequences; norms, projections and MLPs treat every token by itself. So a block
can hold each token once, in whatever order, if it is told how sequences are made of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class Layout(ABC):
    """How the tokens that a block is given make up the sequences that attend to themselves."""

    @abstractmethod
    def spread(self, x: Tensor) -> Tensor:
        """All tokens, (n, L, D) or (T, D) -> the sequences (m, L, D)."""

    @abstractmethod
    def collect(self, y: Tensor) -> Tensor:
        """The sequences (m, L, D) -> the tokens that leave the block."""

    @abstractmethod
    def kept(self, x: Tensor) -> Tensor:
        """All tokens -> those that leave the block."""


@final
class Padded(Layout):
    """Tokens that are sequences already, (n, L, D)."""

    def spread(self, x: Tensor) -> Tensor:
        """The tokens as they are."""
        return x

    def collect(self, y: Tensor) -> Tensor:
        """The tokens as they are."""
        return y

    def kept(self, x: Tensor) -> Tensor:
        """The tokens as they are."""
        return x


PADDED = Padded()


@final
@dataclass(frozen=True)
class Packed(Layout):
    """Tokens (T, D) of m sequences, each held once, however many sequences it stands in.

    `table` (m, L) int64 names the token at each position of each sequence (any, where nobody looks);
    `place` (T,) int64 says where in the flattened table each token stands.
    """

    table: Tensor
    place: Tensor

    def spread(self, x: Tensor) -> Tensor:
        """(T, D) -> (m, L, D)."""
        return x[self.table]

    def collect(self, y: Tensor) -> Tensor:
        """(m, L, D) -> (T, D)."""
        return y.flatten(0, 1)[self.place]

    def kept(self, x: Tensor) -> Tensor:
        """All of them, (T, D)."""
        return x


@final
@dataclass(frozen=True)
class Only(Layout):
    """A layout of which only some tokens leave the block, chosen by an index (k,) or a mask of its tokens."""

    layout: Layout
    tokens: Tensor

    def spread(self, x: Tensor) -> Tensor:
        """As in `layout`."""
        return self.layout.spread(x)

    def collect(self, y: Tensor) -> Tensor:
        """(m, L, D) -> (k, D)."""
        return self.layout.collect(y)[self.tokens]

    def kept(self, x: Tensor) -> Tensor:
        """The chosen tokens, (k, D)."""
        return self.layout.kept(x)[self.tokens]


def pack(whole: Tensor, ids: Tensor, ends: Tensor, twin: Tensor) -> Packed:
    """Sequences `whole` (n, L), in full, then `ids` (m, L) up to and with position `ends` (m,).

    The sequence `ids[twin[i]]` shares with `whole[i]` the tokens in front of their first difference, which a causal
    tower makes equal; `twin` (n,) names no sequence twice. The tokens of `whole` come first, row by row.
    """
    (n, length), device = whole.shape, ids.device
    position = torch.arange(length, device=device)
    shared = torch.zeros_like(ids, dtype=torch.bool)
    shared[twin] = (ids[twin] == whole).cumprod(dim=1).bool()
    own = (~shared & (position <= ends[:, None])).flatten().nonzero().flatten()

    of_whole = torch.arange(n * length, device=device).view(n, length)
    table = torch.zeros_like(ids)
    table[twin] = of_whole
    table.view(-1)[own] = n * length + torch.arange(len(own), device=device)
    place = torch.cat([of_whole.flatten(), n * length + own])
    return Packed(torch.cat([of_whole, table]), place)
