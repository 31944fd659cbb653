"""Counterfactual pictures and captions of the embedded world: one thing is changed, everything else stays.

* `outfit`: the same person in another outfit, in the same scene (camera, pose, light, noise);
* `person`: another person of the same gender in the same outfit, in the same scene;
* `scene`: the same person in the same outfit, at another camera and in another pose.

How far an embedding moves is a cosine distance. Its interval is of these trained weights: people are drawn with
replacement (`report.stats.bootstrap`), all pictures of a person together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from reid_lab.contracts import IMAGE_ROLES
from reid_lab.data.items import Dataset, Groups, Row, singles, tabulate
from reid_lab.data.synthetic import Synthetic
from reid_lab.data.synthetic.captions import retold
from reid_lab.data.synthetic.dataset import resized
from reid_lab.data.synthetic.palette import Subject, subject
from reid_lab.data.synthetic.sensors import drawn
from reid_lab.data.synthetic.world import FAMILY, SPLITS, World, camera, outfit, person, scene
from reid_lab.errors import DataError
from reid_lab.report.stats import LEVEL, bootstrap
from reid_lab.seeding import rng

CHANGES = ("outfit", "person", "scene")
AS_IT_IS = "as it is"


def variants(world: World, split: str, number: int, image: int, role: str, other: int) -> dict[str, Subject]:
    """What a sensor looks at, as it is and under each change; `other`: the person who puts the outfit on."""
    seen = subject(world, split, number, image, role)
    # The next outfit and the next image are those that the person would have in a larger world.
    another = outfit(world, split, number, world.outfits + image % world.outfits, seen.person.attributes["gender"])
    elsewhere = scene(world, split, number, image + 1, role)
    return {
        AS_IT_IS: seen,
        "outfit": replace(seen, outfit=another),
        "person": replace(seen, person=person(world, split, other)),
        "scene": replace(seen, scene=elsewhere, camera=camera(world, elsewhere.camera)),
    }


def others(world: World, split: str, people: int, seed: int) -> list[int]:
    """For each of the first people, somebody else of the same gender and another family.

    Raises `DataError` where there is nobody.
    """
    gender = [person(world, split, number).attributes["gender"] for number in range(people)]
    found = []
    for number in range(people):
        like = [k for k in range(people) if gender[k] == gender[number] and k // FAMILY != number // FAMILY]
        if not like:
            raise DataError(
                f"{people} people are too few: for one of them there is nobody else to wear the same outfit"
            )
        found.append(like[int(rng("counterfactual", seed, number).integers(len(like)))])
    return found


@final
class Counterfactual(Dataset):
    """The pictures and captions of the first people of a split, as they are and under each change.

    Items stand role by role, change by change, person by person, image by image.
    """

    name = "counterfactual"

    def __init__(
        self, base: Synthetic, split: str, roles: Sequence[str], *, people: int, images: int, seed: int = 0
    ) -> None:
        world = base.world
        at = SPLITS.index(split)
        self.people, self.each = min(people, world.identities[at]), min(images, world.images[at])
        self.digest = base.digest
        self._size = world.image_size
        worn_by = others(world, split, self.people, seed)
        rows: list[Row] = []
        self._pixels: dict[str, NDArray[np.uint8]] = {}
        self._row: list[int] = []
        for role in roles:
            pictures: list[NDArray[np.uint8]] = []
            for change in (AS_IT_IS, *CHANGES):
                for number in range(self.people):
                    for image in range(self.each):
                        seen = variants(world, split, number, image, role, worn_by[number])[change]
                        pid = world.first_pid(split) + number
                        row = Row(split, role, pid, len(rows), camid=seen.scene.camera, clothes=0)
                        self._row.append(len(pictures))
                        if role in IMAGE_ROLES:
                            pictures.append(drawn(seen, world, role))
                            rows.append(replace(row, path=""))
                        else:
                            words = retold(seen, base.spec.wording, role, world.seed, split, number, image, role)
                            rows.append(replace(row, caption=words.text, number=0))
            if pictures:
                self._pixels[role] = np.stack(pictures)
        self.items = tabulate(rows)

    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """As in `Dataset`."""
        (role,) = np.unique(self.items.role[index])
        pixels = self._pixels[str(role)][np.array(self._row)[index]]
        return pixels if size is None or size == self._size else resized(pixels, size)

    def groups(self, roles: tuple[str, ...]) -> Groups:
        """Every moment under every change, with its items of these roles."""
        members = {role: singles(self.items, str(self.items.split[0]), role) for role in roles}
        first = members[roles[0]]
        return replace(first, members={role: found.members[role] for role, found in members.items()})

    def changed(self, role: str, change: str) -> float:
        """The share of captions that a change words otherwise."""
        texts = self.items.caption[self.items.role == role].reshape(1 + len(CHANGES), -1)
        return float((texts[0] != texts[1 + CHANGES.index(change)]).mean())

    def distances(self, vectors: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Change -> how far each person moves, the mean of the images: (people,); vectors as `groups` stand."""
        x = vectors.astype(np.float64).reshape(1 + len(CHANGES), self.people, self.each, -1)
        return {change: cosine(x[0], x[1 + k]).mean(axis=1) for k, change in enumerate(CHANGES)}


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine distances (…,) of vectors (…, D); 0 between two vectors of length 0, 1 where one is."""
    length = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    alike = np.where((a == b).all(axis=-1), 1.0, 0.0)
    product: NDArray[np.float64] = (a * b).sum(axis=-1)
    found: NDArray[np.float64] = 1.0 - np.divide(product, length, out=alike, where=(length > 0) & (alike == 0))
    return found


@final
@dataclass(frozen=True)
class Shift:
    """How far an embedding moves: by a change, with its interval; and in units of the move by `scene`.

    relative: the ratio of the means with its interval, linearised (the delta method); None where nothing moves.
    """

    mean: float
    low: float
    high: float
    relative: tuple[float, float, float] | None

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {"mean": self.mean, "interval": [self.low, self.high], "relative": self.relative}


def shifts(moved: Mapping[str, NDArray[np.float64]], *, seed: int = 0) -> dict[str, Shift]:
    """The move by each change, and by `outfit` less that by `person`; moved: change -> (people,)."""
    found: dict[str, Shift] = {}
    unit = moved["scene"]
    for change, d in {**moved, "outfit - person": moved["outfit"] - moved["person"]}.items():
        relative = None
        if unit.mean() > 0:
            ratio = float(d.mean() / unit.mean())
            relative = (ratio, *bootstrap(ratio + (d - ratio * unit) / unit.mean(), level=LEVEL, seed=seed))
        found[change] = Shift(float(d.mean()), *bootstrap(d, level=LEVEL, seed=seed), relative)
    return found
