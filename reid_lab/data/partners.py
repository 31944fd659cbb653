"""Partners of groups that lack a modality, drawn by identity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol, final

import numpy as np
from torch import Tensor

from reid_lab.data.items import ABSENT, Groups, Items, train_pids
from reid_lab.seeding import uniform


class Filler(Protocol):
    """What completes the groups of a batch, by draws from their samples' keys."""

    def fill(self, groups: Groups, keys: Tensor) -> Groups:
        """The groups with what was drawn for them; `keys` (n,) int64 are those of the samples."""


@final
class Partners:
    """Fills absent members of training groups with an item of the same role and identity.

    Many cross-modal data sets pair people, and not moments: ReID5o (CVPR 2025) draws the infrared, pencil
    and sketch partners of a photograph among all images of its identity. Every draw is hashed from the
    sample's key and the role, so that a group meets other partners in each pass, and the same ones on any
    rank. Members that are there stay; where the identity has no item of the role, it stays absent. Cameras
    and other labels remain those of the group.

    candidates: role -> item numbers (m,) and their identities (m,), counted as `Groups.pids`.
    """

    def __init__(self, candidates: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        self._of = {}
        for role, (items, pids) in candidates.items():
            order = np.argsort(pids, kind="stable")
            self._of[role] = items[order], pids[order]

    def fill(self, groups: Groups, keys: Tensor) -> Groups:
        """The groups with their absent members drawn; `keys` (n,) int64 are those of the samples."""
        members = dict(groups.members)
        for role, (items, pids) in self._of.items():
            held = members.get(role, np.full(len(groups), ABSENT, dtype=np.int64))
            first, end = np.searchsorted(pids, groups.pids), np.searchsorted(pids, groups.pids, side="right")
            draw = uniform(keys, f"partner/{role}", 1)[:, 0].numpy().astype(np.float64)
            drawn = np.append(items, ABSENT)[np.where(end > first, first + (draw * (end - first)).astype(np.int64), -1)]
            members[role] = np.where(held == ABSENT, drawn, held)
        return replace(groups, members=members)


def partners(items: Items, roles: Iterable[str]) -> Partners:
    """Partners for the training groups of a data set, in these roles."""
    people = train_pids(items)
    chosen = {role: items.select("train", role) for role in roles}
    return Partners({role: (own, np.searchsorted(people, items.pid[own])) for role, own in chosen.items()})
