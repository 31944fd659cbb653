"""The registry of architectures: a name, where it is published, and the class that is built for it.

An entry is all that registers one; contract tests then find the architecture by themselves. Modules are
imported when an entry is opened, so that listing names costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast, final

if TYPE_CHECKING:
    from reid_lab.contracts import Architecture, Facts
    from reid_lab.spec.run import ModelSpec

    Build = Callable[["ModelSpec", "Facts", int], Architecture]


@final
@dataclass(frozen=True)
class Loaded:
    """An architecture with its module imported: `build(spec, facts, seed)` gives the model.

    `result_version` is raised by hand when the same run gives other bits; it is part of a run's identity.
    """

    spec: type[ModelSpec]
    build: Build
    result_version: int


@final
@dataclass(frozen=True)
class Entry:
    """Where an architecture is published and implemented; `module`, `kind` and `spec` name its class and its
    section, `docs` its page."""

    title: str
    paper: str
    code: str
    module: str
    kind: str
    docs: str
    spec: str = "Spec"

    def load(self) -> Loaded:
        """Imports the module."""
        module = import_module(self.module)
        return Loaded(getattr(module, self.spec), cast("Build", getattr(module, self.kind)), module.RESULT_VERSION)


def find(name: str) -> Entry:
    """The entry of an architecture, listed or not (`reid-lab pretrain` runs the unlisted ones)."""
    return ARCHITECTURES.get(name) or _pretraining()[name]


def _pretraining() -> dict[str, Entry]:
    return {
        f"pretrain_{kind.lower()}": Entry(
            title=f"Pretraining of the tiny {kind}",
            paper="none",
            code="reid_lab.architectures.pretrain",
            module="reid_lab.architectures.pretrain",
            kind=f"Pretrain{kind}",
            docs="reid_lab/weights/README.md",
            spec=f"{kind}Spec",
        )
        for kind in ("Clip", "Vit", "Bert")
    }


ARCHITECTURES: dict[str, Entry] = {
    "clip_mer": Entry(
        title="One CLIP trunk for five modalities, with adapters routed by modality",
        paper="none: the design document CLIP_MER_Architecture.md of PRCV2025REID, 2025-08-20",
        code="none is public; built from the document's words",
        module="reid_lab.architectures.clip_mer",
        kind="ClipMer",
        docs="docs/architectures/clip_mer.md",
    ),
    "clip_window": Entry(
        title="CLIP with sliding windows over its tokens, for images and spectral triples",
        paper="none: a design note on MambaPro (Wang et al., AAAI 2025), arXiv:2412.10707",
        code="https://github.com/924973292/MambaPro (6dc4cb7), the host of the note",
        module="reid_lab.architectures.clip_window",
        kind="ClipWindow",
        docs="docs/architectures/clip_window.md",
    ),
    "irra": Entry(
        title="Implicit relation reasoning and aligning, text to image",
        paper="Jiang and Ye, CVPR 2023, arXiv:2303.12501",
        code="https://github.com/anosorae/IRRA (cfc2378)",
        module="reid_lab.architectures.irra",
        kind="Irra",
        docs="docs/architectures/irra.md",
    ),
    "t2ireid": Entry(
        title="Identity and clothes taken apart, text to image",
        paper="unpublished design note",
        code="none published",
        module="reid_lab.architectures.t2ireid",
        kind="T2IReID",
        docs="docs/architectures/t2ireid.md",
    ),
    "reid5o": Entry(
        title="Omni multi-modal: any of infrared, pencil, sketch and caption to photographs",
        paper="Zuo et al., NeurIPS 2025, arXiv:2506.09385",
        code="https://github.com/Zplusdragon/ReID5o_ORBench (952ab6b)",
        module="reid_lab.architectures.reid5o",
        kind="Reid5o",
        docs="docs/architectures/reid5o.md",
    ),
    "vit_multiscale": Entry(
        title="Multi-scale windows over TransReID's ViT, image to image",
        paper="He et al. (TransReID), ICCV 2021, arXiv:2102.04378; the windows: two design notes (no paper)",
        code="https://github.com/damo-cv/TransReID (dec5504); none published of the windows",
        module="reid_lab.architectures.vit_multiscale",
        kind="VitMultiscale",
        docs="docs/architectures/vit_multiscale.md",
    ),
    "hybrid": Entry(
        title="CLIP's image tower and a multi-scale ViT, fused, image to image",
        paper="unpublished: a design note of branches and their hybrid (no paper)",
        code="none published",
        module="reid_lab.architectures.hybrid",
        kind="Hybrid",
        docs="docs/architectures/hybrid.md",
    ),
}
