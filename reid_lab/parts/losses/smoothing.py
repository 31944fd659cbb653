"""Cross-entropy with label smoothing: Szegedy et al., CVPR 2016, section 7."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import over_rows

Spread = Literal["all", "others"]


def smoothed(logits: Tensor, pids: Tensor, *, epsilon: float = 0.1, spread: Spread = "all") -> Sum:
    """Mean cross-entropy against a label of 1 - ε for the identity and ε shared out.

    logits: (n, C); pids: (n,) in 0..C-1. spread: ε/C to `all`, the identity too (TransReID, CLIP-ReID, MambaPro), or
    ε/(C-1) to the `others` (fast-reid).
    """
    likelihood = F.log_softmax(logits.float(), dim=1)
    own = likelihood.gather(1, pids[:, None])[:, 0]
    classes = logits.shape[1]
    if spread == "all":
        shared = likelihood.mean(dim=1)
    else:
        shared = (likelihood.sum(dim=1) - own) / max(1, classes - 1)
    return over_rows(-((1.0 - epsilon) * own + epsilon * shared).sum(), len(pids))
