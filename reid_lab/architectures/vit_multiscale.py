"""Multi-scale ViT: TransReID's transformer (He et al., "TransReID: Transformer-based Object Re-Identification", ICCV
2021, arXiv 2102.04378; the authors' code at github.com/damo-cv/TransReID, commit dec5504) with windows of several
sizes over its tokens.

The windows have no paper and no code: the sources are two design notes. One convolves runs of 4, 8 and 16 tokens
(`conv1d`), the other squares of the grid (`conv2d`); both add what they find to the class token. ImageNet's ViT,
patches that overlap, an embedding of camera and view on all tokens, BNNeck, identity loss and soft-margin triplets are
TransReID's. Its jigsaw branch (JPM) is in neither note, and not here.

As published the windows are linear and are added ungated; the defaults have a nonlinearity before the pooling and a
gate that begins at 0. Different from TransReID: an image of a camera that was not trained gets no embedding, and no
block is skipped at random in training (the authors skip up to a tenth).
"""

from __future__ import annotations

from typing import Literal, final

from torch import Tensor

from reid_lab.contracts import Facts
from reid_lab.parts.branches import VitBranch, VitBranchSpec
from reid_lab.parts.sie import VIEWS
from reid_lab.parts.visual import Visual, VisualSpec, prefixed

RESULT_VERSION = 1


class Spec(VitBranchSpec, VisualSpec):
    """The knobs: TransReID's without JPM, and the windows in their corrected form."""

    name: Literal["vit_multiscale"] = "vit_multiscale"


@final
class VitMultiscale(Visual):
    """The model: a ViT whose class token, strengthened by windows over the others, is the feature."""

    def __init__(self, spec: Spec, facts: Facts, seed: int) -> None:
        super().__init__()
        size = spec.image_size or facts.image_size
        views = facts.labels.get(VIEWS, 0)
        self.vit = VitBranch(spec, size, spec.pixels, cameras=facts.cameras, views=views, seed=seed)
        self.head(spec, facts, spec.pixels, self.vit.width, seed)

    def features(self, pixels: Tensor, camids: Tensor, views: Tensor) -> Tensor:
        """As in `Visual`."""
        return self.vit.feature(self.vit(pixels, camids, views))

    def trunk_of(self, parameter: str) -> tuple[str, float] | None:
        """The ViT, at the base rate."""
        return ("trunk", 1.0) if prefixed(parameter, ("vit.trunk",)) else None
