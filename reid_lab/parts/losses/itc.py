"""Image-text contrast (InfoNCE): Radford et al., ICML 2021 (CLIP), figure 3; `compute_itc` of IRRA's code."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import over_rows, product, unit


def itc(image: Tensor, text: Tensor, scale: Tensor) -> Sum:
    """Mean of the cross-entropies from image to text and back; only its own partner is a row's positive.

    image, text: (n, D), row i of one belongs to row i of the other; scale: 1/temperature.
    """
    similarity = scale * product(unit(image), unit(text))
    to_text = F.log_softmax(similarity, dim=1).diagonal()
    to_image = F.log_softmax(similarity, dim=0).diagonal()
    return over_rows(-(to_text + to_image).sum() / 2, len(image))
