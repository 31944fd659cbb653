"""Checkpoints of CLIP+MER's own code -> our `ClipMer`, by name.

Source: the design document alone, no code is public. It names `patch_embeds.{rgb,ir,cpencil,sketch}.proj`,
`vision_layers.{i}` of `MERLinear`s (`shared_linear`, `loras.MODALITY.lora_A`, `.lora_B`), `clip_model` (a Hugging Face
`CLIPModel`, whose 398 tensors it counts), `semantic_attn` and `semantic_proj`. It does not name the linear maps of
a block, the projections and the classifier: those are taken to be called as in `CLIPModel` (its blocks are filled
from CLIP's by `load_clip_block_weights`), or by one of the usual names in `_BLOCK`. The fusion is not described at all;
tensors under `fusion.` are read where they are ours. What else there is, is an unknown key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

import torch
from torch import Tensor

from reid_lab.errors import CheckpointError
from reid_lab.interop.layout import Tensors, Told, depth, needs, rows
from reid_lab.parts.huggingface import clip_table
from reid_lab.parts.towers import ClipConfig, TextConfig, VisionConfig
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.weights import Source, Table, one

ROLES = {"rgb": "rgb", "ir": "nir", "cpencil": "cpencil", "sketch": "sketch"}
"""The document's modality -> our role, in the order in which adapters are numbered."""
IGNORE = (
    r"clip_model\.vision_model\.(encoder\..*|embeddings\.patch_embedding\..*)",
    r"clip_model\.visual_projection\.weight",
    r"clip_model\.text_projection\.weight",
    r"clip_model\.logit_scale",
    r".*position_ids",
)
"""The trunk's blocks and patch embedding stand a second time in `clip_model`, whose own are not used."""

_ATTENTION, _MLP = ("self_attn.", "attn.", "attention.", ""), ("mlp.", "")
_BLOCK = {
    "q": ([*_ATTENTION], ("q_proj", "q", "query")),
    "k": ([*_ATTENTION], ("k_proj", "k", "key")),
    "v": ([*_ATTENTION], ("v_proj", "v", "value")),
    "out": ([*_ATTENTION], ("out_proj", "out", "proj")),
    "fc1": ([*_MLP], ("fc1",)),
    "fc2": ([*_MLP], ("fc2",)),
    "norm1": ([""], ("layer_norm1", "norm1", "ln_1")),
    "norm2": ([""], ("layer_norm2", "norm2", "ln_2")),
}
"""A part of a block -> the modules it may stand in and the names it may have; the first that is there counts."""
_PLACES = {"attention.qkv": ("q", "k", "v"), "attention.out": ("out",), "mlp.fc1": ("fc1",), "mlp.fc2": ("fc2",)}
_FIRST = "patch_embeds.rgb.proj.weight"


def renamed(tensors: Tensors) -> dict[str, Tensor]:
    """The tensors without the encoder's prefix, the blocks' parts and adapters as `table` knows them.

    `blocks.{i}.{part}.{kind}`; `blocks.{i}.{map}.lora_{down,up}` (places, M, r, …). A bias of a patch embedding that is
    zero, as CLIP has none, is left out.
    """
    first = next((key for key in tensors if key.endswith(_FIRST)), _FIRST)
    prefix = first.removesuffix(_FIRST)
    rest = {key.removeprefix(prefix): value for key, value in tensors.items()}
    for modality in ROLES:
        bias = rest.get(f"patch_embeds.{modality}.proj.bias")
        if bias is not None and not bool(bias.any()):
            del rest[f"patch_embeds.{modality}.proj.bias"]
    for i in range(depth(rest, "vision_layers")):
        where = f"vision_layers.{i}."
        found = {part: _name(rest, where, *choices) for part, choices in _BLOCK.items()}
        for part, name in found.items():
            for kind in ("weight", "bias"):
                key = next((k for k in (f"{name}.shared_linear.{kind}", f"{name}.{kind}") if k in rest), None)
                if key is not None:
                    rest[f"blocks.{i}.{part}.{kind}"] = rest.pop(key)
        for ours, maps in _PLACES.items():
            for side, letter in (("down", "A"), ("up", "B")):
                stack = _adapters(rest, [found[m] for m in maps], letter)
                if stack is not None:
                    rest[f"blocks.{i}.{ours}.lora_{side}"] = stack
    semantic = _semantic(rest)
    for kind in ("weight", "bias"):
        packed = rest.pop(f"{semantic}semantic_attn.in_proj_{kind}", None)
        if packed is not None:
            rest |= {f"semantic.{p}.{kind}": third for p, third in zip("qkv", packed.chunk(3), strict=True)}
    return rest


def _name(tensors: Tensors, where: str, places: Iterable[str], names: Iterable[str]) -> str:
    choices = [f"{where}{place}{name}" for place, name in product(places, names)]
    for choice in choices:
        if any(f"{choice}.{kind}" in tensors for kind in ("weight", "shared_linear.weight")):
            return choice
    return choices[0]


def _adapters(tensors: dict[str, Tensor], maps: list[str], letter: str) -> Tensor | None:
    """The adapters of these maps that are there, stacked (places, M, …); None where one is missing."""
    there = [m for m in maps if any(key.startswith(f"{m}.loras.") for key in tensors)]
    roles = modalities(tensors)
    keys = [[f"{m}.loras.{modality}.lora_{letter}.weight" for modality in roles] for m in there]
    if not there or any(key not in tensors for row in keys for key in row):
        return None
    turned = [[tensors[key] if letter == "A" else tensors[key].T for key in row] for row in keys]
    stack = torch.stack([torch.stack(row) for row in turned])
    for row in keys if letter == "B" else ():
        for key in row:
            del tensors[key]
            del tensors[key.replace("lora_B", "lora_A")]
    return stack


def modalities(tensors: Tensors) -> list[str]:
    """The modalities that have a patch embedding, in the order of `ROLES`."""
    return [name for name in ROLES if f"patch_embeds.{name}.proj.weight" in tensors]


def told(tensors: Tensors) -> Told:
    """Modalities and their channels, adapters, semantic module, classifier, of `renamed` tensors."""
    needs(tensors, "CLIP+MER", _FIRST, "blocks.0.q.weight", "clip_model.text_model.final_layer_norm.weight")
    there = modalities(tensors)
    grey = [ROLES[name] for name in there if tensors[f"patch_embeds.{name}.proj.weight"].shape[1] == 1]
    sets = [
        f"model.modalities=[{', '.join((*(ROLES[name] for name in there), 'caption'))}]",
        f"model.one_channel=[{', '.join(grey)}]",
        "model.fusion_dim=null",
        _mer(tensors),
    ]
    if _semantic(tensors) is None:
        sets.append("model.semantic=null")
    if not any(key.startswith("fusion.blocks.") for key in tensors):
        sets.append("model.fusion=null")
    identities = rows(tensors, "classifier.weight")
    if not identities:
        sets.append("model.id=null")
    return Told(tuple(sets), identities)


def _mer(tensors: Tensors) -> str:
    """The adapters: in the last layers that have some; alpha is 1, so that the scaling is 1 / rank."""
    layers = depth(tensors, "blocks")
    having = [i for i in range(layers) if any(f"blocks.{i}.{place}.lora_down" in tensors for place in _PLACES)]
    if not having:
        return "model.mer=null"
    if having != list(range(having[0], layers)):
        raise CheckpointError(f"adapters in layers {having} of {layers}: ours stand in the last ones")
    last = {place: tensors.get(f"blocks.{layers - 1}.{place}.lora_down") for place in _PLACES}
    targets: list[str] = []
    for place, down in last.items():
        if down is not None and len(down) != len(_PLACES[place]):
            raise CheckpointError("adapters in some of q, k, v: the document has them in all three")
        targets += _PLACES[place] if down is not None else ()
    rank = next(down for down in last.values() if down is not None).shape[2]
    told = f"rank: {rank}, scaling: {1 / rank}, layers: {len(having)}, targets: [{', '.join(targets)}]"
    return f"model.mer={{{told}}}"


def _semantic(tensors: Tensors) -> str | None:
    """The prefix of the semantic module, if there is one."""
    name = "semantic_attn.out_proj.weight"
    return next((key.removesuffix(name) for key in tensors if key.endswith(name)), None)


def table(tensors: Tensors, names: Iterable[str]) -> Table:
    """Our tensors of these names, those of a `ClipMer`, -> the document's, as `renamed` gives them."""
    inner = TransformerConfig(1, 0, 1, 1)
    words = TransformerConfig(1, depth(tensors, "clip_model.text_model.encoder.layers"), 1, 1)
    clip = clip_table(ClipConfig(VisionConfig(inner, 1, 1), TextConfig(words, 1, 1), 1))
    known = {name: _source(name, clip, tensors) for name in names}
    return {name: source for name, source in known.items() if source is not None}


def _clip(clip: Table, name: str) -> Source:
    source = clip[name]
    return Source(tuple(f"clip_model.{key}" for key in source.keys), source.transpose, source.lead)


def _source(name: str, clip: Table, tensors: Tensors) -> Source | None:
    head, _, rest = name.partition(".")
    semantic = _semantic(tensors) or ""
    theirs = {role: modality for modality, role in ROLES.items()}
    if name.startswith("vision.tokenizers."):
        role, _, part = rest.removeprefix("tokenizers.").partition(".")
        if part == "embed.conv.weight":
            return one(f"patch_embeds.{theirs[role]}.proj.weight") if role in theirs else None
        return _clip(clip, f"vision.{part}")
    if name.startswith("vision.blocks."):
        _, i, rest = rest.split(".", 2)
        place, _, kind = rest.rpartition(".")
        if kind.startswith("lora_"):
            return one(f"blocks.{i}.{place}.{kind}")
        parts = _PLACES.get(place, (place,))
        return Source(tuple(f"blocks.{i}.{part}.{kind}" for part in parts))
    if name in ("vision.projection.weight", "text.projection.weight"):
        own = {"vision": ("vision_projection.weight", "visual_projection.weight"), "text": ("text_projection.weight",)}
        there = next((key for key in own[head] if key in tensors), None)
        return one(there) if there else _clip(clip, f"{head}_projection.weight")
    if name.startswith("text.tower."):
        return _clip(clip, f"text.{rest.removeprefix('tower.')}")
    if name.startswith("vision.norm."):
        return _clip(clip, name)
    whole: Mapping[str, str] = {
        "semantic.out": f"{semantic}semantic_attn.out_proj",
        "semantic.fc1": f"{semantic}semantic_proj.0",
        "semantic.norm": f"{semantic}semantic_proj.1",
        "semantic.fc2": f"{semantic}semantic_proj.3",
        "identity.linear": "classifier",
    }
    owner, _, kind = name.rpartition(".")
    if owner in whole:
        return one(f"{whole[owner]}.{kind}")
    if owner in ("semantic.q", "semantic.k", "semantic.v"):
        return one(f"semantic.{owner[-1]}.{kind}")
    return one(name) if head == "fusion" else None
