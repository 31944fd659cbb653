"""RGB-anchored alignment: every other modality is drawn to the rgb features of its identity (CLIP+MER)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import product, unit
from reid_lab.parts.losses.sdm import sdm

Form = Literal["as_published", "supcon", "margin", "sdm"]


def anchored(
    features: Tensor, present: Tensor, pids: Tensor, *, anchor: int, form: Form, temperature: float, margin: float
) -> Sum:
    """The mean over the modalities that are there of each one's alignment with the anchor.

    features: (B, M, D), of which `present` (B, M) bool are there; pids: (B,); anchor: the column of rgb.
    `as_published` masks by multiplication, see `masked_by_product`; `supcon` is supervised contrast both
    ways (Khosla et al., NeurIPS 2020), with every rgb item of the identity a positive, a row's own one
    too; `margin` keeps the hardest positive so much closer in cosine than the hardest negative; `sdm` is
    similarity distribution matching. The first and the last read groups that have both items.
    """
    paired = form in ("as_published", "sdm")
    losses: dict[Form, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor | None]] = {
        "as_published": partial(masked_by_product, temperature=temperature),
        "supcon": partial(supervised_contrast, temperature=temperature),
        "margin": partial(hinge, margin=margin),
        "sdm": partial(_matched, temperature=temperature),
    }
    total, count = features.sum() * 0.0, 0
    for column in range(features.shape[1]):
        if column == anchor:
            continue
        asks, answers = present[:, column], present[:, anchor]
        if paired:
            asks = answers = asks & answers
        loss = losses[form](unit(features[asks, column]), unit(features[answers, anchor]), pids[asks], pids[answers])
        if loss is not None:
            total, count = total + loss, count + 1
    return Sum(total, torch.tensor(count, device=features.device))


def masked_by_product(query: Tensor, anchor: Tensor, pids: Tensor, _: Tensor, *, temperature: float) -> Tensor | None:
    """The published form, of unit rows (n, D) of the same groups: scalar, or None without rows.

    Similarities are multiplied by a mask without the diagonal: what is masked adds exp(0) to the sum, and
    a row's own rgb item, the cross-modal positive, is not among its positives. A row without positives
    counts as 0.
    """
    if not len(query):
        return None
    others = 1.0 - torch.eye(len(query), device=query.device)
    logits = product(query, anchor) / temperature * others
    log_prob = F.log_softmax(logits, dim=1)
    positives = (pids[:, None] == pids[None, :]).float() * others
    return -((positives * log_prob).sum(dim=1) / positives.sum(dim=1).clamp(min=1.0)).mean()


def supervised_contrast(
    query: Tensor, anchor: Tensor, query_pids: Tensor, anchor_pids: Tensor, *, temperature: float
) -> Tensor | None:
    """Half the sum of both directions, of unit rows (n, D) and (m, D): scalar, or None without a positive pair."""
    positives = (query_pids[:, None] == anchor_pids[None, :]).float()
    if not len(query) or not len(anchor) or not bool(positives.any()):
        return None
    logits = product(query, anchor) / temperature
    return (_one_way(logits, positives) + _one_way(logits.T, positives.T)) / 2


def _one_way(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean over the rows that have positives of the mean log-probability of these, negated."""
    counts = positives.sum(dim=1)
    found = (F.log_softmax(logits, dim=1) * positives).sum(dim=1) / counts.clamp(min=1.0)
    return -found.sum() / (counts > 0).sum()


def hinge(query: Tensor, anchor: Tensor, query_pids: Tensor, anchor_pids: Tensor, *, margin: float) -> Tensor | None:
    """Mean over rows of max(0, margin - hardest positive + hardest negative), in cosines; None without such rows."""
    if not len(query) or not len(anchor):
        return None
    same = query_pids[:, None] == anchor_pids[None, :]
    valid = same.any(dim=1) & ~same.all(dim=1)
    if not bool(valid.any()):
        return None
    cosine = product(query, anchor)[valid]
    positive = cosine.masked_fill(~same[valid], torch.inf).amin(dim=1)
    negative = cosine.masked_fill(same[valid], -torch.inf).amax(dim=1)
    return F.relu(margin - positive + negative).mean()


def _matched(query: Tensor, anchor: Tensor, pids: Tensor, _: Tensor, *, temperature: float) -> Tensor | None:
    if not len(query):
        return None
    found = sdm(anchor, query, pids, torch.tensor(1.0 / temperature, device=query.device))
    return found.total / found.count
