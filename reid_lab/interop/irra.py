"""Checkpoints of IRRA's authors -> our `Irra`, by name.

Source: github.com/anosorae/IRRA at cfc2378, `model/build.py`. A checkpoint without MLM or classifier
fits a model whose slot is null.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from reid_lab.interop.openai_clip import block_table, clip_table
from reid_lab.parts.towers import ClipConfig
from reid_lab.parts.weights import Grid, Report, Source, Table, load, one

CLASSIFIER = ("identity.linear.weight", "identity.linear.bias")
IGNORE = (r"base_model\.logit_scale",)


def table(config: ClipConfig, depth: int) -> Table:
    """Every name of ours that IRRA has, with `depth` cross-modal blocks."""
    names = {
        "identity.linear": "classifier",
        "mlm.ln_text": "ln_pre_t",
        "mlm.ln_image": "ln_pre_i",
        "mlm.ln_out": "ln_post",
        "mlm.cross_attn.out": "cross_attn.out_proj",
        "mlm.head.dense": "mlm_head.dense",
        "mlm.head.norm": "mlm_head.ln",
        "mlm.head.fc": "mlm_head.fc",
    }
    found: dict[str, Source] = dict(clip_table(config, "trunk.", "base_model."))
    found |= block_table("mlm.cross_blocks", "cross_modal_transformer.resblocks", depth)
    for kind in ("weight", "bias"):
        found[f"mlm.cross_attn.qkv.{kind}"] = one(f"cross_attn.in_proj_{kind}")
        found |= {f"{a}.{kind}": one(f"{b}.{kind}") for a, b in names.items()}
    return found


def load_irra(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    config: ClipConfig,
    grid: Grid,
    *,
    depth: int = 4,
    may_differ: Collection[str] = CLASSIFIER,
    where: str = "the checkpoint",
) -> Report:
    """Fills a model from IRRA's tensors.

    config, grid: of the model's trunk. A position table of another size is taken for a square and
    resized; a classifier for another number of identities keeps its fresh weights (`may_differ`).
    """
    positions: dict[str, tuple[Grid | None, Grid]] = {"trunk.vision.embed.positions": (None, grid)}
    return load(
        model, tensors, table(config, depth), positions=positions, may_differ=may_differ, ignore=IGNORE, where=where
    )
