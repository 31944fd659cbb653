"""Image-text contrast over features whose lengths count: van den Oord et al., 2018 (InfoNCE)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import over_rows, product


def info_nce(image: Tensor, text: Tensor, scale: Tensor) -> Sum:
    """Mean of the cross-entropies from image to text and back; only its own partner is a row's positive.

    image, text: (n, D), row i of one belongs to row i of the other; scale: 1/temperature. Unlike `itc`, nothing is
    normalised here: rows have length 1, or the length that a learnable scale gave them.
    """
    similarity = scale * product(image, text)
    to_text = F.log_softmax(similarity, dim=1).diagonal()
    to_image = F.log_softmax(similarity, dim=0).diagonal()
    return over_rows(-(to_text + to_image).sum() / 2, len(image))
