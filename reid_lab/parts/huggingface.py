"""Hugging Face folders of CLIP, ViT and BERT: configurations and key tables, without transformers.

Tables map our names to theirs (`weights.Table`) and serve reading and writing alike. ViT keys exist
in two generations; transformers 5 renamed the modules but still writes the old names to files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from reid_lab.errors import CheckpointError
from reid_lab.parts.towers import ClipConfig, TextConfig, VisionConfig
from reid_lab.parts.trunk import ACTIVATIONS, TransformerConfig
from reid_lab.parts.weights import Source, Table, one

POSITION_IDS = r"(.*\.)?position_ids"
CLIP_IGNORE = (POSITION_IDS, "logit_scale")
VIT_IGNORE = (r"pooler\..*", r"classifier\..*")
BERT_IGNORE = (POSITION_IDS, r"pooler\..*", r"cls\..*", r"classifier\..*")

# What transformers assumes where a config.json, which stores differences only, says nothing.
_CLIP_VISION = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_CLIP_TEXT = {"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 2048}
_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


def _transformer(config: Mapping[str, Any], eps: float, activation: str) -> TransformerConfig:
    name = config.get("hidden_act", activation)
    if name not in ACTIVATIONS:
        raise CheckpointError(f"config.json: hidden_act '{name}' is not supported; allowed: {', '.join(ACTIVATIONS)}")
    return TransformerConfig(
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp=config["intermediate_size"],
        activation=name,
        eps=config.get("layer_norm_eps", eps),
    )


def _vision(config: Mapping[str, Any], inner: TransformerConfig, patch: int) -> VisionConfig:
    patch = config.get("patch_size", patch)
    return VisionConfig(inner, patch, config.get("image_size", 224) // patch, config.get("num_channels", 3))


def clip_config(config: Mapping[str, Any]) -> ClipConfig:
    """The configuration in a CLIPModel's config.json."""
    vision = {**_CLIP_VISION, **config.get("vision_config", {})}
    text = {**_CLIP_TEXT, **config.get("text_config", {})}
    words = TextConfig(
        _transformer(text, 1e-5, "quick_gelu"), text.get("vocab_size", 49408), text.get("max_position_embeddings", 77)
    )
    images = _vision(vision, _transformer(vision, 1e-5, "quick_gelu"), 32)
    return ClipConfig(images, words, config.get("projection_dim", 512))


def vit_config(config: Mapping[str, Any]) -> VisionConfig:
    """The configuration in a ViTModel's config.json."""
    config = {**_BASE, **config}
    if not config.get("qkv_bias", True):
        raise CheckpointError("config.json: qkv_bias false is not supported")
    return _vision(config, _transformer(config, 1e-12, "gelu"), 16)


def bert_config(config: Mapping[str, Any]) -> TextConfig:
    """The configuration in a BertModel's config.json."""
    config = {**_BASE, **config}
    vocabulary, context = config.get("vocab_size", 30522), config.get("max_position_embeddings", 512)
    return TextConfig(_transformer(config, 1e-12, "gelu"), vocabulary, context)


def clip_settings(config: ClipConfig, side: int, logit_scale: float) -> dict[str, Any]:
    """The config.json of a CLIPModel whose stored position grid is `side` x `side`.

    `eos_token_id` 2 makes CLIPModel pool at the highest id, which is where our vocabularies end.
    """
    shared = {"projection_dim": config.projection}
    words = {"vocab_size": config.text.vocabulary, "max_position_embeddings": config.text.context}
    special = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    text = {"model_type": "clip_text_model", **shared, **_sizes(config.text.transformer), **words, **special}
    vision = {"model_type": "clip_vision_model", **shared, **_image_sizes(config.vision, side)}
    kind = {"architectures": ["CLIPModel"], "model_type": "clip", "logit_scale_init_value": logit_scale}
    return {**kind, **shared, "text_config": text, "vision_config": vision}


def vit_settings(config: VisionConfig, side: int) -> dict[str, Any]:
    """The config.json of a ViTModel whose stored position grid is `side` x `side`."""
    return {"architectures": ["ViTModel"], "model_type": "vit", **_image_sizes(config, side)}


def bert_settings(config: TextConfig, pad_id: int) -> dict[str, Any]:
    """The config.json of a BertModel."""
    words = {"vocab_size": config.vocabulary, "max_position_embeddings": config.context}
    special = {"type_vocab_size": 2, "pad_token_id": pad_id}
    return {"architectures": ["BertModel"], "model_type": "bert", **_sizes(config.transformer), **words, **special}


def _sizes(config: TransformerConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp,
        "hidden_act": config.activation,
        "layer_norm_eps": config.eps,
    }


def _image_sizes(config: VisionConfig, side: int) -> dict[str, Any]:
    image = {"image_size": side * config.patch, "patch_size": config.patch, "num_channels": config.channels}
    return {**_sizes(config.transformer), **image}


def _parameters(ours: str, theirs: str) -> dict[str, Source]:
    return {f"{ours}.{kind}": one(f"{theirs}.{kind}") for kind in ("weight", "bias")}


def _fused(ours: str, theirs: tuple[str, str, str]) -> dict[str, Source]:
    return {f"{ours}.{kind}": Source(tuple(f"{name}.{kind}" for name in theirs)) for kind in ("weight", "bias")}


def _clip_blocks(ours: str, theirs: str, layers: int) -> dict[str, Source]:
    table: dict[str, Source] = {}
    for i in range(layers):
        a, b = f"{ours}.{i}", f"{theirs}.{i}"
        table |= _fused(
            f"{a}.attention.qkv", (f"{b}.self_attn.q_proj", f"{b}.self_attn.k_proj", f"{b}.self_attn.v_proj")
        )
        table |= _parameters(f"{a}.attention.out", f"{b}.self_attn.out_proj")
        for name in ("1", "2"):
            table |= _parameters(f"{a}.norm{name}", f"{b}.layer_norm{name}")
            table |= _parameters(f"{a}.mlp.fc{name}", f"{b}.mlp.fc{name}")
    return table


def clip_table(config: ClipConfig) -> Table:
    """Our names of a `ClipTrunk` -> CLIPModel's."""
    return {
        "vision.embed.class_token": one("vision_model.embeddings.class_embedding"),
        "vision.embed.conv.weight": one("vision_model.embeddings.patch_embedding.weight"),
        "vision.embed.positions": one("vision_model.embeddings.position_embedding.weight"),
        "text.tokens.weight": one("text_model.embeddings.token_embedding.weight"),
        "text.positions": one("text_model.embeddings.position_embedding.weight"),
        "vision_projection.weight": one("visual_projection.weight"),
        "text_projection.weight": one("text_projection.weight"),
        **_parameters("vision.norm_pre", "vision_model.pre_layrnorm"),
        **_parameters("vision.norm", "vision_model.post_layernorm"),
        **_parameters("text.norm", "text_model.final_layer_norm"),
        **_clip_blocks("vision.blocks", "vision_model.encoder.layers", config.vision.transformer.layers),
        **_clip_blocks("text.blocks", "text_model.encoder.layers", config.text.transformer.layers),
    }


_OLD_VIT = {
    "attention.out": "attention.output.dense",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_NEW_VIT = {
    "attention.out": "attention.o_proj",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_BERT = {
    "attention.out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "norm2": "output.LayerNorm",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def _blocks(names: Mapping[str, str], prefix: str, qkv: tuple[str, str, str], layers: int) -> dict[str, Source]:
    table: dict[str, Source] = {}
    for i in range(layers):
        q, k, v = (f"{prefix}.{i}.attention.{name}" for name in qkv)
        table |= _fused(f"blocks.{i}.attention.qkv", (q, k, v))
        for ours, theirs in names.items():
            table |= _parameters(f"blocks.{i}.{ours}", f"{prefix}.{i}.{theirs}")
    return table


def vit_table(config: VisionConfig, *, renamed: bool = False) -> Table:
    """Our names of a `VitTrunk` -> ViTModel's: those in files, or those of transformers 5's modules (`renamed`)."""
    if renamed:
        blocks = _blocks(_NEW_VIT, "layers", ("q_proj", "k_proj", "v_proj"), config.transformer.layers)
    else:
        names = ("attention.query", "attention.key", "attention.value")
        blocks = _blocks(_OLD_VIT, "encoder.layer", names, config.transformer.layers)
    return {
        "embed.class_token": one("embeddings.cls_token", lead=2),
        "embed.positions": one("embeddings.position_embeddings", lead=1),
        **_parameters("embed.conv", "embeddings.patch_embeddings.projection"),
        **_parameters("norm", "layernorm"),
        **blocks,
    }


def bert_table(config: TextConfig) -> Table:
    """Our names of a `BertTrunk` -> BertModel's."""
    return {
        "tokens.weight": one("embeddings.word_embeddings.weight"),
        "positions": one("embeddings.position_embeddings.weight"),
        "segments": one("embeddings.token_type_embeddings.weight"),
        **_parameters("norm", "embeddings.LayerNorm"),
        **_blocks(_BERT, "encoder.layer", ("self.query", "self.key", "self.value"), config.transformer.layers),
    }


def bare(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Keys without the prefix of a task model (`vit.`, `bert.`), and with today's names of LayerNorm's two."""
    old = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
    named = {}
    for key, value in tensors.items():
        name = key.removeprefix(prefix)
        for before, now in old:
            name = name.replace(before, now)
        named[name] = value
    return named


def is_renamed_vit(keys: Collection[str]) -> bool:
    """Whether the keys are those of transformers 5's ViT modules."""
    return any(key.startswith("layers.") for key in keys)
