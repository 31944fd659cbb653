"""Supervised contrast between two modalities: Khosla et al., NeurIPS 2020, equation 2 (SupCon), both ways."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import product, unit


def supcon(image: Tensor, text: Tensor, image_ids: Tensor, text_ids: Tensor, scale: Tensor) -> Sum:
    """Mean negative log-likelihood of a row's positives, the items of the other modality with its id.

    image: (n, D), image_ids: (n,); text: (m, D), text_ids: (m,); they need not be paired. scale: 1/temperature.
    A row without a positive is not valid; the mean is over the valid rows of both directions.
    """
    similarity = scale * product(unit(image), unit(text))
    positive = (image_ids[:, None] == text_ids[None, :]).float()
    if similarity.numel() == 0:
        return Sum(similarity.sum(), positive.sum())
    total, count = similarity.sum() * 0.0, positive.sum() * 0.0
    for logits, targets in ((similarity, positive), (similarity.T, positive.T)):
        many = targets.sum(dim=1)
        likelihood = (F.log_softmax(logits, dim=1) * targets).sum(dim=1) / many.clamp(min=1)
        total, count = total - likelihood.sum(), count + (many > 0).sum()
    return Sum(total, count)
