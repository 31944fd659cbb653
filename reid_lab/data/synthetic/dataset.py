"""The embedded benchmark as a data set: its items, pixels, captions and attribute labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image

from reid_lab.contracts import IMAGE_ROLES, TEXT_ROLES
from reid_lab.data.items import ABSENT, Dataset, Items
from reid_lab.data.synthetic.captions import FORMS, describe
from reid_lab.data.synthetic.palette import subject
from reid_lab.data.synthetic.shards import open_shard, write_atomically
from reid_lab.data.synthetic.spec import SyntheticSpec, digest, pixels_key, words_key
from reid_lab.data.synthetic.traits import ATTRIBUTES
from reid_lab.data.synthetic.world import SPLITS, camera_of
from reid_lab.errors import DataError


@final
class Synthetic(Dataset):
    """The embedded benchmark. Opening it renders what the cache does not hold yet.

    Items stand split by split (train, val, test), person by person, image by image, role by role in the
    order of `contracts.ROLES`. pids are counted through the splits; `image_id` and `scene` number the
    scenes; `clothes` numbers the outfits of all people.
    """

    name = "synthetic"

    def __init__(self, spec: SyntheticSpec, cache: Path) -> None:
        self.spec, self.world, self.digest = spec, spec.world, digest(spec)
        self.image_size = self.world.image_size
        self.folder = cache / "synthetic" / pixels_key(self.world)[:16]
        self._shards = {
            (split, role): open_shard(self.folder, self.world, split, role)
            for split in SPLITS
            for role in spec.image_roles
        }
        texts = self._texts() if any(r in spec.roles for r in TEXT_ROLES) else {}
        self.items, self._rows = self._table(texts)

    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels of image items of one role.

        Args:
            index: (n,) item numbers.
            size: (height, width); other than the native size, images are resized bilinearly. None: native.

        Returns:
            (n, C, height, width) uint8; C is 3 for rgb and cpencil, 1 for nir, tir and sketch.

        Raises:
            DataError: the items are of several roles, or captions.
        """
        index = np.asarray(index, dtype=np.int64)
        roles = np.unique(self.items.role[index])
        if len(roles) != 1 or roles[0] not in self.spec.image_roles:
            raise DataError(f"images(): the items must be images of one role, not {', '.join(roles) or 'none'}")
        splits, rows, role = self.items.split[index], self._rows[index], str(roles[0])
        first = self._shards["train", role]
        pixels = np.empty((len(index), *first.shape[1:]), dtype=np.uint8)
        for split in SPLITS:
            chosen = splits == split
            pixels[chosen] = self._shards[split, role][rows[chosen]]
        return pixels if size is None or size == self.world.image_size else resized(pixels, size)

    def attributes(self, split: str) -> dict[str, np.ndarray]:
        """The true attributes of every scene of a split: name -> (scenes,) int64, in the order of `image_id`.

        `ATTRIBUTES` holds the number of values of each.
        """
        return {name: table[self._of(split)] for name, table in self._attributes.items()}

    def item_attributes(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """The true attributes of the scenes that items show or describe: name -> (n,) int64."""
        scenes = self.items.image_id[np.asarray(index, dtype=np.int64)]
        return {name: table[scenes] for name, table in self._attributes.items()}

    def pixel_hash(self, split: str, role: str) -> str:
        """sha256 of the rendered images of a split and role; versions of Pillow and numpy may differ in it."""
        return hashlib.sha256(self._shards[split, role].tobytes()).hexdigest()

    def _of(self, split: str) -> slice:
        start = sum(self.world.count(s) for s in SPLITS[: SPLITS.index(split)])
        return slice(start, start + self.world.count(split))

    def _scenes(self) -> list[tuple[str, int, int]]:
        """(split, number of the person in it, number of the image of the person) of every scene."""
        return [
            (split, number, image)
            for split, people, each in zip(SPLITS, self.world.identities, self.world.images, strict=True)
            for number in range(people)
            for image in range(each)
        ]

    @cached_property
    def _attributes(self) -> Mapping[str, np.ndarray]:
        rows = []
        for split, number, image in self._scenes():
            seen = subject(self.world, split, number, image, "rgb")
            known = {**seen.person.attributes, **seen.outfit.attributes, "view": seen.scene.view}
            rows.append([known[name] for name in ATTRIBUTES])
        table = np.array(rows, dtype=np.int64)
        return {name: table[:, k] for k, name in enumerate(ATTRIBUTES)}

    def _texts(self) -> Mapping[str, list[str]]:
        """The captions of all scenes, form -> texts; kept beside the shards."""
        path = self.folder / f"words-{words_key(self.spec)[:16]}.json"
        if not path.exists():
            scenes = self._scenes()
            made = {
                form: [describe(self.world, self.spec.wording, *scene, form).text for scene in scenes] for form in FORMS
            }
            write_atomically(path, json.dumps(made).encode())
        try:
            texts: dict[str, list[str]] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: damaged captions ({error}); delete it, and it is written again") from error
        return texts

    def _table(self, texts: Mapping[str, list[str]]) -> tuple[Items, np.ndarray]:
        """The items, and the row of each in its shard."""
        world, scenes = self.world, self._scenes()
        roles = [r for r in (*IMAGE_ROLES, *TEXT_ROLES) if r in self.spec.roles]
        numbers = np.array([number for _, number, _ in scenes], dtype=np.int64)
        images = np.array([image for _, _, image in scenes], dtype=np.int64)
        splits = np.array([split for split, _, _ in scenes])
        pids = numbers + np.array([world.first_pid(split) for split in SPLITS])[[SPLITS.index(s) for s in splits]]
        cameras = np.array([camera_of(world, *scene) for scene in scenes], dtype=np.int64)
        rows = np.concatenate([np.arange(world.count(split)) for split in SPLITS])
        n, many = len(scenes), len(roles)
        captions = np.full((n, many), None, dtype=object)
        for k, role in enumerate(roles):
            if role in texts:
                captions[:, k] = texts[role]

        def each(column: np.ndarray) -> np.ndarray:
            return np.repeat(column, many)

        items = Items(
            split=each(splits),
            role=np.tile(np.array(roles), n),
            side=np.full(n * many, ""),
            pid=each(pids),
            camid=each(cameras),
            scene=each(np.arange(n, dtype=np.int64)),
            clothes=each(pids * world.outfits + images % world.outfits),
            image_id=each(np.arange(n, dtype=np.int64)),
            number=np.tile(np.array([0 if role in TEXT_ROLES else ABSENT for role in roles]), n),
            source=np.zeros(n * many, dtype=np.int64),
            path=np.full(n * many, None, dtype=object),
            caption=captions.reshape(-1),
        )
        return items, each(rows)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resizing of (n, C, height, width) uint8 with Pillow."""
    out = np.empty((*pixels.shape[:2], *size), dtype=np.uint8)
    for k, image in enumerate(pixels):
        plane = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        small = np.asarray(Image.fromarray(plane).resize((size[1], size[0]), Image.Resampling.BILINEAR))
        out[k] = small[None] if small.ndim == 2 else small.transpose(2, 0, 1)
    return out


def open_synthetic(spec: SyntheticSpec, cache: Path) -> Synthetic:
    """Opens the embedded benchmark; renders into `cache` what is not there yet.

    Raises:
        DataError: the cache cannot be written or holds damaged files.
    """
    return Synthetic(spec, cache)
