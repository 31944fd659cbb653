"""Identity classification of both modalities by one classifier: Zheng et al., TOMM 2020; IRRA's `compute_id`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import over_rows


def identity(image_logits: Tensor, text_logits: Tensor, pids: Tensor) -> Sum:
    """Mean of the cross-entropies of images and texts.

    image_logits, text_logits: (n, C); pids: (n,) in 0..C-1.
    """
    image = F.cross_entropy(image_logits.float(), pids, reduction="sum")
    text = F.cross_entropy(text_logits.float(), pids, reduction="sum")
    return over_rows((image + text) / 2, len(pids))
