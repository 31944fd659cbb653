"""Parts of models that take a person's identity and clothes apart, each with its null part.

Shapes: n images, W channels of a trunk's feature, D of the common space.
"""

from __future__ import annotations

from typing import Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from reid_lab.parts.grl import Detached, NoReversal, Reversal
from reid_lab.seeding import stream

Norm = Literal["as_published", "batch_per_branch", "layer"]
Before = Reversal | NoReversal | Detached


@final
class BatchNorm(nn.Module):
    """BatchNorm that takes its running statistics where a batch has fewer than two rows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, D) -> (n, D)."""
        if len(x) > 1:
            return self.norm(x)  # type: ignore[no-any-return]
        n = self.norm
        return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias, training=False, eps=n.eps)


@final
class Projector(nn.Module):
    """norm, ReLU, dropout, linear, norm, ReLU, dropout, linear: T2IReID's image_mlp and text_mlp.

    As published all branches go through one BatchNorm, whose statistics mix identity and clothes;
    `batch_per_branch` keeps one for each of `branches`, `layer` has no statistics.
    """

    def __init__(
        self, hidden: int, output: int, dropout: float, norm: Norm, branches: tuple[str, ...], seed: int, name: str
    ) -> None:
        super().__init__()
        self.place = {branch: branch if norm == "batch_per_branch" else "all" for branch in branches}
        names = sorted(set(self.place.values()))
        kind = nn.LayerNorm if norm == "layer" else BatchNorm
        self.norm1 = nn.ModuleDict({branch: kind(hidden) for branch in names})
        self.norm2 = nn.ModuleDict({branch: kind(output) for branch in names})
        with stream(seed, name):
            self.fc1, self.fc2 = nn.Linear(hidden, output), nn.Linear(output, output)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, branch: str) -> Tensor:
        """(n, hidden) -> (n, output) of length 1."""
        place = self.place[branch]
        x = self.fc1(self.dropout(self.norm1[place](x).relu()))
        x = self.fc2(self.dropout(self.norm2[place](x).relu()))
        return F.normalize(x.float(), dim=1)


@final
class ClothesFeature(nn.Module):
    """The image's clothes feature: a projection, whose gradient may be reversed, and a ReLU."""

    def __init__(self, width: int, output: int, before: Before, seed: int) -> None:
        super().__init__()
        with stream(seed, "cloth_projection"):
            self.projection = nn.Linear(width, output)
        self.before = before

    def forward(self, x: Tensor, alpha: float) -> dict[str, Tensor]:
        """Class tokens (n, W) -> `cloth_embeds` (n, output)."""
        return {"cloth_embeds": self.before(self.projection(x), alpha).relu()}


@final
class NoClothes(nn.Module):
    """No clothes feature."""

    def forward(self, x: Tensor, alpha: float) -> dict[str, Tensor]:
        """Nothing."""
        return {}


@final
class Adversary(nn.Module):
    """Tells the identity from the clothes feature, which is to make that hard: it stands behind a reversal.

    Behind nothing (`Detached`) it is a probe of how much identity the clothes feature holds.
    """

    def __init__(self, width: int, identities: int, before: Before, seed: int) -> None:
        super().__init__()
        self.before = before
        with stream(seed, "adversary"):
            self.linear = nn.Linear(width, identities)

    def forward(self, cloth_embeds: Tensor, alpha: float) -> dict[str, Tensor]:
        """(n, W) -> `adversary_logits` (n, identities)."""
        return {"adversary_logits": self.linear(self.before(cloth_embeds, alpha))}


@final
class NoAdversary(nn.Module):
    """The empty slot of the adversary."""

    def forward(self, cloth_embeds: Tensor, alpha: float) -> dict[str, Tensor]:
        """Nothing."""
        return {}


@final
class Projectors(nn.Module):
    """The two projections behind which T2IReID compares identity and clothes; random, and trained or not."""

    def __init__(self, width: int, output: int, *, trained: bool, seed: int) -> None:
        super().__init__()
        with stream(seed, "projectors.id"):
            self.id = nn.Linear(width, output)
        with stream(seed, "projectors.cloth"):
            self.cloth = nn.Linear(width, output)
        self.requires_grad_(trained)

    def forward(self, id_embeds: Tensor, cloth_embeds: Tensor) -> dict[str, Tensor]:
        """(n, W), (n, W) -> `id_projected`, `cloth_projected` (n, output)."""
        return {"id_projected": self.id(id_embeds), "cloth_projected": self.cloth(cloth_embeds)}


@final
class NoProjectors(nn.Module):
    """Identity and clothes are compared as they are."""

    def forward(self, id_embeds: Tensor, cloth_embeds: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}
