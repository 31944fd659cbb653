"""The three pretrained trunks: CLIP (two towers and projections), ViT and BERT.

They compute what transformers' CLIPModel, ViTModel and BertModel compute, and are built here from
plain configurations with fresh weights; `backbones` fills in pretrained ones. Poolers and CLIP's
logit scale are no part of a trunk: they belong to the objectives that trained them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor, nn

from reid_lab.parts.layout import pack
from reid_lab.parts.tokenizers import PatchEmbedding
from reid_lab.parts.trunk import Blocks, PostNormBlock, TransformerConfig

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""The image normalisation of every published CLIP (red, green, blue; pixels in 0..1)."""


@final
@dataclass(frozen=True)
class VisionConfig:
    """A vision transformer; `side` is the grid side of the stored position table."""

    transformer: TransformerConfig
    patch: int
    side: int
    channels: int = 3


@final
@dataclass(frozen=True)
class TextConfig:
    """A text transformer over a vocabulary; `context` is the longest sequence."""

    transformer: TransformerConfig
    vocabulary: int
    context: int


@final
@dataclass(frozen=True)
class ClipConfig:
    """Two towers and the width of the space they share."""

    vision: VisionConfig
    text: TextConfig
    projection: int


class Tokenizer(Protocol):
    """Turns captions into token ids, and knows its special ids; `words` are the ids of ordinary tokens."""

    size: int
    pad_id: int
    mask_id: int
    start_id: int
    end_id: int
    words: range

    def __call__(self, texts: list[str], max_length: int) -> Tensor:
        """Captions -> ids (n, max_length) int64, padded with `pad_id`; the end token survives truncation."""


@final
class ClipVision(nn.Module):
    """CLIP's image tower: patches, norm, pre-norm blocks; `norm` is applied by `ClipTrunk.project_image`."""

    def __init__(self, config: VisionConfig, image_size: tuple[int, int], stride: int | None) -> None:
        super().__init__()
        inner = config.transformer
        self.embed = PatchEmbedding(
            image_size, config.patch, inner.width, stride=stride, channels=config.channels, bias=False
        )
        self.norm_pre = nn.LayerNorm(inner.width, eps=inner.eps)
        self.blocks = Blocks(inner)
        self.norm = nn.LayerNorm(inner.width, eps=inner.eps)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, C, H, W) -> (n, T, D)."""
        return self.blocks(self.norm_pre(self.embed(pixels)))  # type: ignore[no-any-return]


@final
class ClipText(nn.Module):
    """CLIP's causal text tower; `norm` is applied by `ClipTrunk.project_text`."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        inner = config.transformer
        self.tokens = nn.Embedding(config.vocabulary, inner.width)
        self.positions = nn.Parameter(torch.empty(config.context, inner.width))
        self.blocks = Blocks(inner, causal=True)
        self.norm = nn.LayerNorm(inner.width, eps=inner.eps)

    def forward(self, ids: Tensor, route: Tensor | None = None) -> Tensor:
        """(n, L) -> (n, L, D); L at most the context length, `route` as in `Blocks`."""
        return self.blocks(self.tokens(ids) + self.positions[: ids.shape[1]], route=route)  # type: ignore[no-any-return]

    def together(self, whole: Tensor, ids: Tensor, twin: Tensor) -> tuple[Tensor, Tensor]:
        """All tokens of `whole` (n, L) -> (n, L, D) and the end tokens of `ids` (m, L) -> (m, D), in one pass.

        No padding of `ids` is computed, and once only what `ids[twin[i]]` and `whole[i]` (twin: (n,)) begin with.
        """
        ends = ids.argmax(dim=1)
        layout = pack(whole, ids, ends, twin)
        x = self.tokens(torch.cat([whole, ids]).flatten()[layout.place])
        x = x + self.positions[layout.place % ids.shape[1]]
        last = layout.table[len(whole) :].gather(1, ends[:, None]).flatten()
        x = self.blocks.read(x, torch.cat([layout.table[: len(whole)].flatten(), last]), layout)
        return x[: whole.numel()].view(*whole.shape, x.shape[-1]), x[whole.numel() :]


@final
class ClipTrunk(nn.Module):
    """CLIP (Radford et al., 2021): image and text towers with linear projections into one space."""

    tokenizer: Tokenizer

    def __init__(self, config: ClipConfig, image_size: tuple[int, int], stride: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.width = config.projection
        self.vision = ClipVision(config.vision, image_size, stride)
        self.vision_projection = nn.Linear(config.vision.transformer.width, config.projection, bias=False)
        self.text = ClipText(config.text)
        self.text_projection = nn.Linear(config.text.transformer.width, config.projection, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """OpenAI's `initialize_parameters`, applied to the blocks of both towers; all biases zero."""
        initialise_blocks(self.vision.blocks, self.config.vision.transformer)
        initialise_blocks(self.text.blocks, self.config.text.transformer)
        scale = float(self.config.vision.transformer.width**-0.5)
        for tensor in (self.vision.embed.class_token, self.vision.embed.positions, self.vision_projection.weight):
            nn.init.normal_(tensor, std=scale)
        nn.init.normal_(self.text.tokens.weight, std=0.02)
        nn.init.normal_(self.text.positions, std=0.01)
        nn.init.normal_(self.text_projection.weight, std=float(self.config.text.transformer.width**-0.5))

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (n, C, H, W) -> (n, T, D) of the last block, the class token first."""
        return self.vision(pixels)  # type: ignore[no-any-return]

    def project_image(self, tokens: Tensor) -> Tensor:
        """Norm and projection of image tokens: (…, D) -> (…, projection)."""
        return self.vision_projection(self.vision.norm(tokens))  # type: ignore[no-any-return]

    def image_features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (n, C, H, W) -> (n, projection), the projected class token."""
        return self.project_image(self.image_tokens(pixels)[:, 0])

    def text_tokens(self, ids: Tensor) -> Tensor:
        """Token ids (n, L) -> (n, L, D) of the last block."""
        return self.text(ids)  # type: ignore[no-any-return]

    def project_text(self, tokens: Tensor) -> Tensor:
        """Norm and projection of text tokens: (…, D) -> (…, projection)."""
        return self.text_projection(self.text.norm(tokens))  # type: ignore[no-any-return]

    def text_features(self, ids: Tensor) -> Tensor:
        """Token ids (n, L) -> (n, projection): the projected end token, the one with the highest id."""
        return self.project_text(end_of_text(self.text_tokens(ids), ids))


def end_of_text(tokens: Tensor, ids: Tensor) -> Tensor:
    """The token at the highest id of each row, the end of the text: (n, L, D), (n, L) -> (n, D)."""
    return tokens[torch.arange(len(ids), device=ids.device), ids.argmax(dim=1)]


def initialise_blocks(blocks: Blocks, config: TransformerConfig) -> None:
    """OpenAI's scaled normal initialisation of pre-norm blocks; biases zero."""
    narrow, deep = float(config.width**-0.5), float((2 * max(config.layers, 1)) ** -0.5)
    deviations = {"qkv": narrow, "out": narrow * deep, "fc1": float((2 * config.width) ** -0.5), "fc2": narrow * deep}
    for name, layer in blocks.named_modules():
        kind = name.rpartition(".")[2]
        if kind in deviations and isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=deviations[kind])
            nn.init.zeros_(layer.bias)


@final
class VitTrunk(nn.Module):
    """ViT (Dosovitskiy et al., 2021): pre-norm blocks and a final norm."""

    def __init__(self, config: VisionConfig, image_size: tuple[int, int], stride: int | None = None) -> None:
        super().__init__()
        inner = config.transformer
        self.config = config
        self.width = inner.width
        self.embed = PatchEmbedding(image_size, config.patch, inner.width, stride=stride, channels=config.channels)
        self.blocks = Blocks(inner)
        self.norm = nn.LayerNorm(inner.width, eps=inner.eps)
        self.apply(_small_normal)
        for tensor in (self.embed.class_token, self.embed.positions):
            nn.init.trunc_normal_(tensor, std=0.02)

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (n, C, H, W) -> (n, T, D) after the final norm, the class token first."""
        return self.norm(self.blocks(self.embed(pixels)))  # type: ignore[no-any-return]

    def image_features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (n, C, H, W) -> (n, D), the class token."""
        return self.image_tokens(pixels)[:, 0]


@final
class BertTrunk(nn.Module):
    """BERT (Devlin et al., 2019): embeddings with a norm, post-norm blocks; padding is masked."""

    tokenizer: Tokenizer

    def __init__(self, config: TextConfig, pad_id: int = 0) -> None:
        super().__init__()
        inner = config.transformer
        self.config = config
        self.width = inner.width
        self.pad_id = pad_id
        self.tokens = nn.Embedding(config.vocabulary, inner.width)
        self.positions = nn.Parameter(torch.empty(config.context, inner.width))
        self.segments = nn.Parameter(torch.empty(2, inner.width))
        self.norm = nn.LayerNorm(inner.width, eps=inner.eps)
        self.blocks = Blocks(inner, block=PostNormBlock)
        self.apply(_small_normal)
        for tensor in (self.tokens.weight, self.positions, self.segments):
            nn.init.normal_(tensor, std=0.02)

    def text_tokens(self, ids: Tensor) -> Tensor:
        """Token ids (n, L) -> (n, L, D); all ids belong to the first segment."""
        x = self.norm(self.tokens(ids) + self.positions[: ids.shape[1]] + self.segments[0])
        return self.blocks(x, ids != self.pad_id)  # type: ignore[no-any-return]

    def text_features(self, ids: Tensor) -> Tensor:
        """Token ids (n, L) -> (n, D), the class token."""
        return self.text_tokens(ids)[:, 0]


def _small_normal(module: nn.Module) -> None:
    """Normal weights of deviation .02 and zero biases, as ViT and BERT start."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
