"""Checkpoints of ReID5o's authors -> our `Reid5o`, by name.

Source: github.com/Zplusdragon/ReID5o_ORBench at 952ab6b, `ReID5o/model/build.py`. A checkpoint without fusion,
adapters or classifier fits a model whose slot is null. Further adapters than those of the four modalities
of images, which the code makes when it is told to and never uses, are left.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from reid_lab.interop.openai_clip import read_config as clip_config
from reid_lab.parts.towers import ClipConfig
from reid_lab.parts.weights import Grid, Report, Source, Table, load, one

CLASSIFIER = ("identity.linear.weight", "identity.linear.bias")
TOKENIZERS = {"rgb": "rgb", "nir": "nir", "cpencil": "cp", "sketch": "sk"}
"""Our role -> the authors' name; in this order the adapters are numbered."""
IGNORE = (r"vision_encoder\..*\.loras_[AB]\.\d+", r"vision_encoder\..*_weight_withloras\.\d+\.\w+")

_NORMS = {
    "vision.norm": "vision_encoder.ln_post",
    "text.tower.norm": "clip_text_encoder.ln_final",
    "fusion.norm_in": "ln_pre",
    "fusion.norm_out": "ln_post",
    "fusion.out": "cross_attn.out_proj",
    "fusion.head_dense": "mm_head.dense",
    "fusion.head_norm": "mm_head.ln",
    "fusion.head_fc": "mm_head.fc",
    "identity.linear": "classifier",
}
_TOKENIZER = {
    "embed.conv.weight": "conv1.weight",
    "embed.class_token": "class_embedding",
    "embed.positions": "positional_embedding",
    "norm_pre.weight": "ln_pre.weight",
    "norm_pre.bias": "ln_pre.bias",
}
_BLOCKS = {
    "vision.blocks": "vision_encoder.transformer.resblocks",
    "text.tower.blocks": "clip_text_encoder.transformer.resblocks",
    "fusion.blocks": "cross_modal_transformer.resblocks",
}
_WHOLE = {
    "text.tower.tokens.weight": one("clip_text_encoder.token_embedding.weight"),
    "text.tower.positions": one("clip_text_encoder.positional_embedding"),
    "text.projection.weight": one("clip_text_encoder.text_projection", transpose=True),
    "vision.projection.weight": one("vision_encoder.proj", transpose=True),
    "fusion.qkv.weight": one("cross_attn.in_proj_weight"),
    "fusion.qkv.bias": one("cross_attn.in_proj_bias"),
}
_PARTS = {"norm1": "ln_1", "norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
_ADAPTED = {
    "attention.qkv": "attn.in_proj",
    "attention.out": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_LAYERS = {
    "attention.qkv.weight": "attn.in_proj_weight",
    "attention.qkv.bias": "attn.in_proj_bias",
    "attention.out.weight": "attn.out_proj.weight",
    "attention.out.bias": "attn.out_proj.bias",
    **{f"{a}.{kind}": f"{b}.{kind}" for kind in ("weight", "bias") for a, b in _PARTS.items()},
    **{f"{a}.{kind}": f"{b}.{kind}" for kind in ("lora_down", "lora_up") for a, b in _ADAPTED.items()},
}


def table(names: Iterable[str]) -> Table:
    """Our tensors of these names, those of a `Reid5o`, -> the authors', as `stacked` gives them."""
    found = {name: _source(name) for name in names}
    return {name: source for name, source in found.items() if source is not None}


def _source(name: str) -> Source | None:
    if name in _WHOLE:
        return _WHOLE[name]
    owner, _, kind = name.rpartition(".")
    if owner in _NORMS:
        return one(f"{_NORMS[owner]}.{kind}")
    if found := re.fullmatch(r"vision\.tokenizers\.(\w+)\.(.+)", name):
        return one(f"{TOKENIZERS[found[1]]}_tokenizer.{_TOKENIZER[found[2]]}") if found[1] in TOKENIZERS else None
    if found := re.fullmatch(r"(.+\.blocks|blocks)\.(\d+)\.(.+)", name):
        return one(f"{_BLOCKS[found[1]]}.{found[2]}.{_LAYERS[found[3]]}")
    return None


def stacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, the adapters of the four modalities of each projection in two: `lora_down` and `lora_up`.

    As our projections hold them: (places, 4, r, in) and (places, 4, r, out / places). The authors' adapters of the
    fused attention share one down-projection between q, k and v; ours have one each, here three times the same.
    """
    rest = dict(tensors)
    for key in sorted(tensors):
        if found := re.fullmatch(r"(.+\.c_(?:fc|proj))\.loras_A\.0", key):
            down, up = (_four(tensors, f"{found[1]}.loras_{side}.{{}}") for side in "AB")
            if down and up:
                rest[f"{found[1]}.lora_down"] = torch.stack(down)[None]
                rest[f"{found[1]}.lora_up"] = torch.stack([matrix.T for matrix in up])[None]
        elif found := re.fullmatch(r"(.+\.attn)\.(in|out)_proj_weight_withloras\.0\.lora_A_param", key):
            place = f"{found[1]}.{found[2]}_proj_weight_withloras.{{}}.lora_"
            up, down = _four(tensors, f"{place}A_param"), _four(tensors, f"{place}B_param")
            if down and up:
                parts = 3 if found[2] == "in" else 1
                shared = torch.stack([matrix.T for matrix in down])
                rest[f"{found[1]}.{found[2]}_proj.lora_down"] = shared.expand(parts, *shared.shape).clone()
                rest[f"{found[1]}.{found[2]}_proj.lora_up"] = torch.stack(torch.stack(up).chunk(parts, dim=-1))
    return rest


def _four(tensors: Mapping[str, Tensor], pattern: str) -> list[Tensor]:
    """The adapters 0 to 3; none when one is missing, which is then told as a missing key."""
    keys = [pattern.format(number) for number in range(len(TOKENIZERS))]
    return [tensors[key] for key in keys] if all(key in tensors for key in keys) else []


def read_config(tensors: Mapping[str, Tensor], heads: tuple[int, int] | None = None) -> ClipConfig:
    """The configuration of CLIP that the shapes of the tensors tell; `heads` as in `openai_clip.read_config`."""
    names = {"rgb_tokenizer.": "visual.", "vision_encoder.": "visual.", "clip_text_encoder.": ""}
    renamed = {
        new + key.removeprefix(old): value
        for key, value in tensors.items()
        for old, new in names.items()
        if key.startswith(old)
    }
    return clip_config(renamed, heads)


def load_reid5o(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    grid: Grid,
    *,
    may_differ: Collection[str] = CLASSIFIER,
    where: str = "the checkpoint",
) -> Report:
    """Fills a model from the authors' tensors.

    grid: of the model's patches. Position tables of another size are taken for squares and resized; a classifier
    for another number of identities keeps its fresh weights (`may_differ`).
    """
    names = list(model.state_dict())
    positions: dict[str, tuple[Grid | None, Grid]] = {
        name: (None, grid) for name in names if name.endswith("embed.positions")
    }
    return load(
        model,
        stacked(tensors),
        table(names),
        positions=positions,
        may_differ=may_differ,
        ignore=IGNORE,
        where=where,
    )
