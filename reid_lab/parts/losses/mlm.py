"""Masked language modelling: Devlin et al., 2019 (BERT), section 3.1; `compute_mlm` of IRRA's code."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import over_rows


def mlm(mlm_logits: Tensor, mlm_labels: Tensor) -> Sum:
    """Cross-entropy summed over the masked tokens: mlm_logits (m, vocabulary), mlm_labels (m,)."""
    return over_rows(F.cross_entropy(mlm_logits.float(), mlm_labels, reduction="sum"), len(mlm_labels))
