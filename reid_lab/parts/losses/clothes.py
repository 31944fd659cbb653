"""What clothes captions teach an image's clothes feature where outfits have no numbers.

`words` is Joulin et al., "Learning Visual Features from Large Weakly Supervised Data", ECCV 2016: the words of a
caption are its classes. `overlap` contrasts images, each drawn to others as far as their captions share words.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import product, unit


def word_bags(ids: Tensor, known: range, vocabulary: int) -> Tensor:
    """Which ordinary tokens (ids in `known`) a caption has: (n, L) -> (n, vocabulary) of 0 and 1, float32."""
    bags = torch.zeros(len(ids), vocabulary, device=ids.device).scatter_(1, ids, 1.0)
    ordinary = torch.zeros(vocabulary, device=ids.device)
    ordinary[known.start : known.stop] = 1.0
    return bags * ordinary


def words(word_logits: Tensor, bags: Tensor) -> Sum:
    """Cross-entropy with the uniform distribution over a caption's words.

    word_logits, bags: (n, vocabulary). A caption without a known word is not valid.
    """
    many = bags.sum(dim=1)
    likelihood = (F.log_softmax(word_logits.float(), dim=1) * bags).sum(dim=1) / many.clamp(min=1)
    return Sum(-likelihood.sum(), (many > 0).sum())


def overlap(features: Tensor, bags: Tensor, scale: Tensor) -> Sum:
    """Cross-entropy between the softmax over the other images and the overlap (Jaccard) of their captions' words.

    features: (n, D); bags: (n, vocabulary); scale: 1/temperature. An image whose caption shares no word with
    another's is not valid.
    """
    own = torch.eye(len(features), dtype=torch.bool, device=features.device)
    similarity = (scale * product(unit(features), unit(features))).masked_fill(own, float("-inf"))
    shared = bags @ bags.T
    sizes = bags.sum(dim=1)
    targets = (shared / (sizes[:, None] + sizes[None, :] - shared).clamp(min=1)).masked_fill(own, 0.0)
    mass = targets.sum(dim=1, keepdim=True)
    likelihood = F.log_softmax(similarity, dim=1).masked_fill(own, 0.0) * (targets / mass.clamp(min=1e-12))
    valid = mass[:, 0] > 0
    return Sum(-likelihood[valid].sum(), valid.sum())
