"""The projects whose checkpoints `reid-lab import` reads, by name."""

from __future__ import annotations

from reid_lab.interop import irra, openai_clip
from reid_lab.interop.layout import Layout, Positions, Tensors, Told, depth, needs, rows


def _irra_told(tensors: Tensors) -> Told:
    needs(tensors, "IRRA", "base_model.visual.conv1.weight", "base_model.token_embedding.weight")
    blocks = depth(tensors, "cross_modal_transformer.resblocks")
    mlm = f"model.mlm={{depth: {blocks}}}" if "mlm_head.fc.weight" in tensors else "model.mlm=null"
    identities = rows(tensors, "classifier.weight")
    return Told((mlm, f"model.id={1.0 if identities else 'null'}"), identities)


def _openai_told(tensors: Tensors) -> Told:
    openai_clip.read_config(tensors)
    return Told(("model.mlm=null", "model.id=null"))


def _openai_positions(model: object, tensors: Tensors) -> Positions:
    side = round((len(tensors["visual.positional_embedding"]) - 1) ** 0.5)
    return {"trunk.vision.embed.positions": ((side, side), _grid(model))}


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
    "openai_clip": Layout(
        title="OpenAI's CLIP (ViT), github.com/openai/CLIP, as the trunk of irra",
        architecture="irra",
        roles=("rgb", "caption"),
        image_size=(384, 128),
        told=_openai_told,
        table=lambda model, tensors: openai_clip.clip_table(model.trunk.config, "trunk."),
        positions=_openai_positions,
        ignore=openai_clip.IGNORE,
    ),
}
