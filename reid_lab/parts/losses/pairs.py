"""What the losses over image-text pairs share: similarities and matching labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum


def product(a: Tensor, b: Tensor) -> Tensor:
    """a bᵀ in float32: (n, D), (m, D) -> (n, m)."""
    with torch.autocast(a.device.type, enabled=False):
        return a.float() @ b.float().T


def unit(x: Tensor) -> Tensor:
    """Rows of length 1: (n, D) -> (n, D), float32."""
    return F.normalize(x.float(), dim=1)


def same(ids: Tensor) -> Tensor:
    """1 where two rows have the same id, else 0: (n,) -> (n, n) float32."""
    return (ids[:, None] == ids[None, :]).float()


def divergence(logits: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """KL(softmax(logits) ‖ labels + ε), summed over all rows: (n, n), (n, n) -> scalar."""
    log_prediction = F.log_softmax(logits, dim=1)
    return (log_prediction.exp() * (log_prediction - torch.log(labels + epsilon))).sum()


def over_rows(total: Tensor, rows: int) -> Sum:
    """A sum over `rows` valid rows."""
    return Sum(total, torch.tensor(rows, device=total.device))
