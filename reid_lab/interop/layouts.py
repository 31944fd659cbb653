"""The projects whose checkpoints `reid-lab import` reads, by name."""

from __future__ import annotations

import re

from torch import nn

from reid_lab.interop import clip_mer, irra, reid5o, t2ireid, trunks, visual
from reid_lab.interop.layout import Layout, Positions, Tensors, Told, depth, needs, rows
from reid_lab.parts.huggingface import is_renamed_vit
from reid_lab.parts.weights import Table, one


def _irra_told(tensors: Tensors) -> Told:
    needs(tensors, "IRRA", "base_model.visual.conv1.weight", "base_model.token_embedding.weight")
    blocks = depth(tensors, "cross_modal_transformer.resblocks")
    mlm = f"model.mlm={{depth: {blocks}}}" if "mlm_head.fc.weight" in tensors else "model.mlm=null"
    identities = rows(tensors, "classifier.weight")
    return Told((mlm, f"model.id={1.0 if identities else 'null'}"), identities)


def _reid5o_told(tensors: Tensors) -> Told:
    needs(tensors, "ReID5o", "rgb_tokenizer.conv1.weight", "vision_encoder.proj")
    blocks = "vision_encoder.transformer.resblocks"
    layers = depth(tensors, blocks)
    adapted = [(key, m) for key in tensors if (m := re.fullmatch(rf"{blocks}\.(\d+)\.(.+)\.lora_down", key))]
    lora = "model.lora=null"
    if adapted:
        rank = tensors[adapted[0][0]].shape[2]
        last = layers - min(int(m[1]) for _, m in adapted)
        attention = ("q, k, v, out, " if any(m[2].startswith("attn") for _, m in adapted) else "") + "fc1, fc2"
        lora = f"model.lora={{rank: {rank}, scaling: {1 / rank}, layers: {last}, targets: [{attention}]}}"
    mixed = "cross_attn.in_proj_weight" in tensors
    fusion = f"{{depth: {depth(tensors, 'cross_modal_transformer.resblocks')}}}" if mixed else "null"
    identities = rows(tensors, "classifier.weight")
    classifier = () if identities else ("model.id=null",)
    return Told((lora, f"model.fusion={fusion}", *classifier), identities)


def _embeddings(model: nn.Module, grid: tuple[int, int]) -> Positions:
    """Every position table of a model whose trunk has this grid."""
    return {name: (None, grid) for name in model.state_dict() if name.endswith("embed.positions")}


def _t2ireid_told(tensors: Tensors) -> Told:
    found = t2ireid.split_attention(tensors)
    needs(found, "T2IReID", "id_projection.weight", "shared_mlp.weight", "image_mlp.7.weight")
    identities = rows(found, "id_classifier.weight")
    sets = [f"model.hidden={rows(found, 'shared_mlp.weight')}", f"model.output={rows(found, 'image_mlp.7.weight')}"]
    sets += [] if identities else ["model.cls=null"]
    sets += [] if "fusion.gate.0.weight" in found else ["model.fusion=null", "model.retrieval=single_modality"]
    return Told(tuple(sets), identities)


def _t2ireid_table(model: object, tensors: Tensors) -> Table:
    """The table of the note's modules; what serves a loss that it does not define stands for no key."""
    own = model.state_dict()  # type: ignore[attr-defined]
    renamed = is_renamed_vit([key.removeprefix("visual_encoder.") for key in tensors])
    known = t2ireid.table(model.vision.config, model.text.config, own, renamed=renamed)  # type: ignore[attr-defined]
    outside = [name for name in own if name not in known and name in _t2ireid_fresh(model)]
    return {**known, **{name: one(f"(none for {name})") for name in outside}}


def _t2ireid_fresh(model: object) -> list[str]:
    own = model.state_dict()  # type: ignore[attr-defined]
    return [name for name in own if name.startswith(t2ireid.OUTSIDE) or name.endswith("num_batches_tracked")]


def _grid(model: object) -> tuple[int, int]:
    """The grid of a model's only CLIP trunk."""
    grid: tuple[int, int] = model.trunk.vision.embed.grid  # type: ignore[attr-defined]
    return grid


LAYOUTS: dict[str, Layout] = {
    "irra": Layout(
        title="IRRA, github.com/anosorae/IRRA",
        architecture="irra",
        roles=("rgb", "caption"),
        image_size=(384, 128),
        told=_irra_told,
        table=lambda model, tensors: irra.table(
            model.trunk.config, depth(tensors, "cross_modal_transformer.resblocks")
        ),
        positions=lambda model, tensors: {"trunk.vision.embed.positions": (None, _grid(model))},
        ignore=irra.IGNORE,
    ),
    "reid5o": Layout(
        title="ReID5o, github.com/Zplusdragon/ReID5o_ORBench",
        architecture="reid5o",
        roles=("rgb", "nir", "cpencil", "sketch", "caption"),
        image_size=(384, 128),
        told=_reid5o_told,
        table=lambda model, tensors: reid5o.table(list(model.state_dict())),
        positions=lambda model, tensors: _embeddings(model, model.vision.tokenizers["rgb"].embed.grid),
        ignore=reid5o.IGNORE,
        renamed=reid5o.stacked,
    ),
    "t2ireid": Layout(
        title="T2IReID, by the names of its design note",
        architecture="t2ireid",
        roles=("rgb", "id_caption", "cloth_caption"),
        image_size=(224, 224),
        told=_t2ireid_told,
        table=_t2ireid_table,
        positions=lambda model, tensors: _embeddings(model, model.vision.embed.grid),
        ignore=t2ireid.IGNORE,
        renamed=t2ireid.split_attention,
        fresh=_t2ireid_fresh,
    ),
    "clip_mer": Layout(
        title="CLIP+MER, by the names of its design document",
        architecture="clip_mer",
        roles=("rgb", "nir", "cpencil", "sketch", "caption"),
        image_size=(224, 224),
        told=clip_mer.told,
        table=lambda model, tensors: clip_mer.table(tensors, list(model.state_dict())),
        positions=lambda model, tensors: _embeddings(model, model.vision.tokenizers["rgb"].embed.grid),
        ignore=clip_mer.IGNORE,
        renamed=clip_mer.renamed,
    ),
    "openai_clip": trunks.OPENAI_CLIP,
    "timm_vit": trunks.TIMM_VIT,
    "hf_vit": trunks.HF_VIT,
    "hf_bert": trunks.HF_BERT,
    "transreid": visual.TRANSREID,
    "clipreid": visual.CLIPREID,
    "mambapro": visual.MAMBAPRO,
}
