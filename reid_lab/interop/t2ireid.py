"""Checkpoints of T2IReID's own code -> our `T2IReID`, by name.

Source: the design note (its modules as they are shown there; `load_param` reads `state_dict` or `model`). The
poolers of the two trunks are left over: the class tokens are read before them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from reid_lab.parts.huggingface import bert_table, is_renamed_vit, vit_table
from reid_lab.parts.towers import TextConfig, VisionConfig
from reid_lab.parts.weights import Grid, Report, Source, Table, load, one

CLASSIFIER = ("identity.linear.weight", "identity.linear.bias")
"""Kept fresh where the number of identities differs."""

OUTSIDE = ("cloth_labels.", "adversary.", "fused.head.", "projectors.")
"""Modules that a checkpoint may lack: those of losses that the note names and does not define, and the two
projectors, which its code keeps in the loss."""

PROJECTORS = r"(id|cloth)_embed_projector\..*"
IGNORE = (r"(text|visual)_encoder\.pooler\..*", r".*position_ids", r".*num_batches_tracked")
_STAGES = {"norm1": "0", "fc1": "3", "norm2": "4", "fc2": "7"}
_FUSION = {
    "norm_image": "norm_image",
    "norm_text": "norm_text",
    "gate.hidden": "gate.0",
    "gate.shares": "gate.3",
    "gate.fc": "fc",
    "gate.norm": "norm_final",
}


def table(vision: VisionConfig, text: TextConfig, names: Collection[str], *, renamed: bool = False) -> Table:
    """Our tensors `names` -> theirs; renamed: the ViT's keys are those of transformers 5's modules."""
    linear = {
        "id_projection": "id_projection",
        "identity.linear": "id_classifier",
        "clothes.projection": "cloth_projection",
        "shared_mlp": "shared_mlp",
        "projectors.id": "id_embed_projector",
        "projectors.cloth": "cloth_embed_projector",
        **{f"fused.fusion.{ours}": f"fusion.{theirs}" for ours, theirs in _FUSION.items()},
        **{
            f"fused.fusion.{side}_attn.{ours}": f"fusion.{side}_attn.{theirs}"
            for side in ("image", "text")
            for ours, theirs in (("q", "q"), ("k", "k"), ("v", "v"), ("out", "out_proj"))
        },
    }
    found: dict[str, Source] = {"fused.scale": one("scale")}
    for kind in ("weight", "bias"):
        found |= {f"{ours}.{kind}": one(f"{theirs}.{kind}") for ours, theirs in linear.items()}
    found |= _under("vision.", "visual_encoder.", vit_table(vision, renamed=renamed))
    found |= _under("text.", "text_encoder.", bert_table(text))
    for name in names:  # one BatchNorm of theirs fills each branch of ours
        mlp, _, rest = name.partition(".")
        stage, _, tail = rest.partition(".")
        if mlp in ("image_mlp", "text_mlp"):
            found[name] = one(f"{mlp}.{_STAGES[stage]}.{tail.rpartition('.')[2]}")
    return {name: source for name, source in found.items() if name in names}


def split_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The packed projections `in_proj_{weight,bias}` of torch's attention, as q, k and v."""
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        module, _, name = key.rpartition(".")
        if name in ("in_proj_weight", "in_proj_bias"):
            kind = name.removeprefix("in_proj_")
            found |= {f"{module}.{part}.{kind}": third for part, third in zip("qkv", value.chunk(3), strict=True)}
        else:
            found[key] = value
    return found


def load_t2ireid(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    vision: VisionConfig,
    text: TextConfig,
    grid: Grid,
    *,
    may_differ: Collection[str] = CLASSIFIER,
    where: str = "the checkpoint",
) -> Report:
    """Fills a model from T2IReID's tensors; vision, text, grid: of the model's trunks.

    A position table of another size is taken for a square and resized. The classifier, and whatever serves a loss
    that the note does not define, may keep fresh weights. Raises `CheckpointError` for anything else that is
    missing, left over or of another shape; the loss's two projectors may be missing or left over, since its code
    keeps them outside the model.
    """
    own = model.state_dict()
    found = split_attention(tensors)
    renamed = is_renamed_vit([key.removeprefix("visual_encoder.") for key in found])
    known = table(vision, text, own, renamed=renamed)
    fresh = [name for name in own if name.startswith(OUTSIDE) or name.endswith("num_batches_tracked")]
    unknown = {name: one(f"(none for {name})") for name in own if name.startswith(OUTSIDE) and name not in known}
    has_projectors = any(name.startswith("projectors.") for name in own)
    return load(
        model,
        found,
        {**known, **unknown},
        positions={"vision.embed.positions": (None, grid)},
        may_differ=(*may_differ, *fresh),
        ignore=IGNORE if has_projectors else (*IGNORE, PROJECTORS),
        where=where,
    )


def _under(ours: str, theirs: str, names: Table) -> dict[str, Source]:
    """The table of a part, below the prefixes under which both sides keep it."""
    return {
        ours + name: Source(tuple(theirs + key for key in source.keys), source.transpose, source.lead)
        for name, source in names.items()
    }
