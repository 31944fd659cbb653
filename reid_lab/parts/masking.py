"""Masking of caption tokens for masked language modelling (Devlin et al., 2019, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from reid_lab.parts.towers import Tokenizer
from reid_lab.seeding import uniform

IGNORED = 0
"""The label of a token that is not to be predicted; it is the padding id, which is never masked."""


@final
@dataclass(frozen=True)
class Masking:
    """How often a token is chosen, and what becomes of it: `mask`, else `random`, else it is kept."""

    rate: float
    mask: float
    random: float


def mask_tokens(ids: Tensor, keys: Tensor, masking: Masking, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """A masked copy of `ids` (n, L) and the labels (n, L): the token where it was chosen, else 0.

    Draws depend on each row's key (n,) alone. Start, end, mask and padding tokens are never chosen;
    random tokens are ordinary ones. A caption of which nothing is chosen gets its first word masked,
    as in IRRA's code.
    """
    special = torch.tensor(
        [tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id, tokenizer.mask_id, IGNORED], device=ids.device
    )
    eligible = ~torch.isin(ids, special)
    length = ids.shape[1]
    chosen = eligible & (uniform(keys, "mlm/choose", length) < masking.rate)
    fate = uniform(keys, "mlm/fate", length)
    replacement = tokenizer.words.start + (uniform(keys, "mlm/token", length) * len(tokenizer.words)).long()

    first = eligible & ~chosen.any(dim=1, keepdim=True)
    first[:, 2:] = False
    masked = torch.where(chosen & (fate < masking.mask + masking.random), replacement, ids)
    masked = torch.where((chosen & (fate < masking.mask)) | first, tokenizer.mask_id, masked)
    return masked, torch.where(chosen | first, ids, IGNORED)
