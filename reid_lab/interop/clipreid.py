"""Checkpoints of CLIP-ReID's authors -> our `ClipWindow` with `features: clip_reid`, by name.

Source: github.com/Syliz517/CLIP-ReID at eb1898b, `model/make_model_clipreid.py` (ViT). The text tower and the prompts
of the first stage, of which nothing is needed to embed images, are left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from reid_lab.interop.openai_clip import block_table
from reid_lab.parts.weights import Grid, Report, Source, Table, load, one

CLASSIFIERS = ("heads.hidden.identity.linear.weight", "heads.projected.identity.linear.weight")
SIE = ("sie.embedding",)
"""What keeps fresh values where the numbers of identities or cameras differ."""

IGNORE = (r"text_encoder\..*", r"prompt_learner\..*")
POSITIONS = "vision.embed.positions"

_HEADS = {"hidden": "", "projected": "_proj"}
_STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def vision_table(layers: int, theirs: str = "") -> Table:
    """CLIP's image tower and its projection in OpenAI's names, `visual.` replaced by the prefix `theirs`."""
    found: dict[str, Source] = {
        "vision.embed.conv.weight": one(f"{theirs}conv1.weight"),
        "vision.embed.class_token": one(f"{theirs}class_embedding"),
        POSITIONS: one(f"{theirs}positional_embedding"),
        "projection.weight": one(f"{theirs}proj", transpose=True),
        **block_table("vision.blocks", f"{theirs}transformer.resblocks", layers),
    }
    for kind in ("weight", "bias"):
        found[f"vision.norm_pre.{kind}"] = one(f"{theirs}ln_pre.{kind}")
        found[f"vision.norm.{kind}"] = one(f"{theirs}ln_post.{kind}")
    return found


def table(layers: int) -> Table:
    """Every name of ours that CLIP-ReID has, with `layers` blocks."""
    found = dict(vision_table(layers, "image_encoder."))
    for ours, theirs in _HEADS.items():
        found[f"heads.{ours}.identity.linear.weight"] = one(f"classifier{theirs}.weight")
        for kind in _STATISTICS:
            found[f"heads.{ours}.neck.norm.{kind}"] = one(f"bottleneck{theirs}.{kind}")
    found["sie.embedding"] = one("cv_embed")
    return found


def load_clipreid(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    layers: int,
    grid: Grid,
    *,
    may_differ: Collection[str] = (*CLASSIFIERS, *SIE),
    where: str = "the checkpoint",
) -> Report:
    """Fills a model from CLIP-ReID's tensors.

    layers, grid: of the model's trunk, which has side information where the checkpoint has. A position table of another
    size is taken for a square and resized; classifiers for other identities and an embedding of other cameras keep
    their fresh weights (`may_differ`).
    """
    positions: dict[str, tuple[Grid | None, Grid]] = {POSITIONS: (None, grid)}
    return load(model, tensors, table(layers), positions=positions, may_differ=may_differ, ignore=IGNORE, where=where)
