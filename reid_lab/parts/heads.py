"""Classifiers on top of features."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


@final
class Classifier(nn.Module):
    """One identity classifier for all features; it starts near zero, as in IRRA and BoT (Luo et al., 2019)."""

    def __init__(self, width: int, identities: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, identities)
        nn.init.normal_(self.linear.weight, std=0.001)
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
