"""Matching of clothes images and clothes captions, some of which are of somebody else (T2IReID).

As published every image's positive is the caption of its own row, matched or not: with one negative for each
positive, half of what is drawn together does not belong together.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.info_nce import info_nce
from reid_lab.parts.losses.pairs import product
from reid_lab.parts.losses.supcon import supcon


def as_published(image: Tensor, text: Tensor, matched: Tensor, pids: Tensor, text_pids: Tensor, scale: Tensor) -> Sum:
    """InfoNCE whose labels are the diagonal, for unmatched rows too.

    image, text: (n, D) of length 1, row by row; matched: (n,) bool; pids: (n,), whose image it is; text_pids: (n,),
    whose clothes the caption tells of; scale: 1/temperature. Likewise below.
    """
    return info_nce(image, text, scale)


def masked_rows(image: Tensor, text: Tensor, matched: Tensor, pids: Tensor, text_pids: Tensor, scale: Tensor) -> Sum:
    """InfoNCE asked of the matched rows alone; what is unmatched stays among the others' negatives."""
    similarity = scale * product(image, text)
    to_text = F.log_softmax(similarity, dim=1).diagonal()[matched]
    to_image = F.log_softmax(similarity, dim=0).diagonal()[matched]
    return Sum(-(to_text + to_image).sum() / 2, matched.sum())


def pid_aware(image: Tensor, text: Tensor, matched: Tensor, pids: Tensor, text_pids: Tensor, scale: Tensor) -> Sum:
    """Supervised contrast: an image's positives are all captions of its person, whichever row they stand in."""
    return supcon(image, text, pids, text_pids, scale)


def mean_cosine(image: Tensor, text: Tensor, matched: Tensor, *, wanted: bool) -> Sum:
    """Mean cosine of the pairs that are matched, or (`wanted` False) of those that are not; as a diagnostic."""
    chosen = matched == wanted
    return Sum((image * text).sum(dim=1)[chosen].sum(), chosen.sum())


FORMS = {"as_published": as_published, "masked_rows": masked_rows, "pid_aware": pid_aware}
