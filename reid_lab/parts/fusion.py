"""One feature of two: an image's and a text's.

The attention-gated form is T2IReID's. As published it attends over sequences of length 1, where the softmax is 1
whatever query and key say: attention is then the projection by V and O, and q and k never learn. The corrected
form attends from each feature to the other modality's tokens.

Every submodule draws its initial weights from a stream of its own, so that those which two forms share begin alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reid_lab.parts.heads import Classifier, NoClassifier
from reid_lab.parts.trunk import join_heads, split_heads
from reid_lab.seeding import stream
from reid_lab.spec.section import Choice, Section, Tune

Kind = Literal["as_published", "token_attention", "gate", "concat", "sum", "product"]
ATTENTIVE = ("as_published", "token_attention")
GATED = (*ATTENTIVE, "gate")


@final
@dataclass(frozen=True)
class Tokens:
    """What attention may look at: `values` (n, L, W); `mask` (n, L) bool is True at tokens that are there."""

    values: Tensor
    mask: Tensor | None = None


class Fusion(nn.Module, ABC):
    """Makes one feature of an image's and a text's.

    reads_tokens: tokens must be given. output: width of what comes out. dead: patterns of the own parameters that
    never get a gradient.
    """

    reads_tokens = False
    output: int
    dead: tuple[str, ...] = ()

    @abstractmethod
    def forward(
        self, image: Tensor, text: Tensor, image_tokens: Tokens | None = None, text_tokens: Tokens | None = None
    ) -> dict[str, Tensor]:
        """(n, D), (n, D) -> `fused` (n, output), and `image_weight` (n,), the image's share, where there is a gate."""


@final
class CrossModalAttention(nn.Module):
    """Multi-head attention from one feature to a sequence, with separate projections; attention is dropped out."""

    q: nn.Linear
    k: nn.Linear
    v: nn.Linear
    out: nn.Linear

    def __init__(self, width: int, heads: int, memory: int, dropout: float, *, key_bias: bool, seed: int, name: str):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads, self.dropout = heads, dropout
        for part, inward, bias in (
            ("q", width, True),
            ("k", memory, key_bias),
            ("v", memory, True),
            ("out", width, True),
        ):
            with stream(seed, name, part):
                setattr(self, part, _projection(inward, width, bias))

    def forward(self, x: Tensor, memory: Tokens) -> Tensor:
        """(n, D), n sequences -> (n, D)."""
        q, k, v = self.q(x[:, None]), self.k(memory.values), self.v(memory.values)
        q, k, v = (split_heads(t, self.heads) for t in (q, k, v))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if memory.mask is not None:
            scores = scores.masked_fill(~memory.mask[:, None, None, :], float("-inf"))
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        return self.out(join_heads(weights @ v))[:, 0]  # type: ignore[no-any-return]


@final
class Gate(nn.Module):
    """The shares of an image and a text, which sum to 1, and what becomes of their sum."""

    def __init__(self, width: int, output: int, dropout: float, seed: int) -> None:
        super().__init__()
        with stream(seed, "fusion", "gate"):
            self.hidden, self.shares = nn.Linear(2 * width, width), nn.Linear(width, 2)
        with stream(seed, "fusion", "fc"):
            self.fc = nn.Linear(width, output)
        self.norm = nn.LayerNorm(output)
        self.dropout = nn.Dropout(dropout)

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """(n, D), (n, D) -> `fused` (n, output), `image_weight` (n,)."""
        hidden = self.dropout(self.hidden(torch.cat([image, text], dim=1)).relu())
        shares = self.shares(hidden).softmax(dim=1)
        mixed = shares[:, :1] * image + shares[:, 1:] * text
        return {"fused": self.norm(self.fc(self.dropout(mixed))), "image_weight": shares[:, 0]}


@final
class AttentionGate(Fusion):
    """Each modality attends to the other, is added to itself and normalised; a gate mixes the two.

    memory: widths of the image's and the text's tokens; None: each attends to the other's feature alone, a
    sequence of length 1, as T2IReID does.
    """

    def __init__(
        self, width: int, output: int, *, heads: int, dropout: float, memory: tuple[int, int] | None, seed: int
    ) -> None:
        super().__init__()
        self.reads_tokens, self.output = memory is not None, output
        self.memory = _alone if memory is None else _tokens
        image, text = memory or (width, width)
        # The softmax does not see a bias of the keys: only a checkpoint of the published form has one.
        self.image_attn = CrossModalAttention(
            width, heads, text, dropout, key_bias=memory is None, seed=seed, name="fusion.image_attn"
        )
        self.text_attn = CrossModalAttention(
            width, heads, image, dropout, key_bias=memory is None, seed=seed, name="fusion.text_attn"
        )
        self.norm_image, self.norm_text = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gate = Gate(width, output, dropout, seed)
        if memory is None:
            self.dead = tuple(f"{side}_attn.{part}.*" for side in ("image", "text") for part in "qk")

    def forward(
        self, image: Tensor, text: Tensor, image_tokens: Tokens | None = None, text_tokens: Tokens | None = None
    ) -> dict[str, Tensor]:
        """As in `Fusion`."""
        to_text, to_image = self.memory(text, text_tokens), self.memory(image, image_tokens)
        attended = self.norm_image(self.image_attn(image, to_text) + image)
        return self.gate(attended, self.norm_text(self.text_attn(text, to_image) + text))  # type: ignore[no-any-return]


@final
class GateFusion(Fusion):
    """The gate without attention."""

    def __init__(self, width: int, output: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.output = output
        self.gate = Gate(width, output, dropout, seed)

    def forward(
        self, image: Tensor, text: Tensor, image_tokens: Tokens | None = None, text_tokens: Tokens | None = None
    ) -> dict[str, Tensor]:
        """As in `Fusion`."""
        return self.gate(image, text)  # type: ignore[no-any-return]


@final
class Concat(Fusion):
    """A projection of both, one behind the other, with a norm."""

    def __init__(self, width: int, output: int, seed: int) -> None:
        super().__init__()
        self.output = output
        with stream(seed, "fusion", "concat"):
            self.fc = nn.Linear(2 * width, output)
        self.norm = nn.LayerNorm(output)

    def forward(
        self, image: Tensor, text: Tensor, image_tokens: Tokens | None = None, text_tokens: Tokens | None = None
    ) -> dict[str, Tensor]:
        """As in `Fusion`."""
        return {"fused": self.norm(self.fc(torch.cat([image, text], dim=1)))}


@final
class Elementwise(Fusion):
    """Sum or product; without parameters."""

    def __init__(self, width: int, kind: Literal["sum", "product"]) -> None:
        super().__init__()
        self.output, self.kind = width, kind
        self.join = torch.add if kind == "sum" else torch.mul

    def forward(
        self, image: Tensor, text: Tensor, image_tokens: Tokens | None = None, text_tokens: Tokens | None = None
    ) -> dict[str, Tensor]:
        """As in `Fusion`."""
        return {"fused": self.join(image, text)}


@final
class NoFusion(Fusion):
    """The empty slot."""

    output = 0

    def forward(
        self, image: Tensor, text: Tensor, image_tokens: Tokens | None = None, text_tokens: Tokens | None = None
    ) -> dict[str, Tensor]:
        """Nothing."""
        return {}


def fusion(
    kind: Kind,
    width: int,
    *,
    output: int,
    heads: int = 4,
    dropout: float = 0.1,
    memory: tuple[int, int],
    seed: int,
) -> Fusion:
    """The fusion of features (n, width); `memory`: widths of the tokens of images and of texts.

    `sum` and `product` give features of `width`, whatever `output` says.
    """
    if kind in ATTENTIVE:
        seen = None if kind == "as_published" else memory
        return AttentionGate(width, output, heads=heads, dropout=dropout, memory=seen, seed=seed)
    if kind == "gate":
        return GateFusion(width, output, dropout, seed)
    return Concat(width, output, seed) if kind == "concat" else Elementwise(width, kind)  # type: ignore[arg-type]


class FusionSpec(Section):
    """A fusion, and the attention's heads and dropout where it has any."""

    kind: Kind = "token_attention"
    heads: Annotated[int, Field(ge=1), Choice(1, 2, 4, 8)] = 4
    dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.5)] = 0.1

    def build(self, width: int, memory: tuple[int, int], seed: int) -> Fusion:
        """The fusion of features (n, width) to such a feature; `memory`: widths of the tokens of images and texts."""
        return fusion(self.kind, width, output=width, heads=self.heads, dropout=self.dropout, memory=memory, seed=seed)


@final
class FusedFeature(nn.Module):
    """The fused feature, times a learnable scale, and a classifier that reads it or none."""

    def __init__(self, fusion: Fusion, identities: int | None, seed: int) -> None:
        super().__init__()
        self.fusion = fusion
        self.scale = nn.Parameter(torch.ones(1))
        self.head: Classifier | NoClassifier = NoClassifier()
        if identities is not None:
            with stream(seed, "fused.head"):
                self.head = Classifier(fusion.output, identities)

    def forward(self, image: Tensor, text: Tensor, image_tokens: Tokens, text_tokens: Tokens) -> dict[str, Tensor]:
        """Features (n, D) -> `fused` (n, output), `image_weight` (n,) of a gate, `fused_logits` of a classifier."""
        found = dict(self.fusion(image, text, image_tokens, text_tokens))
        found["fused"] = self.scale * F.normalize(found["fused"].float(), dim=1)
        found |= self.head(fused=found["fused"])
        return found


@final
class NotFused(nn.Module):
    """The empty slot of the fusion."""

    fusion: Fusion = NoFusion()

    def forward(self, image: Tensor, text: Tensor, image_tokens: Tokens, text_tokens: Tokens) -> dict[str, Tensor]:
        """Nothing."""
        return {}


def _alone(feature: Tensor, tokens: Tokens | None) -> Tokens:
    """A feature (n, D) as a sequence of length 1."""
    return Tokens(feature[:, None])


def _tokens(feature: Tensor, tokens: Tokens | None) -> Tokens:
    """The tokens, which must be there."""
    assert tokens is not None
    return tokens


def _projection(inward: int, outward: int, bias: bool) -> nn.Linear:
    """Xavier weights and no bias to begin with, as torch's own attention."""
    layer = nn.Linear(inward, outward, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
