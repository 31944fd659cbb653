"""What the tokens of an image trunk attend to, recomputed beside its forward pass.

Fused attention gives no weights, and `forward` is left as it is: hooks see what every attention is handed and compute
softmax(q kᵀ / √d) once more, with the same projections, adapters and masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from reid_lab.parts.layout import PADDED, Layout
from reid_lab.parts.modalities import ModalVision
from reid_lab.parts.tokenizers import PatchEmbedding
from reid_lab.parts.towers import ClipVision, VitTrunk
from reid_lab.parts.trunk import Attention, Blocks, project, split_heads


@final
@dataclass(frozen=True)
class ImageTrunk:
    """A trunk that turns images of one role into a class token and, row by row, patches.

    name: of the module in its model. embed: what makes the tokens. blocks: what they go through.
    """

    name: str
    embed: PatchEmbedding
    blocks: Blocks

    @property
    def patches(self) -> int:
        """How many patches an image has."""
        return self.embed.grid[0] * self.embed.grid[1]

    @property
    def cells(self) -> tuple[float, float, float, float]:
        """Where the grid lies on the image: left, right, bottom, top in pixels, each cell around its patch's middle."""
        (rows, columns), step, side = self.embed.grid, self.embed.conv.stride[0], self.embed.conv.kernel_size[0]
        edge = (side - step) / 2
        return edge, edge + columns * step, edge + rows * step, edge


def image_trunks(model: nn.Module, role: str) -> list[ImageTrunk]:
    """The trunks that read images of this role, in the order of the model's modules."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, ClipVision | VitTrunk):
            found.append(ImageTrunk(name, module.embed, module.blocks))
        elif isinstance(module, ModalVision) and role in module.tokenizers:
            tokenizer = module.tokenizers[role]
            assert isinstance(tokenizer.embed, PatchEmbedding)
            found.append(ImageTrunk(name, tokenizer.embed, module.blocks))
    return found


def weights(
    attention: Attention, x: Tensor, mask: Tensor | None = None, route: Tensor | None = None, layout: Layout = PADDED
) -> Tensor:
    """The weights (n, heads, L, L) of an attention over `x`, the arguments of its `forward`; rows sum to 1."""
    qkv = layout.spread(project(attention.qkv, x, route))
    q, k, _ = (split_heads(part, attention.heads) for part in qkv.chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], -torch.inf)
    if attention.causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    found: Tensor = scores.softmax(dim=-1)
    return found


@contextmanager
def recorded(blocks: Blocks) -> Iterator[list[Tensor]]:
    """Inside, every pass through the blocks adds the weights of each block to the list, in order; (n, heads, L, L)."""
    kept: list[Tensor] = []

    def hook(module: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        assert isinstance(module, Attention)
        kept.append(weights(module, *given, **named).float().cpu())

    owned = [module for module in blocks.modules() if isinstance(module, Attention)]
    handles = [module.register_forward_pre_hook(hook, with_kwargs=True) for module in owned]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def last_layer(layers: Sequence[Tensor], patches: int) -> Tensor:
    """What the class token looks at in the last block, the mean of its heads: (n, patches).

    A row sums to what is left beside the class token itself, and prompts behind the patches.
    """
    return layers[-1].mean(dim=1)[:, 0, 1 : 1 + patches]


def rollout(layers: Sequence[Tensor], patches: int) -> Tensor:
    """How much of each patch reaches the class token through all blocks: (n, patches).

    Abnar and Zuidema (2020), Quantifying attention flow in transformers, ACL, section 3: the product of
    (A + I) / 2, A the mean of a block's heads. Tokens behind the patches (prompts, new in each block) are left out, and
    rows made to sum to 1 again.
    """
    through: Tensor | None = None
    for layer in layers:
        mean = layer.mean(dim=1)[:, : 1 + patches, : 1 + patches]
        mean = mean / mean.sum(dim=-1, keepdim=True)
        step = (mean + torch.eye(1 + patches)) / 2
        through = step if through is None else step @ through
    assert through is not None
    return through[:, 0, 1:]
