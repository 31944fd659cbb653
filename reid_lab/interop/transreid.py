"""Checkpoints of TransReID's authors -> our `VitMultiscale`, by name; and timm's ViT, whose names they keep.

Source: github.com/damo-cv/TransReID at dec5504, `model/make_model.py` and `model/backbones/vit_pytorch.py`. Their
checkpoints know no windows: they fit a model whose slot is null. One with the jigsaw branch (JPM) keeps what it
trained of the last block and of the norm in a copy, `b1`, and leaves those under the usual names as they began.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from torch import Tensor, nn

from reid_lab.errors import CheckpointError
from reid_lab.parts.towers import VisionConfig
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.weights import Grid, Report, Source, Table, load, one

CLASSIFIER = ("identity.linear.weight", "neck.norm.num_batches_tracked")
SIE = ("vit.sie.embedding",)
IGNORE = (r"base\.(fc|head)\.(weight|bias)",)
"""The head of ImageNet, which the authors carry along and never use."""

_BLOCK = {
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_TRUNK = {
    "embed.class_token": one("cls_token", lead=2),
    "embed.positions": one("pos_embed", lead=1),
    "embed.conv.weight": one("patch_embed.proj.weight"),
    "embed.conv.bias": one("patch_embed.proj.bias"),
    "norm.weight": one("norm.weight"),
    "norm.bias": one("norm.bias"),
}


def timm_table(layers: int, ours: str = "", theirs: str = "") -> Table:
    """Our names of a `VitTrunk` under the prefix `ours` -> timm's under the prefix `theirs`."""
    table = dict(_TRUNK)
    for i in range(layers):
        for kind in ("weight", "bias"):
            table |= {f"blocks.{i}.{a}.{kind}": one(f"blocks.{i}.{b}.{kind}") for a, b in _BLOCK.items()}
    return {ours + a: Source(tuple(theirs + key for key in b.keys), b.transpose, b.lead) for a, b in table.items()}


def table(names: Iterable[str], layers: int) -> Table:
    """Our tensors of these names, those of a `VitMultiscale` with `layers` blocks, -> the authors'."""
    known: dict[str, Source] = dict(timm_table(layers, "vit.trunk.", "base."))
    known["vit.sie.embedding"] = one("base.sie_embed")
    known["identity.linear.weight"] = one("classifier.weight")
    known |= {f"neck.norm.{kind}": one(f"bottleneck.{kind}") for kind in _NECK}
    return {name: known[name] for name in names if name in known}


_NECK = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, `sie_embed` without its middle axis; of a checkpoint with JPM, the global branch in its place."""
    found = dict(tensors)
    last = depth(tensors, "base.") - 1
    for key in [key for key in tensors if re.match(r"b1\.[01]\.", key)]:
        place = f"base.blocks.{last}." if key.startswith("b1.0.") else "base.norm."
        found[place + key[len("b1.0.") :]] = found.pop(key)
    for key in ("sie_embed", "base.sie_embed"):
        if key in found and found[key].ndim == 3:
            found[key] = found[key][:, 0]
    return found


def depth(tensors: Mapping[str, Tensor], prefix: str = "") -> int:
    """How many blocks the tensors hold under `PREFIXblocks.`."""
    found = {int(m[1]) for key in tensors if (m := re.match(rf"{re.escape(prefix)}blocks\.(\d+)\.", key))}
    return max(found, default=-1) + 1


def read_config(tensors: Mapping[str, Tensor], heads: int | None = None, prefix: str = "base.") -> VisionConfig:
    """The configuration that the shapes of the tensors tell; `heads`, else one per 64 channels.

    LayerNorm's epsilon is timm's 1e-6; the side is that of a square position table of about as many cells.
    """
    wanted = [prefix + key for key in ("patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight")]
    missing = [key for key in wanted if key not in tensors]
    if missing:
        raise CheckpointError(f"not TransReID's layout of a ViT: missing {', '.join(missing)}")
    width, channels, patch, _ = tensors[wanted[0]].shape
    inner = TransformerConfig(
        width, depth(tensors, prefix), heads or max(1, width // 64), len(tensors[wanted[2]]), eps=1e-6
    )
    side = round((tensors[wanted[1]].shape[1] - 1) ** 0.5)
    return VisionConfig(inner, patch, side, channels)


def load_transreid(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    grid: Grid,
    *,
    may_differ: Collection[str] = CLASSIFIER + SIE,
    where: str = "the checkpoint",
) -> Report:
    """Fills a model without windows from the authors' tensors.

    grid: of the model's patches. A position table of another size is taken for a square and resized; a classifier
    for another number of identities and an embedding of other cameras keep their fresh weights (`may_differ`).
    What JPM trained beside the global branch is surplus, and an error: its features are no part of this model's.
    """
    names = list(model.state_dict())
    positions: dict[str, tuple[Grid | None, Grid]] = {"vit.trunk.embed.positions": (None, grid)}
    layers = depth(tensors, "base.")
    return load(
        model,
        renamed(tensors),
        table(names, layers),
        positions=positions,
        may_differ=may_differ,
        ignore=IGNORE,
        where=where,
    )
