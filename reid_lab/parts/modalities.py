"""One CLIP for several modalities: a tokenizer for each, one trunk, one pass for a batch of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Literal, final

import torch
from torch import Tensor, nn

from reid_lab.errors import DataError, unknown
from reid_lab.parts.tokenizers import PatchEmbedding
from reid_lab.parts.towers import ClipTrunk, end_of_text
from reid_lab.seeding import stream

Own = Literal["patches", "tokenizer"]
Grey = Literal["mean", "sum"]


@final
class ModalTokenizer(nn.Module):
    """A modality's own patch embedding, with the class token, positions and norm that CLIP puts around it.

    They are a modality's own, too (ReID5o), or those of all (CLIP+MER): the same tensors.
    """

    def __init__(self, embed: PatchEmbedding, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.embed = embed
        self.norm_pre = norm

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (n, C, H, W) -> (n, T, D)."""
        return self.norm_pre(self.embed(pixels))  # type: ignore[no-any-return]


@final
class ModalVision(nn.Module):
    """CLIP's image tower for the modalities `channels` (role -> channels of its patch embedding), in this order.

    own: what each has of its own: the `patches` alone, or the whole `tokenizer`. All start as CLIP's; a
    patch embedding of one channel as the `grey` mean of the three, or as their sum, which sees a grey image
    as CLIP sees its three equal channels. noise: deviation of the normal noise on every patch embedding
    but rgb's. Adapters (`lora.adapt(vision.blocks, vision.roles, …)`) are routed by the role.
    """

    def __init__(
        self,
        clip: ClipTrunk,
        channels: Mapping[str, int],
        *,
        own: Own = "patches",
        grey: Grey = "mean",
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.roles = tuple(channels)
        self.tokenizers = nn.ModuleDict()
        shared = clip.vision.embed, clip.vision.norm_pre
        for role, count in channels.items():
            embed, norm = deepcopy(shared)
            embed.conv = _convolution(embed.conv, count, grey)
            if own == "patches":
                embed.class_token, embed.positions = shared[0].class_token, shared[0].positions
                norm = shared[1]
            if role != "rgb" and noise:
                with stream(seed, "tokenizer", role), torch.no_grad():
                    embed.conv.weight.add_(torch.randn_like(embed.conv.weight), alpha=noise)
            self.tokenizers[role] = ModalTokenizer(embed, norm)
        self.blocks = clip.vision.blocks
        self.norm = clip.vision.norm
        self.projection = clip.vision_projection

    def forward(self, pixels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Normalised pixels role -> (n, C, H, W); tokens role -> (n, T, D) of the last block, the class token first.

        All go through the trunk in one pass. Raises DataError for a role without a tokenizer.
        """
        for role in pixels:
            if role not in self.tokenizers:
                raise DataError(unknown("modality", role, self.roles))
        if not pixels:
            return {}
        tokens = [self.tokenizers[role](images) for role, images in pixels.items()]
        counts = [len(found) for found in tokens]
        numbers = torch.tensor([self.roles.index(role) for role in pixels])
        route = numbers.repeat_interleave(torch.tensor(counts)).to(tokens[0].device, non_blocking=True)
        through = self.blocks(torch.cat(tokens), route=route).split(counts)
        return dict(zip(pixels, through, strict=True))

    def project(self, tokens: Tensor) -> Tensor:
        """Norm and projection of tokens: (…, D) -> (…, projection)."""
        return self.projection(self.norm(tokens))  # type: ignore[no-any-return]

    def features(self, pixels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Normalised pixels role -> (n, C, H, W); projected class tokens role -> (n, projection)."""
        return {role: self.project(tokens[:, 0]) for role, tokens in self(pixels).items()}


def _convolution(conv: nn.Conv2d, channels: int, grey: Grey) -> nn.Conv2d:
    """The convolution `conv` of three channels for as many as are wanted."""
    if channels == conv.in_channels:
        return conv
    if channels != 1:
        raise ValueError(f"a patch embedding has 1 channel or {conv.in_channels}, not {channels}")
    weight = conv.weight.detach()
    single = deepcopy(conv)
    single.in_channels = 1
    single.weight = nn.Parameter(weight.mean(1, keepdim=True) if grey == "mean" else weight.sum(1, keepdim=True))
    return single


@final
class ModalText(nn.Module):
    """CLIP's text tower with its projection; adapters of its blocks, where there are any, have route 0."""

    def __init__(self, clip: ClipTrunk) -> None:
        super().__init__()
        self.tower = clip.text
        self.projection = clip.text_projection

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (n, L) -> (n, L, D) of the last block."""
        return self.tower(ids, torch.zeros(len(ids), dtype=torch.int64, device=ids.device))  # type: ignore[no-any-return]

    def project(self, tokens: Tensor) -> Tensor:
        """Norm and projection of tokens: (…, D) -> (…, projection)."""
        return self.projection(self.tower.norm(tokens))  # type: ignore[no-any-return]

    def features(self, ids: Tensor) -> Tensor:
        """Token ids (n, L) -> (n, projection): the projected end token.

        The padding behind the longest caption is left out; no causal token sees it.
        """
        longest = int(ids.argmax(dim=1).max()) + 1 if len(ids) else ids.shape[1]
        ids = ids[:, :longest]
        return self.project(end_of_text(self(ids), ids))
