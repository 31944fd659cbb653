"""Cross-entropy of one set of logits, over the rows whose class is known."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum


def classify(logits: Tensor, labels: Tensor) -> Sum:
    """logits: (n, C); labels: (n,) in 0..C-1, or -1 where the class is unknown: such a row is not valid."""
    total = F.cross_entropy(logits.float(), labels, reduction="sum", ignore_index=-1)
    return Sum(total, (labels >= 0).sum())
