"""Hybrid: CLIP's image tower and ImageNet's ViT see the same image, and their features are made one.

There is no paper and no code: the source is a design note that calls it the most complex of three schemes, gives a
sketch ("fuse the two features") and lists as future work what is built here: windows of any width, one interface for
both trunks, cameras given to both alike, and a mechanism that fuses. It says that the two cannot stand side by side
because one has 512 channels and the other 768; `parts.branches` is the answer. Each trunk is a slot: null leaves the
other alone, with the features of `clip_window` or `vit_multiscale`, which is the note's first scheme, the choice of a
branch by configuration.

The trunks of the paper size want pixels normalised in two ways. The image is augmented and normalised once, as the
first trunk wants it; the other one turns these pixels into its own by a factor and a shift for each channel, so that
both see the same crop and the same erased rectangle.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from reid_lab.contracts import Facts
from reid_lab.errors import SpecError
from reid_lab.parts.branches import Branch, ClipBranch, ClipBranchSpec, VitBranch, VitBranchSpec
from reid_lab.parts.fusion import CrossModalAttention, Tokens
from reid_lab.parts.sie import VIEWS
from reid_lab.parts.visual import Visual, VisualSpec, prefixed
from reid_lab.parts.windows import WindowSpec
from reid_lab.seeding import stream
from reid_lab.spec.section import Choice, Misfit, Section, Tune

RESULT_VERSION = 1

Rate = Annotated[float, Field(gt=0), Tune(0.1, 10.0, log=True)]


class ClipSpec(ClipBranchSpec):
    """CLIP's image tower; without windows, as in the note."""

    windows: WindowSpec | None = None
    lr_factor: Rate = 1.0


class VitSpec(VitBranchSpec):
    """ImageNet's ViT, with windows, as in the note."""

    lr_factor: Rate = 1.0


class ConcatSpec(Section):
    """One feature behind the other."""

    kind: Literal["concat"] = "concat"


class GateSpec(Section):
    """One behind the other, each times its share, which a gate reads from both; it begins with equal shares."""

    kind: Literal["gate"] = "gate"


class AttentionSpec(Section):
    """Each feature attends to the other trunk's tokens and is added to what it finds, times a gate that begins at 0;
    then one behind the other."""

    kind: Literal["attention"] = "attention"
    heads: Annotated[int, Field(ge=1), Choice(1, 2, 4, 8)] = 4


FusionSpec = Annotated[ConcatSpec | GateSpec | AttentionSpec, Field(discriminator="kind")]


class Spec(VisualSpec):
    """The knobs. With one trunk null there is nothing to fuse, and `fusion` is not read."""

    name: Literal["hybrid"] = "hybrid"
    clip: ClipSpec | None = ClipSpec()
    vit: VitSpec | None = VitSpec()
    fusion: FusionSpec = ConcatSpec()

    @model_validator(mode="after")
    def _a_trunk(self) -> Spec:
        if self.clip is None and self.vit is None:
            raise Misfit("vit", "both trunks are null; at least one of clip and vit is needed", because="clip")
        return self


Seen = Sequence[tuple[Tensor, Tensor]]
"""What each trunk made of n images: its feature (n, D) and its tokens (n, T, W)."""


class Joined(nn.Module, ABC):
    """One feature of what the trunks see; `width`: its channels."""

    width: int

    @abstractmethod
    def forward(self, seen: Seen) -> Tensor:
        """One entry per trunk -> (n, width)."""


@final
class Side(Joined):
    """The features side by side; of one trunk, its own."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.width = sum(widths)

    def forward(self, seen: Seen) -> Tensor:
        """As in `Joined`."""
        return torch.cat([feature for feature, _ in seen], dim=1)


@final
class Shared(Joined):
    """The features side by side, the first times g and the second times 2 - g; g is 1 at the start."""

    def __init__(self, widths: Sequence[int], seed: int) -> None:
        super().__init__()
        self.width = sum(widths)
        with stream(seed, "fusion", "gate"):
            self.gate = nn.Linear(self.width, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, seen: Seen) -> Tensor:
        """As in `Joined`."""
        (first, _), (second, _) = seen
        share = 2.0 * torch.sigmoid(self.gate(torch.cat([first, second], dim=1)))
        return torch.cat([share * first, (2.0 - share) * second], dim=1)


@final
class Attending(Joined):
    """Each feature, and what it finds among the other trunk's tokens, channel by channel times a gate; side by side."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int], heads: int, seed: int) -> None:
        """widths: of the features; depths: of the tokens."""
        super().__init__()
        self.width = sum(widths)
        odd = [width for width in widths if width % heads]
        if odd:
            raise SpecError(f"model.fusion.heads {heads} does not divide the {odd[0]} channels of a trunk's feature")
        self.looks = nn.ModuleList(
            CrossModalAttention(width, heads, memory, 0.0, key_bias=False, seed=seed, name=f"fusion.{number}")
            for number, (width, memory) in enumerate(zip(widths, reversed(depths), strict=True))
        )
        self.gates = nn.ParameterList(torch.zeros(width) for width in widths)

    def forward(self, seen: Seen) -> Tensor:
        """As in `Joined`."""
        others = [tokens for _, tokens in reversed(seen)]
        found = [
            feature + gate * look(feature, Tokens(tokens))
            for (feature, _), tokens, look, gate in zip(seen, others, self.looks, self.gates, strict=True)
        ]
        return torch.cat(found, dim=1)


@final
class Hybrid(Visual):
    """The model: one or two trunks, and what makes one feature of theirs."""

    def __init__(self, spec: Spec, facts: Facts, seed: int) -> None:
        super().__init__()
        size = spec.image_size or facts.image_size
        known = {"cameras": facts.cameras, "views": facts.labels.get(VIEWS, 0), "seed": seed}
        trunks = [trunk for trunk in (spec.clip, spec.vit) if trunk is not None]
        given = trunks[0].pixels
        self.clip = None if spec.clip is None else ClipBranch(spec.clip, size, given, **known, field="model.clip")
        self.vit = None if spec.vit is None else VitBranch(spec.vit, size, given, **known, field="model.vit")
        self.fusion = _joined(spec.fusion, self._branches(), seed)
        self.rates = {
            name: trunk.lr_factor for name, trunk in (("clip", spec.clip), ("vit", spec.vit)) if trunk is not None
        }
        self.head(spec, facts, given, self.fusion.width, seed)

    def features(self, pixels: Tensor, camids: Tensor, views: Tensor) -> Tensor:
        """As in `Visual`."""
        seen = []
        for branch in self._branches():
            tokens = branch(pixels, camids, views)
            seen.append((branch.feature(tokens), tokens))
        return self.fusion(seen)  # type: ignore[no-any-return]

    def trunk_of(self, parameter: str) -> tuple[str, float] | None:
        """CLIP or the ViT, each at a rate of its own."""
        if prefixed(parameter, ("clip.vision", "clip.projection")):
            return "clip", self.rates["clip"]
        return ("vit", self.rates["vit"]) if prefixed(parameter, ("vit.trunk",)) else None

    def _branches(self) -> list[Branch]:
        return [branch for branch in (self.clip, self.vit) if branch is not None]


def _joined(spec: ConcatSpec | GateSpec | AttentionSpec, branches: Sequence[Branch], seed: int) -> Joined:
    widths = [branch.width for branch in branches]
    if len(branches) == 1 or isinstance(spec, ConcatSpec):
        return Side(widths)
    if isinstance(spec, GateSpec):
        return Shared(widths, seed)
    return Attending(widths, [branch.depth for branch in branches], spec.heads, seed)
