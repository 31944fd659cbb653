"""Checkpoints of MambaPro's authors -> our `ClipWindow` of rgb, nir and tir, by name.

Source: github.com/924973292/MambaPro at 6dc4cb7. What is known of that file layout is that it is bare, with the image
tower under `BACKBONE.base`, camera embeddings in `BACKBONE.cv_embed`, the aggregator in `AAM` and heads
`classifier(_fuse)` and `bottleneck(_fuse)`. The names below those were read in a public fork of the code
(github.com/Crdothebest/AboutReid at 58e3ebd, `modeling/`: `clip/model.py`, `make_model.py`, `fusion_part/AAM.py` and
`fusion_part/mamba.py`), and are assumed to be the authors'.

The authors' code makes every part, also those that its configuration leaves out, so that a file does not say which
of them were trained. Their values do: prompts and biases of adapters begin at exactly 0, and the neck behind the
aggregator has counted no batch. The aggregator's BatchNorm behind each convolution is folded into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product

import torch
from torch import Tensor

from reid_lab.interop.clipreid import vision_table
from reid_lab.interop.layout import Tensors, depth
from reid_lab.parts.weights import Source, Table, one

_BASE = "BACKBONE.base."
_BLOCKS = f"{_BASE}transformer.resblocks"
_SCAN = "AAM.ma_block.0.SSM_inter"
_PROMPTS = ("rgb", "nir", "tir")
_STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_PARTS = {"adapter_ffn": (0, 2), **dict.fromkeys(("adapter_transfer", "adapter_r", "adapter_n", "adapter_t"), (0, 3))}
_SIDES = ("r", "n", "t")
_NORM = ("weight", "bias", "running_mean", "running_var")
_EPS = 1e-5  # of torch's BatchNorm
_OTHERS = ("adapter_r", "adapter_n", "adapter_t")
_SCANS = {
    "read.weight": "x_proj.weight",
    "step.weight": "dt_proj.weight",
    "step.bias": "dt_proj.bias",
    "log_rate": "A_log",
    "skip": "D",
    "norm.weight": "out_norm.weight",
    "norm.bias": "out_norm.bias",
}

IGNORE = (
    r"BACKBONE\.base\.transformer\.resblocks\.\d+\.adapter_(transfer|r|n|t)\.[03]\.(weight|bias)",
    r"BACKBONE\.base\.transformer\.resblocks\.\d+\.adapter_ffn\.[02]\.(weight|bias)",
    r"BACKBONE\.base\.transformer\.resblocks\.\d+\.adapter_prompt",
    r"(BACKBONE\.)?(classifier|bottleneck)\.\w+",
    r"(classifier|bottleneck)_fuse\.\w+",
)
"""Parts that the authors' code makes whether its configuration reads them or not."""


def unread(aggregator: object) -> tuple[str, ...]:
    """Patterns of what a model without aggregator does not read."""
    return (r"AAM\..*",) if aggregator is None else ()


def renamed(tensors: Tensors) -> dict[str, Tensor]:
    """The tensors, a block's three prompts in one, `adapter_prompt` (3, tokens, D), and convolutions with their norm.

    `conv2d_r.0` and the BatchNorm `conv2d_r.1` behind it are one convolution, `conv2d_r`; so are those of n and t.
    """
    rest = dict(tensors)
    for i in range(depth(tensors, _BLOCKS)):
        keys = [f"{_BLOCKS}.{i}.adapter_prompt_{role}" for role in _PROMPTS]
        if all(key in rest for key in keys) and len({rest[key].shape for key in keys}) == 1:
            rest[f"{_BLOCKS}.{i}.adapter_prompt"] = torch.stack([rest.pop(key) for key in keys])
    for key in tensors:
        if found := re.fullmatch(r"(AAM\.ma_block\.\d+\.SSM_int(?:ra|er)\.conv2d_[rnt])\.0\.weight", key):
            _fold(rest, found[1])
    return rest


def _fold(tensors: dict[str, Tensor], name: str) -> None:
    """Replaces a convolution and the norm behind it by one convolution; leaves both where they do not fit."""
    keys = [f"{name}.0.weight", f"{name}.0.bias", *(f"{name}.1.{kind}" for kind in _NORM)]
    if not all(key in tensors for key in keys) or len({tensors[key].shape[:1] for key in keys}) > 1:
        return
    weight, bias, gain, shift, mean, var = (tensors.pop(key).double() for key in keys)
    tensors.pop(f"{name}.1.num_batches_tracked", None)
    factor = gain / (var + _EPS).sqrt()
    tensors[f"{name}.weight"] = (weight * factor.view(-1, *[1] * (weight.ndim - 1))).float()
    tensors[f"{name}.bias"] = ((bias - mean) * factor + shift).float()


def told(tensors: Tensors) -> tuple[str, ...]:
    """The slots that were trained, of `renamed` tensors: those whose values are not the exact zeros of the start."""
    prompts = _all(tensors, r"adapter_prompt")
    adapters = _all(tensors, r"adapter_ffn\.[02]\.bias")
    width = tensors[f"{_BASE}conv1.weight"].shape[0]
    hidden = tensors.get(f"{_BLOCKS}.0.adapter_ffn.0.weight")
    ratio = 2.0 if hidden is None else len(hidden) / width
    adapter = f"{{ratio: {ratio}, gate: as_published}}" if _trained(adapters) else "null"
    prompt = f"{{tokens: {prompts[0].shape[1]}}}" if _trained(prompts) else "null"
    return f"model.adapter={adapter}", f"model.prompt={prompt}", f"model.aggregator={_aggregator(tensors)}"


def _aggregator(tensors: Tensors) -> str:
    counted, rates = tensors.get("bottleneck_fuse.num_batches_tracked"), tensors.get(f"{_SCAN}.SSM_2_f.A_log")
    untrained = counted is not None and not bool(counted.any())
    if rates is None or untrained or rates.ndim != 2:
        return "null"
    width = tensors[f"{_BASE}proj"].shape[1]
    layers, both = depth(tensors, "AAM.ma_block"), f"{_SCAN}.SSM_2_b.A_log" in tensors
    sizes = f"layers: {layers}, states: {rates.shape[1]}, expand: {max(1, rates.shape[0] // width)}"
    return f"{{{sizes}, both_ways: {'true' if both else 'false'}, norm: none, gate: as_published}}"


def _all(tensors: Tensors, pattern: str) -> list[Tensor]:
    return [value for key, value in tensors.items() if re.fullmatch(rf"{re.escape(_BLOCKS)}\.\d+\.{pattern}", key)]


def _trained(values: Iterable[Tensor]) -> bool:
    return any(bool(value.any()) for value in values)


def table(names: Iterable[str]) -> Table:
    """Our tensors of these names, those of a `ClipWindow`, -> the authors', as `renamed` gives them."""
    own = list(names)
    layers = depth(dict.fromkeys(own), "vision.blocks")  # type: ignore[arg-type]
    known: dict[str, Source] = {**vision_table(layers, _BASE), "sie.embedding": one("BACKBONE.cv_embed")}
    for ours, before, behind in (("all", "", ""), ("shared", "BACKBONE.", ""), ("fused", "", "_fuse")):
        known[f"heads.{ours}.identity.linear.weight"] = one(f"{before}classifier{behind}.weight")
        for kind in _STATISTICS:
            known[f"heads.{ours}.neck.norm.{kind}"] = one(f"{before}bottleneck{behind}.{kind}")
    for i in range(layers):
        ours = f"synergy.prompts.{i}"
        known[f"{ours}.tokens"] = one(f"{_BLOCKS}.{i}.adapter_prompt")
        known |= _feedforward(f"synergy.adapters.{i}", i, "adapter_ffn")
        known |= _feedforward(f"{ours}.transfer", i, "adapter_transfer")
        for number, part in enumerate(_OTHERS):
            known |= _feedforward(f"{ours}.others.{number}", i, part)
    for layer in range(depth(dict.fromkeys(own), "aggregator.layers")):  # type: ignore[arg-type]
        known |= _mixing(f"aggregator.layers.{layer}", layer)
    for number, side in enumerate(_SIDES):
        for place, kind in product("01", ("weight", "bias")):
            known[f"aggregator.reduce.{number}.{place}.{kind}"] = one(f"AAM.linear_reduction_{side}.{place}.{kind}")
    return {name: known[name] for name in own if name in known}


def _mixing(ours: str, layer: int) -> dict[str, Source]:
    """Half a layer: ours count them all, apart and together in turn; theirs stand in pairs."""
    theirs = f"AAM.ma_block.{layer // 2}.{'SSM_inter' if layer % 2 else 'SSM_intra'}"
    found = {f"{ours}.leave.weight": one(f"{theirs}.out_proj.weight")}
    for number, side in enumerate(_SIDES):
        found[f"{ours}.enter.{number}.weight"] = one(f"{theirs}.in_proj_{side}.weight")
        found |= {f"{ours}.near.{number}.conv.{k}": one(f"{theirs}.conv2d_{side}.{k}") for k in ("weight", "bias")}
    for way, end in (("scans", "f"), ("back", "b")):
        for number, scan in enumerate(("2",) if layer % 2 else _SIDES):
            place = f"{theirs}.SSM_{scan}_{end}"
            found |= {f"{ours}.{way}.{number}.{a}": one(f"{place}.{b}") for a, b in _SCANS.items()}
    return found


def _feedforward(ours: str, block: int, part: str) -> dict[str, Source]:
    return {
        f"{ours}.fc{number}.{kind}": one(f"{_BLOCKS}.{block}.{part}.{place}.{kind}")
        for number, place in enumerate(_PARTS[part], 1)
        for kind in ("weight", "bias")
    }
