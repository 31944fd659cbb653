"""What MambaPro adds inside the blocks of a CLIP image tower: adapters beside the MLPs, and prompts of all modalities.

Wang et al., AAAI 2025 (arXiv 2412.10707); the authors' code at commit 6dc4cb7. Images of several modalities go through
the trunk in one pass, and each reads the prompts that its route, the number of its modality, names.
"""

from __future__ import annotations

from typing import Annotated, Literal, cast, final

import torch
from pydantic import Field
from torch import Tensor, nn

from reid_lab.parts.trunk import Blocks, PreNormBlock, quick_gelu
from reid_lab.seeding import stream
from reid_lab.spec.section import Section, Tune

Gate = Literal["as_published", "zero"]


class AdapterSpec(Section):
    """Parallel feed-forward adapters, `ratio` times as wide as the tokens (published: 2).

    gate: as published none, so that random weights disturb the pretrained trunk from the first step; `zero` multiplies
    each channel by a gate that begins at 0.
    """

    ratio: Annotated[float, Field(gt=0), Tune(0.25, 2.0, log=True)] = 2.0
    gate: Gate = "zero"


class PromptSpec(Section):
    """Prompt tokens of every modality in every block (published: 4); they begin at 0."""

    tokens: Annotated[int, Field(ge=1), Tune(1, 16, log=True)] = 4


@final
class Feedforward(nn.Module):
    """Two linear maps with a QuickGELU between them, weights normal with deviation .02, biases 0; a gate of 0."""

    def __init__(self, width: int, hidden: int, *, gated: bool = False) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(width)) if gated else 1.0
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        for layer in (self.fc1, self.fc2):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) -> (…, D)."""
        return self.gate * self.fc2(quick_gelu(self.fc1(x)))  # type: ignore[no-any-return]


@final
class Prompts(nn.Module):
    """The prompts of one block: `tokens` for each modality, those of the others through an adapter of theirs.

    An image's own prompts also carry what the block before made of its prompts, `transfer` of it added; the first block
    has nothing before it, and a single modality no others.
    """

    def __init__(self, width: int, modalities: int, tokens: int, *, first: bool, seed: int, layer: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.zeros(modalities, tokens, width))
        self.others = nn.ModuleList()
        for number in range(modalities if modalities > 1 else 0):
            with stream(seed, "prompts", layer, number):
                self.others.append(Feedforward(width, max(1, width // 2)))
        with stream(seed, "prompts", layer, "transfer"):
            self.transfer = None if first else Feedforward(width, max(1, width // 2))

    def forward(self, route: Tensor, last: Tensor | None) -> Tensor:
        """route (n,) int64, last (n, tokens, D) of the block before -> (n, modalities, tokens, D)."""
        found = self.tokens
        if len(self.others):
            adapted = torch.stack([other(own) for other, own in zip(self.others, self.tokens, strict=True)])
            own = torch.eye(len(self.tokens), dtype=torch.bool, device=route.device)[:, :, None, None]
            table = torch.where(own, found[None], (found + adapted)[None])
        else:
            table = found[None]
        prompts = table[route]
        if last is None or self.transfer is None:
            return prompts
        mine = torch.eye(len(self.tokens), device=route.device, dtype=last.dtype)[route]
        carried = last + self.transfer(last)
        return prompts + mine[:, :, None, None] * carried[:, None]  # type: ignore[no-any-return]


@final
class SynergisticBlocks(nn.Module):
    """Pre-norm blocks with adapters and prompts around them; the blocks themselves are handed in, and keep their names.

    Null for one of the two slots leaves the other; of each block the adapter stands beside the MLP and reads the same
    tokens, in front of the norm.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        modalities: int,
        *,
        adapter: AdapterSpec | None,
        prompt: PromptSpec | None,
        seed: int,
    ) -> None:
        super().__init__()
        self.adapters, self.prompts = nn.ModuleList(), nn.ModuleList()
        for layer in range(layers):
            if adapter is not None:
                hidden = max(1, round(adapter.ratio * width))
                with stream(seed, "adapter", layer):
                    self.adapters.append(Feedforward(width, hidden, gated=adapter.gate == "zero"))
            if prompt is not None:
                self.prompts.append(Prompts(width, modalities, prompt.tokens, first=layer == 0, seed=seed, layer=layer))

    def forward(self, blocks: Blocks, x: Tensor, route: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, T, D), route (n,) int64: their modalities -> those behind the last block, and in front of it."""
        length, before = x.shape[1], x
        last: Tensor | None = None
        for layer, module in enumerate(blocks):
            before = x
            if len(self.prompts):
                prompts = self.prompts[layer](route, last)
                x = torch.cat([x, prompts.flatten(1, 2)], dim=1)
            block = cast(PreNormBlock, module)
            x = x + block.attention(block.norm1(x))
            beside = self.adapters[layer](x) if len(self.adapters) else 0.0
            x = x + block.mlp(block.norm2(x)) + beside
            if len(self.prompts):
                last = x[:, length:].reshape(prompts.shape).mean(dim=1)
                x = x[:, :length]
        return x, before


@final
class PlainBlocks(nn.Module):
    """The empty slots of adapters and prompts."""

    def forward(self, blocks: Blocks, x: Tensor, route: Tensor) -> tuple[Tensor, Tensor]:
        """As in `SynergisticBlocks`; the route makes no difference."""
        before = x
        for block in blocks:
            before, x = x, block(x)
        return x, before
