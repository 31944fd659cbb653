"""OpenAI's CLIP in its own layout (`visual.…`, `transformer.resblocks.…`), which IRRA and others keep.

Source: github.com/openai/CLIP, `clip/model.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from reid_lab.errors import CheckpointError
from reid_lab.parts.towers import ClipConfig, ClipTrunk, TextConfig, VisionConfig
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.weights import Report, Source, Table, load, one

IGNORE = ("logit_scale", "input_resolution", "context_length", "vocab_size", r".*\.attn_mask")
"""Entries that are no weights of a trunk: numbers that OpenAI's exporter stores, and the mask of causal attention."""


def block_table(ours: str, theirs: str, layers: int) -> dict[str, Source]:
    """Our pre-norm blocks -> `resblocks`; q, k and v are one tensor on both sides."""
    names = {"attention.out": "attn.out_proj", "norm1": "ln_1", "norm2": "ln_2", "mlp.fc1": "mlp.c_fc"}
    names["mlp.fc2"] = "mlp.c_proj"
    table: dict[str, Source] = {}
    for i in range(layers):
        for kind in ("weight", "bias"):
            table[f"{ours}.{i}.attention.qkv.{kind}"] = one(f"{theirs}.{i}.attn.in_proj_{kind}")
            table |= {f"{ours}.{i}.{a}.{kind}": one(f"{theirs}.{i}.{b}.{kind}") for a, b in names.items()}
    return table


def clip_table(config: ClipConfig, ours: str = "", theirs: str = "") -> Table:
    """Our names of a `ClipTrunk` under the prefix `ours` -> OpenAI's under the prefix `theirs`."""
    table = {
        "vision.embed.conv.weight": one("visual.conv1.weight"),
        "vision.embed.class_token": one("visual.class_embedding"),
        "vision.embed.positions": one("visual.positional_embedding"),
        "vision_projection.weight": one("visual.proj", transpose=True),
        "text.tokens.weight": one("token_embedding.weight"),
        "text.positions": one("positional_embedding"),
        "text_projection.weight": one("text_projection", transpose=True),
        **block_table("vision.blocks", "visual.transformer.resblocks", config.vision.transformer.layers),
        **block_table("text.blocks", "transformer.resblocks", config.text.transformer.layers),
    }
    norms = {"vision.norm_pre": "visual.ln_pre", "vision.norm": "visual.ln_post", "text.norm": "ln_final"}
    for kind in ("weight", "bias"):
        table |= {f"{a}.{kind}": one(f"{b}.{kind}") for a, b in norms.items()}
    return {ours + a: Source(tuple(theirs + key for key in b.keys), b.transpose, b.lead) for a, b in table.items()}


def read_config(tensors: Mapping[str, Tensor], heads: tuple[int, int] | None = None) -> ClipConfig:
    """The configuration that the shapes of OpenAI's tensors tell; `heads` (vision, text), else one per 64 channels."""
    wanted = (
        *("visual.conv1.weight", "visual.positional_embedding", "visual.proj"),
        *("token_embedding.weight", "positional_embedding", "text_projection"),
    )
    missing = [key for key in wanted if key not in tensors]
    if missing:
        raise CheckpointError(f"not OpenAI's CLIP layout of a ViT: missing {', '.join(missing)}")
    width, channels, patch, _ = tensors["visual.conv1.weight"].shape
    vocabulary, words = tensors["token_embedding.weight"].shape
    sides = heads or (width // 64, words // 64)

    def inner(prefix: str, channels: int, count: int) -> TransformerConfig:
        found = {m.group(1) for key in tensors if (m := re.match(rf"{re.escape(prefix)}\.(\d+)\.", key))}
        return TransformerConfig(channels, len(found), count, 4 * channels, "quick_gelu")

    side = round((len(tensors["visual.positional_embedding"]) - 1) ** 0.5)
    vision = VisionConfig(inner("visual.transformer.resblocks", width, sides[0]), patch, side, channels)
    text = TextConfig(inner("transformer.resblocks", words, sides[1]), vocabulary, len(tensors["positional_embedding"]))
    return ClipConfig(vision, text, tensors["text_projection"].shape[1])


def load_clip(trunk: ClipTrunk, tensors: Mapping[str, Tensor], where: str = "the checkpoint") -> Report:
    """Fills a trunk from OpenAI's tensors; the square position table is resized to the trunk's grid."""
    side = trunk.config.vision.side
    positions = {"vision.embed.positions": ((side, side), trunk.vision.embed.grid)}
    return load(trunk, tensors, clip_table(trunk.config), positions=positions, ignore=IGNORE, where=where)
