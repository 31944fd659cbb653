"""One table of items for every data set: a row per image of one modality, and per caption of one kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator

from reid_lab.contracts import IMAGE_ROLES, ROLES, Facts
from reid_lab.data import seal
from reid_lab.errors import DataError, unknown

SPLITS = ("train", "val", "test")
SIDES = ("", "query", "gallery")
ABSENT = -1  # of an item in a group, and of any integer that is unknown

MODALITY_ALIASES: Mapping[str, str] = {
    "vis": "rgb",
    "ir": "nir",
    "ni": "nir",
    "ti": "tir",
    "th": "tir",
    "thermal": "tir",
    "sk": "sketch",
    "cp": "cpencil",
    "text": "caption",
}
"""What the field calls the roles; letter case is ignored."""


def resolve_modality(name: str, extra_aliases: Mapping[str, str] | None = None) -> str:
    """The role that a modality's name means, e.g. `vis` and `RGB`: `rgb`. Letter case is ignored.

    Args:
        name: a role of `contracts.ROLES`, or an alias of one.
        extra_aliases: alias -> role or built-in alias, of a data set or a spec; they come first.

    Raises:
        DataError: unknown name; the message gives the nearest one.
    """
    known = {**{role: role for role in ROLES}, **MODALITY_ALIASES}
    for alias, target in (extra_aliases or {}).items():
        if target.lower() not in known:
            raise DataError(f"alias '{alias}': {unknown('modality', target, known)}")
    known |= {alias.lower(): known[target.lower()] for alias, target in (extra_aliases or {}).items()}
    if name.lower() not in known:
        raise DataError(unknown("modality", name, known))
    return known[name.lower()]


def known_aliases(aliases: dict[str, str]) -> dict[str, str]:
    """`aliases`, when each stands for a modality that is known; else a ValueError that names the nearest."""
    try:
        resolve_modality(ROLES[0], aliases)
    except DataError as error:
        raise ValueError(str(error)) from error
    return aliases


Aliases = Annotated[dict[str, str], AfterValidator(known_aliases)]
"""The field `data.aliases` of a data set's spec."""


@dataclass(frozen=True)
class Items:
    """Columns of equal length n; integers are int64, -1 where unknown.

    split: train, val or test. role: one of `contracts.ROLES`. side: `query` or `gallery` where the authors
    say so, else empty (a protocol decides). `image_id` numbers the moments: images of one moment in several
    modalities share it, and so do the captions that describe it. `clothes` numbers the outfits of all
    people. `number` tells the captions of one moment apart (0, 1, …; a caption's identity and clothes parts
    share its number), -1 for images. `source` numbers the data sets that were merged, else 0. `path` is
    the relative path of an image that lies in a file, else None; `caption` the text of a text item, else None.
    """

    split: np.ndarray
    role: np.ndarray
    side: np.ndarray
    pid: np.ndarray
    camid: np.ndarray
    scene: np.ndarray
    clothes: np.ndarray
    image_id: np.ndarray
    number: np.ndarray
    source: np.ndarray
    path: np.ndarray
    caption: np.ndarray

    def __len__(self) -> int:
        """Number of items."""
        return len(self.pid)

    def select(self, split: str, role: str) -> np.ndarray:
        """The numbers of the items of a split and role, in item order: (m,) int64."""
        return np.flatnonzero((self.split == split) & (self.role == role))

    def take(self, index: np.ndarray) -> Items:
        """The items with these numbers, in this order."""
        return Items(**{column.name: getattr(self, column.name)[index] for column in fields(self)})

    def splits(self) -> tuple[str, ...]:
        """The splits that have items."""
        return tuple(split for split in SPLITS if (self.split == split).any())

    def roles(self) -> tuple[str, ...]:
        """The roles that have items."""
        return tuple(role for role in ROLES if (self.role == role).any())


@dataclass(frozen=True)
class Groups:
    """Which items form each of n groups.

    members: role -> (n,) int64 item numbers, -1 where the group has no item of the role. pids, camids,
    image_ids: (n,) int64; the pids of train are counted from 0 in sorted order, others are as in the
    items. labels: further labels, name -> (n,) int64; among them `scenes` and `sources` as in the items, and
    `clothes`, which are counted as the pids are.
    """

    members: Mapping[str, np.ndarray]
    pids: np.ndarray
    camids: np.ndarray
    image_ids: np.ndarray
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.pids)

    def take(self, index: np.ndarray) -> Groups:
        """The groups with these numbers, in this order."""
        return Groups(
            {role: column[index] for role, column in self.members.items()},
            self.pids[index],
            self.camids[index],
            self.image_ids[index],
            {name: column[index] for name, column in self.labels.items()},
        )

    def with_labels(self, labels: Mapping[str, np.ndarray]) -> Groups:
        """A copy with further labels."""
        return replace(self, labels={**self.labels, **labels})


@dataclass(frozen=True)
class Row:
    """One item, for readers that find one after the other; the fields are those of `Items`."""

    split: str
    role: str
    pid: int
    image_id: int
    path: str | None = None
    caption: str | None = None
    side: str = ""
    camid: int = ABSENT
    scene: int = ABSENT
    clothes: int = ABSENT
    number: int = ABSENT
    source: int = 0


def tabulate(rows: Sequence[Row]) -> Items:
    """The rows as a table, in their order."""
    kinds = {"split": str, "role": str, "side": str, "path": object, "caption": object}

    def column(name: str) -> np.ndarray:
        values = [getattr(row, name) for row in rows]
        if name in ("path", "caption"):
            made = np.empty(len(rows), dtype=object)
            made[:] = values
            return made
        return np.array(values, dtype=kinds.get(name, np.int64))

    return Items(**{entry.name: column(entry.name) for entry in fields(Items)})


class Dataset(ABC):
    """A data set: its items, the pixels of its image items, and the queries that its authors list, if any.

    listed: name of a kind of query (in the authors' order) -> its groups, all of test. sources: the names
    and digests of the data sets that were merged into this one, in the order of `Items.source`. left_out: the
    images that annotations name and that are missing, where that is tolerated.
    """

    name: str
    items: Items
    digest: str
    listed: Mapping[str, Groups] = {}
    sources: Mapping[str, str] = {}
    left_out: tuple[str, ...] = ()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "images" in vars(cls):
            cls.images = seal.guarded(cls.images)  # type: ignore[method-assign]

    if not TYPE_CHECKING:  # a type checker would take any name for an attribute

        def __getattribute__(self, name: str) -> Any:
            seal.refuse_attribute(self, name)
            return object.__getattribute__(self, name)

    @abstractmethod
    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels of image items of one role, (n, C, height, width) uint8; `size` null: as stored."""


def left_out_in_words(dataset: Dataset, shown: int = 3) -> str:
    """How many images are left out because they are missing, and the first `shown`; empty when none is."""
    left = dataset.left_out
    if not left:
        return ""
    images = "1 image" if len(left) == 1 else f"{len(left):,} images"
    more = ", …" if len(left) > shown else ""
    return f"left out (data.missing: skip): {images} that the folder lacks: {', '.join(left[:shown])}{more}"


def kept(listed: Mapping[str, Groups], keep: np.ndarray, count: int) -> dict[str, Groups]:
    """Listed queries after only the items `keep` (m,) of `count` are left: renumbered; those that lost one dropped."""
    new = np.full(count + 1, ABSENT, dtype=np.int64)  # the last place serves ABSENT
    new[keep] = np.arange(len(keep))
    found = {}
    for name, groups in listed.items():
        moved = {role: new[column] for role, column in groups.members.items()}
        whole = np.all([(moved[r] != ABSENT) | (groups.members[r] == ABSENT) for r in moved], axis=0)
        found[name] = replace(groups, members=moved).take(np.flatnonzero(whole))
    return found


def train_pids(items: Items) -> np.ndarray:
    """The identities of train, sorted: training label k stands for the k-th."""
    return np.unique(items.pid[items.split == "train"])


def train_clothes(items: Items) -> np.ndarray:
    """The outfits of train that have a number, sorted: training label k stands for the k-th."""
    worn = items.clothes[items.split == "train"]
    return np.unique(worn[worn != ABSENT])


def train_scenes(items: Items) -> int:
    """How many scenes are numbered up to the last of train; 0 where none is known, or each moment has its own."""
    train = (items.split == "train") & (items.scene != ABSENT)
    scenes = np.unique(items.scene[train])
    shared = len(scenes) < len(np.unique(items.image_id[train]))
    return int(scenes[-1]) + 1 if len(scenes) and shared else 0


def _outfits(items: Items, split: str, clothes: np.ndarray) -> np.ndarray:
    """The labels of outfits: those of train counted from 0, others as in the items."""
    if split != "train":
        return clothes
    return np.where(clothes == ABSENT, ABSENT, np.searchsorted(train_clothes(items), clothes))


def singles(items: Items, split: str, role: str) -> Groups:
    """One group for every item of a split and role, in item order.

    Raises:
        DataError: there is none.
    """
    chosen = items.select(split, role)
    _required(items, split, role, chosen)
    return _grouped(items, split, {role: chosen}, chosen)


def pairs(items: Items, split: str, image_role: str = "rgb", text_role: str = "caption") -> Groups:
    """One group for every caption of a split with the image that it describes, in the order of the captions.

    A caption without such an image is a group without an image; an image without captions is in no group.

    Raises:
        DataError: the split has no captions or no images of these roles, or two images of one moment.
    """
    texts, images = items.select(split, text_role), items.select(split, image_role)
    _required(items, split, text_role, texts)
    _required(items, split, image_role, images)
    moments, first = np.unique(items.image_id[images], return_index=True)
    if len(moments) != len(images):
        raise DataError(f"two {image_role} images of {split} share one image_id: no caption can be paired with both")
    place = np.searchsorted(moments, items.image_id[texts]).clip(max=len(moments) - 1)
    found = np.where(moments[place] == items.image_id[texts], images[first[place]], ABSENT)
    return _grouped(items, split, {image_role: found, text_role: texts}, texts)


def described(items: Items, split: str, images: Sequence[str], texts: Sequence[str]) -> Groups:
    """One group for every caption of a split (its parts together), with the images of the moment that it describes.

    The groups stand in the order of the captions; a group lacks the parts and the images that its moment
    lacks. With one role of each kind these are the groups of `pairs`.

    Raises:
        DataError: the split has no items of one of the text roles or of all image roles, or two images of one
            role and moment.
    """
    told = joint(items, split, texts)
    members = dict(told.members)
    there = [role for role in images if len(items.select(split, role))]
    if not there:
        _required(items, split, images[0], items.select(split, images[0]))
    for role in there:
        members[role] = _of_moments(items, items.select(split, role), told.image_ids, split, role)
    return replace(told, members={role: members[role] for role in (*there, *texts)})


def _of_moments(items: Items, images: np.ndarray, wanted: np.ndarray, split: str, role: str) -> np.ndarray:
    """The image of each wanted moment, ABSENT where it has none."""
    images = images[items.image_id[images] != ABSENT]
    moments, first = np.unique(items.image_id[images], return_index=True)
    if len(moments) != len(images):
        raise DataError(f"two {role} images of {split} share one image_id: no caption can be paired with both")
    if not len(moments):
        return np.full(len(wanted), ABSENT, dtype=np.int64)
    place = np.searchsorted(moments, wanted).clip(max=len(moments) - 1)
    return np.where(moments[place] == wanted, images[first[place]], ABSENT)


def on_side(items: Items, index: np.ndarray, side: str) -> np.ndarray:
    """Those of the items `index` (n,) that stand on a side, `query` or `gallery`; without a side an item is on both."""
    return index[np.isin(items.side[index], ("", side))]


def joint(items: Items, split: str, roles: Sequence[str], side: str = "") -> Groups:
    """One group for every moment of a split, with its images of several roles (or its texts of one number).

    A group lacks what its moment lacks. Groups stand in the order of their first items; of a single role
    every item is a group by itself, as in `singles`. `side`: only items on it (`on_side`); empty: all.

    Raises:
        DataError: the split has no items of one of the roles, none of any is on the side, or two items of
            one role belong to one moment (and number).
    """
    found = {role: items.select(split, role) for role in roles}
    for role, numbers in found.items():
        _required(items, split, role, numbers)
    if side:
        found = {role: on_side(items, numbers, side) for role, numbers in found.items()}
    chosen = np.sort(np.concatenate(list(found.values())))
    if not len(chosen):
        raise DataError(f"no {', '.join(roles)} items on the {side} side of the split '{split}'")
    if len(roles) == 1:
        return _grouped(items, split, {roles[0]: chosen}, chosen)
    moments = np.where(items.image_id[chosen] == ABSENT, ABSENT - 1 - chosen, items.image_id[chosen])
    keys = np.stack([moments, items.number[chosen]])
    _, first, group = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    place = np.empty_like(first)
    place[np.argsort(first)] = np.arange(len(first))
    group = place[group.reshape(-1)]
    members = {}
    for role, numbers in found.items():
        own = group[np.searchsorted(chosen, numbers)]
        if len(np.unique(own)) != len(own):
            raise DataError(f"two {role} items of {split} share one image_id: they cannot stand in one group")
        members[role] = np.full(len(first), ABSENT, dtype=np.int64)
        members[role][own] = numbers
    return _grouped(items, split, members, chosen[np.sort(first)])


def grouped(items: Items, split: str, members: Mapping[str, np.ndarray]) -> Groups:
    """Groups of these members; each takes its labels from the first role that it has an item of.

    Args:
        items: the table that the members' numbers refer to.
        split: of all the members; the pids of train are counted from 0.
        members: role -> (n,) int64 item numbers, -1 where a group has none.

    Raises:
        DataError: a group without any member.
    """
    columns = np.stack(list(members.values()))
    if (columns == ABSENT).all(axis=0).any():
        raise DataError("a group needs at least one item")
    return _grouped(items, split, members, columns[(columns != ABSENT).argmax(axis=0), np.arange(columns.shape[1])])


def _required(items: Items, split: str, role: str, found: np.ndarray) -> None:
    if not len(found):
        there = dict.fromkeys(items.role[items.split == split].tolist())
        raise DataError(f"no {role} items in the split '{split}'; it has: {', '.join(there) or 'nothing'}")


def _grouped(items: Items, split: str, members: Mapping[str, np.ndarray], of: np.ndarray) -> Groups:
    pids = items.pid[of]
    return Groups(
        members=members,
        pids=np.searchsorted(train_pids(items), pids) if split == "train" else pids,
        camids=items.camid[of],
        image_ids=items.image_id[of],
        labels={
            "scenes": items.scene[of],
            "clothes": _outfits(items, split, items.clothes[of]),
            "sources": items.source[of],
        },
    )


def facts(
    items: Items,
    roles: Iterable[str],
    image_size: tuple[int, int] | None = None,
    labels: Mapping[str, int] | None = None,
) -> Facts:
    """What an architecture may know of the data: the identities of train, the cameras, the given roles.

    `image_size` (height, width) as `delivered_size` finds it; `labels`: name -> number of values, by default of the
    outfits of train, `clothes`, where they have numbers, and of its scenes, `scenes`, where images share them.
    """
    if labels is None:
        counts = {"clothes": len(train_clothes(items)), "scenes": train_scenes(items)}
        labels = {name: count for name, count in counts.items() if count}
    known = Facts(len(train_pids(items)), int(items.camid.max(initial=ABSENT)) + 1, tuple(roles), labels=labels)
    return known if image_size is None else replace(known, image_size=image_size)


def delivered_size(dataset: Dataset) -> tuple[int, int]:
    """Height and width of the images as the data set delivers them (those of the first image item).

    Raises:
        DataError: the data set has no images, or the first one cannot be read.
    """
    first = np.flatnonzero(np.isin(dataset.items.role, IMAGE_ROLES))[:1]
    if not len(first):
        raise DataError(f"the data set {dataset.name} has no images")
    height, width = dataset.images(first, None).shape[-2:]
    return height, width
