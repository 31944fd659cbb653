"""The world's moments in several image roles, as layouts without a val split name and place them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reid_lab.data.synthetic.dataset import Synthetic


@dataclass(frozen=True)
class Moment:
    """One moment of one identity.

    pid, camid: as in the world. number: of the moment among the identity's, from 0. test: of test; the world's val
    people count as train. items: role -> item number.
    """

    pid: int
    camid: int
    number: int
    test: bool
    items: Mapping[str, int]

    def pixels(self, world: Synthetic, role: str, size: tuple[int, int] | None = None) -> np.ndarray:
        """(C, height, width) uint8 of one role."""
        pixels: np.ndarray = world.images(np.array([self.items[role]]), size)[0]
        return pixels


def moments(world: Synthetic, roles: Sequence[str]) -> Iterator[Moment]:
    """The moments in the order of the world's items."""
    items = world.items
    place = {key: index for index, key in enumerate(zip(items.image_id.tolist(), items.role.tolist(), strict=True))}
    seen: dict[int, int] = {}
    for index in np.flatnonzero(items.role == roles[0]).tolist():
        pid, moment = int(items.pid[index]), int(items.image_id[index])
        seen[pid] = seen.get(pid, -1) + 1
        there = {role: place[moment, role] for role in roles}
        yield Moment(pid, int(items.camid[index]), seen[pid], bool(items.split[index] == "test"), there)
