"""Image retrieval's checkpoints: TransReID, CLIP-ReID, MambaPro. What their tensors tell, and which is which.

Published files say nothing of their configuration: not how far apart patches are cut (told by the position table and
the size of images), nor what camera and view embeddings count (`model.sie.of`), nor how images are normalised.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from reid_lab.interop import clipreid, mambapro, transreid
from reid_lab.interop.containers import CONFIG, Model
from reid_lab.interop.layout import Layout, Positions, Tensors, Told, Trunk, rows, shaped, square
from reid_lab.parts import huggingface as hf
from reid_lab.parts.weights import Grid, Table


def _transreid_told(tensors: Tensors) -> Told:
    shaped(
        tensors,
        "TransReID",
        {"base.patch_embed.proj.weight": 4, "base.pos_embed": 3, "base.blocks.0.mlp.fc1.weight": 2},
    )
    identities, sides = rows(tensors, "classifier.weight"), rows(tensors, "base.sie_embed")
    sets = ["model.pretrained=false", "model.windows=null", f"model.id={1.0 if identities else 'null'}"]
    sets += [f"model.neck={'true' if 'bottleneck.weight' in tensors else 'false'}"] if identities else []
    sets += [] if sides else ["model.sie=null"]
    return Told(tuple(sets), identities, sides)


def _transreid_table(model: nn.Module, tensors: Tensors) -> Table:
    return transreid.table(model.state_dict(), len(model.vit.trunk.blocks))  # type: ignore[union-attr,arg-type]


def _write_config(path: Path, tensors: Tensors, model: Model | None, size: Grid) -> None:
    """The configuration alone: the run's checkpoint has the weights."""
    config = transreid.read_config(tensors) if model is None else hf.vit_config(model.settings)
    path.mkdir(parents=True, exist_ok=True)
    settings = hf.vit_settings(config, square(tensors, "base.pos_embed"))
    (path / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _clip_told(tensors: Tensors, name: str, prefix: str, side: str) -> Told:
    ranks = {f"{prefix}conv1.weight": 4, f"{prefix}positional_embedding": 2, f"{prefix}proj": 2}
    shaped(tensors, name, ranks)
    identities, sides = rows(tensors, "classifier.weight"), rows(tensors, side)
    sets = ["model.pretrained=false", "model.windows=null", "model.tokens=before_projection"]
    sets += [] if identities else ["model.id=null", "model.smoothing=0.0"]
    sets += [] if sides else ["model.sie=null"]
    return Told(tuple(sets), identities, sides)


def _clipreid_told(tensors: Tensors) -> Told:
    found = _clip_told(tensors, "CLIP-ReID", "image_encoder.", "cv_embed")
    slots = ("model.adapter=null", "model.prompt=null", "model.aggregator=null")
    own = ("model.roles=[rgb]", "model.features=clip_reid", *slots)
    return Told((*found.sets, *own), found.identities, found.sides)


def _mambapro_told(tensors: Tensors) -> Told:
    found = _clip_told(tensors, "MambaPro", "BACKBONE.base.", "BACKBONE.cv_embed")
    own = ("model.roles=[rgb, nir, tir]", "model.features=projected", *mambapro.told(tensors))
    return Told((*found.sets, *own), found.identities, found.sides)


def _positions(model: nn.Module, tensors: Tensors) -> Positions:
    return {clipreid.POSITIONS: (None, model.vision.embed.grid)}  # type: ignore[union-attr,dict-item]


TRANSREID = Layout(
    title="TransReID, github.com/damo-cv/TransReID",
    architecture="vit_multiscale",
    roles=("rgb",),
    image_size=(256, 128),
    told=_transreid_told,
    table=_transreid_table,
    positions=lambda model, tensors: {"vit.trunk.embed.positions": (None, model.vit.trunk.embed.grid)},
    ignore=transreid.IGNORE,
    renamed=transreid.renamed,
    patches=("base.pos_embed", "base.patch_embed.proj.weight"),
    trunk=Trunk("model.backbone", "vit", _write_config),
)

CLIPREID = Layout(
    title="CLIP-ReID, github.com/Syliz517/CLIP-ReID",
    architecture="clip_window",
    roles=("rgb",),
    image_size=(256, 128),
    told=_clipreid_told,
    table=lambda model, tensors: clipreid.table(len(model.vision.blocks)),
    positions=_positions,
    ignore=clipreid.IGNORE,
    patches=("image_encoder.positional_embedding", "image_encoder.conv1.weight"),
)

MAMBAPRO = Layout(
    title="MambaPro, github.com/924973292/MambaPro",
    architecture="clip_window",
    roles=("rgb", "nir", "tir"),
    image_size=(256, 128),
    told=_mambapro_told,
    table=lambda model, tensors: mambapro.table(list(model.state_dict())),
    positions=_positions,
    ignore=mambapro.IGNORE,
    unread=lambda model: mambapro.unread(model.aggregator),
    renamed=mambapro.renamed,
    patches=("BACKBONE.base.positional_embedding", "BACKBONE.base.conv1.weight"),
)
