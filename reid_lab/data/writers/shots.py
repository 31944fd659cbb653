"""The world's images as layouts name and place them: moment by moment, and person by person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reid_lab.data.synthetic.dataset import Synthetic


@dataclass(frozen=True)
class Shot:
    """One moment of one person.

    split, pid, camid: as in the world. number: of the moment among the person's, from 0. outfit: of the person, from 0.
    moment: the world's number of it. items: role -> item number.
    """

    split: str
    pid: int
    camid: int
    number: int
    outfit: int
    moment: int
    items: Mapping[str, int]

    @property
    def tested(self) -> bool:
        """Whether it is of test; in layouts without a val split, the world's val people may count as train."""
        return self.split == "test"

    @property
    def asks(self) -> bool:
        """Whether it is a query of test, where a layout puts an image on one side only; the others are gallery.

        Of four images the first and the last ask. No two of a person have one camera (the world sees to it),
        so a person is asked for once before each camera, as published; there is always a correct image before
        another camera, and of three images or more of two outfits one in the same clothes.
        """
        return self.tested and self.number % 4 in (0, 3)

    def pixels(self, world: Synthetic, role: str = "rgb", size: tuple[int, int] | None = None) -> np.ndarray:
        """(C, height, width) uint8 of one role; `size` null: the world's own."""
        pixels: np.ndarray = world.images(np.array([self.items[role]]), size)[0]
        return pixels


def shots(world: Synthetic, roles: Sequence[str] = ("rgb",)) -> Iterator[Shot]:
    """The moments in the order of the world's items: split by split, person by person. All have all of the roles."""
    items, seen = world.items, dict[int, int]()
    place = {key: index for index, key in enumerate(zip(items.image_id.tolist(), items.role.tolist(), strict=True))}
    for index in np.flatnonzero(items.role == roles[0]).tolist():
        pid, moment = int(items.pid[index]), int(items.image_id[index])
        seen[pid] = seen.get(pid, -1) + 1
        yield Shot(
            str(items.split[index]),
            pid,
            int(items.camid[index]),
            seen[pid],
            int(items.clothes[index]) % world.world.outfits,
            moment,
            {role: place[moment, role] for role in roles},
        )
