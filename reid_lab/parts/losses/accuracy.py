"""Accuracy of a classifier, as a diagnostic beside the loss that trains it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import over_rows


def accuracy(logits: str, labels: str) -> Callable[..., Sum]:
    """The share of right answers among the named values: logits (n, C), labels (n,)."""

    def right(**values: Tensor) -> Sum:
        hits = values[logits].argmax(dim=1) == values[labels]
        return over_rows(hits.float().sum(), len(hits))

    return right
