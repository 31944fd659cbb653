"""What is known of a data set's items: the labels that probes read and slices go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from reid_lab.data.items import ABSENT, Dataset
from reid_lab.data.splits import View
from reid_lab.data.synthetic import Synthetic
from reid_lab.data.synthetic.traits import IDENTITY, NO_COLOUR, OUTFIT, VIEWS
from reid_lab.data.synthetic.world import ALIGNED_ROLES, SPLITS, World, scene
from reid_lab.errors import DataError, unknown

Kind = Literal["clothes", "body", "scene", "person"]
OCCLUDERS = ("none", "post", "low wall", "bush", "crate")
USUAL = (
    *("upper", "upper_colour", "lower", "lower_colour", "bag", "hat"),
    *("gender", "age", "skin", "hair_style", "hair_colour", "glasses"),
    *("view", "camera", "outfit", "identity"),
)
"""What is probed unless something else is asked for, as far as it is known."""


@final
@dataclass(frozen=True)
class Attribute:
    """One label of every item: `labels` (items,) int64, -1 where unknown or where there is no such thing.

    values: the names of the labels, where they have names. within: the label is of one person alone (the identity,
    an outfit's number), so that it cannot be read across people; folds then share people, and no moment.
    """

    name: str
    kind: Kind
    labels: NDArray[np.int64]
    values: tuple[str, ...] = ()
    within: bool = False


def attributes(dataset: Dataset) -> dict[str, Attribute]:
    """All that is known of the items, by name: of the embedded world its factors, of others what their records say."""
    items = dataset.items
    known = [
        *_factors(dataset),
        Attribute("camera", "scene", items.camid),
        Attribute("scene", "scene", items.scene if _fewer(items.scene, items.image_id) else _nothing(items.pid)),
        Attribute(
            "outfit", "person", items.clothes if _fewer(items.pid, items.clothes) else _nothing(items.pid), within=True
        ),
        Attribute("identity", "person", np.where(items.pid < 0, ABSENT, items.pid), within=True),
    ]
    return {one.name: one for one in known if (one.labels != ABSENT).any()}


def chosen(known: dict[str, Attribute], names: Sequence[str]) -> list[Attribute]:
    """The attributes of these names; without names the usual ones. Raises `DataError` for those that are not known."""
    missing = [name for name in names if name not in known]
    if missing:
        raise DataError(*(f"--attributes: {unknown('attribute', name, known)}" for name in missing))
    return [known[name] for name in names or USUAL if name in known]


def place(world: World, image_id: int) -> tuple[str, int, int]:
    """Split, number of the person in it and number of the image of a moment of the embedded world."""
    for split, each in zip(SPLITS, world.images, strict=True):
        if image_id < world.count(split):
            return split, image_id // each, image_id % each
        image_id -= world.count(split)
    raise IndexError(image_id)


def synthetic(dataset: Dataset) -> Synthetic | None:
    """The embedded world itself, also of a part of it; None for other data."""
    return synthetic(dataset.base) if isinstance(dataset, View) else dataset if isinstance(dataset, Synthetic) else None


def _fewer(some: NDArray[np.int64], others: NDArray[np.int64]) -> bool:
    """Whether both are known and the first takes fewer values."""
    return bool((some >= 0).any()) and len(np.unique(some[some >= 0])) < len(np.unique(others[others >= 0]))


def _nothing(like: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.full(len(like), ABSENT, dtype=np.int64)


def _factors(dataset: Dataset) -> list[Attribute]:
    """The factors of the embedded world; a colour is unknown where there is nothing that has it."""
    base = synthetic(dataset)
    if base is None:
        return []
    numbers = dataset.keep if isinstance(dataset, View) else np.arange(len(dataset.items))
    true = base.item_attributes(numbers)
    found = [Attribute(name, "body", true[name], values) for name, values in IDENTITY.items()]
    for name, values in OUTFIT.items():
        labels = np.where(true[name] == NO_COLOUR, ABSENT, true[name]) if name.endswith("_colour") else true[name]
        found.append(Attribute(name, "clothes", labels, values))
    # A drawing has a pose of its own, and nothing hides it.
    items, world = dataset.items, base.world
    drawn = np.isin(items.role, ("sketch", "cpencil")) & (not world.aligned)
    moments, inverse = np.unique(items.image_id, return_inverse=True)
    hidden = np.array([scene(world, *place(world, int(moment)), ALIGNED_ROLES[0]).occluder for moment in moments])
    found.append(Attribute("view", "scene", np.where(drawn, ABSENT, true["view"]), VIEWS))
    unhidden = np.isin(items.role, ("sketch", "cpencil"))
    found.append(Attribute("occlusion", "scene", np.where(unhidden, ABSENT, hidden[inverse]), OCCLUDERS))
    return found
