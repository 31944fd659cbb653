"""Trunks alone: OpenAI's CLIP, ViT of timm and of Hugging Face, BERT. Each becomes a folder that a backbone may name.

Sources: github.com/openai/CLIP; github.com/huggingface/pytorch-image-models (timm), in `timm/models` the file
`vision_transformer.py`; github.com/huggingface/transformers. Besides, each becomes a run whose features are the
trunk's own: CLIP as `irra` without its heads, a ViT as `vit_multiscale` without windows, side information and
classifier. A BERT embeds no image: it becomes the text trunk of a `t2ireid` whose other parts are untrained.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from reid_lab.errors import CheckpointError
from reid_lab.interop import openai_clip, transreid
from reid_lab.interop.containers import Model
from reid_lab.interop.layout import Layout, Tensors, Told, Trunk, depth, shaped, square, table_image
from reid_lab.parts import backbones
from reid_lab.parts import huggingface as hf
from reid_lab.parts.towers import BertTrunk, ClipTrunk, VisionConfig, VitTrunk
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.weights import Grid, Source, Table, load, one

_ALONE = ("model.windows=null", "model.sie=null", "model.id=null")
_CLIP_SHAPES = {"visual.conv1.weight": 4, "visual.positional_embedding": 2, "token_embedding.weight": 2}
_HF_CLIP = "vision_model.embeddings.position_embedding.weight"
_HF_PATCHES = "embeddings.patch_embeddings.projection.weight"


def _under(ours: str, table: Table) -> dict[str, Source]:
    return {ours + name: source for name, source in table.items()}


def _fill(trunk: nn.Module, tensors: Tensors, table: Table) -> None:
    """Fills what fits; what does not is told by the import of the run, which reads the same tensors."""
    load(trunk, tensors, table, may_differ=list(trunk.state_dict()), ignore=(".*",))


# CLIP


def _clip_told(tensors: Tensors) -> Told:
    if _HF_CLIP in tensors:
        shaped(tensors, "Hugging Face's CLIP", {_HF_CLIP: 2})
    else:
        shaped(tensors, "OpenAI's CLIP", _CLIP_SHAPES)
    return Told(("model.mlm=null", "model.id=null"))


def _clip_table(config: object, tensors: Tensors) -> Table:
    return (hf.clip_table if _HF_CLIP in tensors else openai_clip.clip_table)(config)  # type: ignore[arg-type]


def _clip_positions(tensors: Tensors) -> str:
    return _HF_CLIP if _HF_CLIP in tensors else "visual.positional_embedding"


def _write_clip(path: Path, tensors: Tensors, model: Model | None, size: Grid) -> None:
    assert model is not None
    config = hf.clip_config(model.settings)
    trunk = ClipTrunk(config, table_image(tensors, _clip_positions(tensors), config.vision.patch, size))
    _fill(trunk, tensors, _clip_table(config, tensors))
    scale = tensors.get("logit_scale")
    more = {} if scale is None or scale.numel() != 1 else {"logit_scale": float(scale)}
    backbones.write_clip_folder(path, trunk, model.words, **more)


OPENAI_CLIP = Layout(
    title="OpenAI's CLIP (ViT), github.com/openai/CLIP, as the trunk of irra",
    architecture="irra",
    roles=("rgb", "caption"),
    image_size=(384, 128),
    told=_clip_told,
    table=lambda model, tensors: _under("trunk.", _clip_table(model.trunk.config, tensors)),
    positions=lambda model, tensors: {"trunk.vision.embed.positions": (None, model.trunk.vision.embed.grid)},
    ignore=(*openai_clip.IGNORE, *hf.CLIP_IGNORE),
    trunk=Trunk("model.backbone", "clip", _write_clip, beside=True, words=True),
)


# ViT


def _vit_layout(
    title: str,
    told: Callable[[Tensors], Told],
    table: Callable[[VisionConfig, Tensors], Table],
    renamed: Callable[[Tensors], Tensors],
    config: Callable[[Tensors, Model | None], VisionConfig],
    cells: str,
    ignore: tuple[str, ...],
    *,
    beside: bool,
) -> Layout:
    def write(path: Path, tensors: Tensors, model: Model | None, size: Grid) -> None:
        found = config(tensors, model)
        trunk = VitTrunk(found, table_image(tensors, cells, found.patch, size))
        _fill(trunk, tensors, table(found, tensors))
        backbones.write_vit_folder(path, trunk)

    return Layout(
        title=title,
        architecture="vit_multiscale",
        roles=("rgb",),
        image_size=(256, 128),
        told=told,
        table=lambda model, tensors: _under("vit.trunk.", table(model.vit.trunk.config, tensors)),
        positions=lambda model, tensors: {"vit.trunk.embed.positions": (None, model.vit.trunk.embed.grid)},
        ignore=ignore,
        renamed=renamed,
        trunk=Trunk("model.backbone", "vit", write, beside=beside),
    )


def _timm_told(tensors: Tensors) -> Told:
    shaped(tensors, "timm's ViT", {"patch_embed.proj.weight": 4, "pos_embed": 3, "blocks.0.mlp.fc1.weight": 2})
    return Told(_ALONE)


def _timm_config(tensors: Tensors, model: Model | None) -> VisionConfig:
    return transreid.read_config(tensors, prefix="") if model is None else hf.vit_config(model.settings)


TIMM_VIT = _vit_layout(
    "ViT of timm, github.com/huggingface/pytorch-image-models, as the trunk of vit_multiscale",
    _timm_told,
    lambda config, tensors: transreid.timm_table(config.transformer.layers),
    dict,
    _timm_config,
    "pos_embed",
    (r"(head|head_dist|fc|pre_logits\.fc)\.(weight|bias)",),
    beside=False,
)


def _bare_vit(tensors: Tensors) -> dict[str, Tensor]:
    return hf.bare(tensors, "vit.")


def _hf_told(tensors: Tensors) -> Told:
    shaped(tensors, "Hugging Face's ViT", {_HF_PATCHES: 4, "embeddings.position_embeddings": 3, "layernorm.weight": 1})
    return Told(_ALONE)


def _hf_config(tensors: Tensors, model: Model | None) -> VisionConfig:
    """Without `config.json`: one head per 64 channels, GELU, LayerNorm's epsilon 1e-12, as Google's ViTs."""
    if model is not None:
        return hf.vit_config(model.settings)
    width, channels, patch, _ = tensors[_HF_PATCHES].shape
    renamed = hf.is_renamed_vit(tensors)
    layers = depth(tensors, "layers" if renamed else "encoder.layer")
    name = "layers.0.mlp.fc1.weight" if renamed else "encoder.layer.0.intermediate.dense.weight"
    if name not in tensors:
        raise CheckpointError(f"not Hugging Face's ViT layout: missing {name}")
    inner = TransformerConfig(width, layers, max(1, width // 64), len(tensors[name]), eps=1e-12)
    return VisionConfig(inner, patch, square(tensors, "embeddings.position_embeddings"), channels)


HF_VIT = _vit_layout(
    "ViT of Hugging Face, github.com/huggingface/transformers, as the trunk of vit_multiscale",
    _hf_told,
    lambda config, tensors: hf.vit_table(config, renamed=hf.is_renamed_vit(tensors)),
    _bare_vit,
    _hf_config,
    "embeddings.position_embeddings",
    hf.VIT_IGNORE,
    beside=True,
)


# BERT


def _bert_told(tensors: Tensors) -> Told:
    shaped(tensors, "Hugging Face's BERT", {"embeddings.word_embeddings.weight": 2, "embeddings.LayerNorm.weight": 1})
    return Told(("model.cls=null", "model.fusion=null", "model.retrieval=single_modality"))


def _bert_table(model: nn.Module, tensors: Tensors) -> Table:
    known = _under("text.", hf.bert_table(model.text.config))  # type: ignore[arg-type,union-attr]
    return {**{name: one(f"(none for {name})") for name in model.state_dict()}, **known}


def _write_bert(path: Path, tensors: Tensors, model: Model | None, size: Grid) -> None:
    assert model is not None
    config = hf.bert_config(model.settings)
    trunk = BertTrunk(config, pad_id=model.settings.get("pad_token_id", 0))
    _fill(trunk, tensors, hf.bert_table(config))
    backbones.write_bert_folder(path, trunk, model.words)


HF_BERT = Layout(
    title="BERT of Hugging Face, github.com/huggingface/transformers, as the text trunk of t2ireid",
    architecture="t2ireid",
    roles=("rgb", "id_caption", "cloth_caption"),
    image_size=(224, 224),
    told=_bert_told,
    table=_bert_table,
    positions=lambda model, tensors: {},
    ignore=hf.BERT_IGNORE,
    renamed=lambda tensors: hf.bare(tensors, "bert."),
    fresh=lambda model: [name for name in model.state_dict() if not name.startswith("text.")],
    elsewhere=("vision.",),
    trunk=Trunk("model.text_backbone", "bert", _write_bert, beside=True, words=True),
)
