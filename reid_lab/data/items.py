"""One table of items for every data set: a row per image of one modality, and per caption of one kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Items:
    """Columns of equal length n; integers are int64, -1 where unknown.

    split: train, val or test. role: one of `contracts.ROLES`. `image_id` numbers the moments: images of
    one moment in several modalities share it, and so do the captions that describe it. `path` is the
    relative path of an image that lies in a file, else None; `caption` the text of a text item, else None.
    """

    split: np.ndarray
    role: np.ndarray
    pid: np.ndarray
    camid: np.ndarray
    scene: np.ndarray
    clothes: np.ndarray
    image_id: np.ndarray
    path: np.ndarray
    caption: np.ndarray

    def __len__(self) -> int:
        """Number of items."""
        return len(self.pid)


class Dataset(ABC):
    """A data set: its items, and the pixels of its image items."""

    name: str
    items: Items
    digest: str

    @abstractmethod
    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels of image items of one role, (n, C, height, width) uint8; `size` null: as stored."""
