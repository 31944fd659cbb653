"""Which items belong together, by the rows that name their groups."""

from __future__ import annotations

import torch
from torch import Tensor


def pairs(first_rows: Tensor, second_rows: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """The items of groups that have both: indices (n,) into the first and (n,) into the second.

    In the order of the second items; where a group has several first items, the last one serves.
    """
    place = torch.full((groups,), -1, dtype=torch.int64, device=first_rows.device)
    place[first_rows] = torch.arange(len(first_rows), device=first_rows.device)
    first = place[second_rows]
    second = torch.nonzero(first >= 0).flatten()
    return first[second], second
