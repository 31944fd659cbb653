"""Triplets of the hardest positive and the hardest negative of every row: Hermans et al., 2017 ("batch hard")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import product, same


def triplet(feature: Tensor, pids: Tensor, *, margin: float | None = 0.3) -> Sum:
    """Mean of max(0, d(positive) - d(negative) + margin), or of log(1 + exp(d(positive) - d(negative))).

    feature: (n, D), as long as it is (not normalised); pids: (n,). margin: null is the soft form (TransReID), a number
    the hard one (CLIP-ReID, BoT: .3). Distances are Euclidean. A row without another of its identity, or without
    one of another, is not valid.
    """
    x = feature.float()
    squares = x.square().sum(dim=1)
    distance = (squares[:, None] + squares[None, :] - 2.0 * product(x, x)).clamp(min=1e-12).sqrt()
    alike = same(pids).bool()
    own = torch.eye(len(x), dtype=torch.bool, device=x.device)
    valid = (alike & ~own).any(dim=1) & (~alike).any(dim=1)
    if not bool(valid.any()):
        return Sum(x.sum() * 0.0, valid.sum())
    positive = distance.masked_fill(~alike, 0.0).amax(dim=1)
    negative = distance.masked_fill(alike, torch.inf).amin(dim=1)
    gap = (positive - negative)[valid]
    each = F.softplus(gap) if margin is None else F.relu(gap + margin)
    return Sum(each.sum(), valid.sum())
