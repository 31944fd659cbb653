"""Losses of single rows, some of which may be absent: classification, and the length of features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import over_rows


def cross_entropy(id_logits: Tensor, id_labels: Tensor) -> Sum:
    """Cross-entropy of logits (n, C) with labels (n,) int64, of which -1 has no part."""
    total = F.cross_entropy(id_logits.float(), id_labels, reduction="sum", ignore_index=-1)
    return Sum(total, (id_labels >= 0).sum())


def right(id_logits: Tensor, id_labels: Tensor) -> Sum:
    """The share of right answers, rows and labels as in `cross_entropy`."""
    return Sum((id_logits.argmax(dim=1) == id_labels).float().sum(), (id_labels >= 0).sum())


def mean_square(fused: Tensor) -> Sum:
    """The mean of the squared numbers of features (n, D), for each row: a penalty of long features."""
    return over_rows(fused.float().square().mean(dim=1).sum(), len(fused))


def norm(fused: Tensor) -> Sum:
    """The length of features (n, D)."""
    return over_rows(torch.linalg.vector_norm(fused.float(), dim=1).sum(), len(fused))
