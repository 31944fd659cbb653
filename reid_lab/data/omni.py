"""The 32 kinds of query of ORBench (Zuo et al., "ReID5o", NeurIPS 2025), and the four averages over them.

A name joins the modalities by `+`; its first is the anchor, from whose images (or captions) a query is
made, so that `NIR+CP` and `CP+NIR` are different lists of queries. Order as in the table that the authors
publish with their model.
"""

from __future__ import annotations

from collections.abc import Mapping

MODALITIES: Mapping[str, str] = {"NIR": "nir", "CP": "cpencil", "SK": "sketch", "TEXT": "caption"}
"""The authors' name of each modality of a query -> role."""

ONE = ("NIR", "CP", "SK", "TEXT")
TWO = (
    *("NIR+CP", "CP+NIR", "NIR+SK", "SK+NIR", "NIR+TEXT", "TEXT+NIR"),
    *("CP+SK", "SK+CP", "CP+TEXT", "TEXT+CP", "SK+TEXT", "TEXT+SK"),
)
THREE = (
    *("NIR+CP+SK", "CP+NIR+SK", "SK+NIR+CP"),
    *("NIR+CP+TEXT", "CP+NIR+TEXT", "TEXT+NIR+CP"),
    *("NIR+SK+TEXT", "SK+NIR+TEXT", "TEXT+NIR+SK"),
    *("CP+SK+TEXT", "SK+CP+TEXT", "TEXT+CP+SK"),
)
FOUR = ("NIR+CP+SK+TEXT", "CP+NIR+SK+TEXT", "SK+NIR+CP+TEXT", "TEXT+NIR+CP+SK")

QUERY_KINDS: tuple[str, ...] = (*ONE, *TWO, *THREE, *FOUR)
"""The names of the 32 kinds, in published order."""

KINDS: Mapping[str, tuple[str, ...]] = {
    name: tuple(MODALITIES[modality] for modality in name.split("+")) for name in QUERY_KINDS
}
"""Name -> roles, the anchor first; in published order."""

AVERAGES: Mapping[str, tuple[str, ...]] = {"ONE": ONE, "TWO": TWO, "THREE": THREE, "FOUR": FOUR}
"""The published averages (unweighted means over 4, 12, 12 and 4 kinds) -> their kinds."""
