"""Classifiers on top of features, and the neck before them."""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn


@final
class Classifier(nn.Module):
    """One identity classifier for all features; it starts near zero, as in IRRA and BoT (Luo et al., 2019).

    Behind a neck it has no bias.
    """

    def __init__(self, width: int, identities: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(width, identities, bias=bias)
        nn.init.normal_(self.linear.weight, std=0.001)
        if bias:
            nn.init.zeros_(self.linear.bias)

    def forward(self, **features: Tensor) -> dict[str, Tensor]:
        """Features NAME (n, D) -> NAME_logits (n, identities)."""
        return {f"{name}_logits": self.linear(feature) for name, feature in features.items()}


@final
class NoClassifier(nn.Module):
    """The empty slot of a classifier."""

    def forward(self, **features: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}


@final
class BNNeck(nn.Module):
    """A BatchNorm without a learned shift between the feature and the classifier (BoT: Luo et al., 2019).

    A single row, which has no statistics of its own, is normalised by the running ones.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.norm.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, D) -> (n, D)."""
        if self.training and len(x) > 1:
            return self.norm(x)  # type: ignore[no-any-return]
        mean, var = self.norm.running_mean, self.norm.running_var
        return F.batch_norm(x, mean, var, self.norm.weight, self.norm.bias, eps=self.norm.eps)


@final
class NoNeck(nn.Module):
    """The empty slot of a neck: the feature as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, D) -> (n, D)."""
        return x
