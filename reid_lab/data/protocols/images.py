"""Protocols between images: one modality, several spectra together, other clothes.

Where the authors say which images ask and which answer, it is so; an item without a side is on both. In a
val split, which is cut from training images, no item has one: there every image queries all the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from reid_lab.contracts import IMAGE_ROLES
from reid_lab.data.items import ABSENT, Dataset, Groups, Items, joint
from reid_lab.data.protocols.asked import finished, finished_given, refuse, roles, roles_of
from reid_lab.data.protocols.base import Options, Protocol, Retrieval, flat
from reid_lab.data.protocols.rules import CAMERALESS, RULES, Rule, known, label
from reid_lab.errors import DataError

SPECTRA = ("rgb", "nir", "tir")


@final
class ImageToImage(Protocol):
    """Image retrieval as Market-1501 (Zheng et al., ICCV 2015) and its successors measure it.

    Val: every image queries all others. `eval.queries` names another modality than rgb for both sides
    (several: the images of one moment together), `eval.gallery_role` another one for the gallery alone.
    """

    doc = "images query images; the query's identity in its own camera, and its own moment, are removed"

    def tasks(self, dataset: Dataset, split: str, options: Options) -> tuple[Retrieval, ...]:
        """The query and the gallery images; a query without a match is skipped. Without cameras: own moment removed."""
        queries, gallery, notes = _cut(dataset, split, options, ("rgb",))
        rule = _camera_rule("camera", queries, gallery)
        return (finished(Retrieval("image_to_image", queries, gallery, rule, "skip", notes=notes), options),)

    def given(self, queries: Groups, gallery: Groups, options: Options) -> tuple[Retrieval, ...]:
        """As `tasks`; cameras must be known."""
        return (finished_given(Retrieval("image_to_image", queries, gallery, RULES["camera"], "skip"), options),)


@final
class Multispectral(Protocol):
    """Joint retrieval from all spectra of a moment (RGBNT201: Zheng et al., AAAI 2021; MSVR310: Zheng et al., 2023).

    What is removed besides the query's own moment: its identity in its scene where scenes are labels of
    their own, that is where one of them holds several moments of someone in the data set (MSVR310), else
    in its camera (RGBNT201, RGBNT100). Val: every moment queries all others, under the same rule.
    `eval.queries` chooses the modalities of both sides, `eval.gallery_role` a single one of the gallery.
    """

    doc = "the rgb, nir and tir images of a moment query those of others; same camera (or scene) and identity removed"

    def tasks(self, dataset: Dataset, split: str, options: Options) -> tuple[Retrieval, ...]:
        """The moments of both sides; a query without a match is skipped.

        Raises:
            DataError: the split has fewer than two of the spectra and no other modalities are asked for.
        """
        spectra = roles_of(dataset, split, SPECTRA)
        if options.queries is None and len(spectra) < 2:
            raise DataError(
                f"multispectral: two of {', '.join(SPECTRA)} are needed; '{split}' has {', '.join(spectra) or 'none'}"
            )
        queries, gallery, notes = _cut(dataset, split, options, spectra)
        rule = RULES["scene"] if scenes_apart(dataset.items) else _camera_rule("camera", queries, gallery)
        return (finished(Retrieval("multispectral", queries, gallery, rule, "skip", notes=notes), options),)

    def given(self, queries: Groups, gallery: Groups, options: Options) -> tuple[Retrieval, ...]:
        """As `tasks`: under the scene rule where both sides have scenes, else cameras must be known."""
        rule = RULES["scene" if known(queries, "scenes") and known(gallery, "scenes") else "camera"]
        return (finished_given(Retrieval("multispectral", queries, gallery, rule, "skip"), options),)


@final
class ClothesChanging(Protocol):
    """Clothes-changing retrieval (PRCC: Yang et al., TPAMI 2021; LTCC: Qian et al., ACCV 2020): three tasks.

    `general` removes the query's identity in its camera, `CC` also in the same clothes, `SC` (same clothes)
    also in other clothes; each its own moment too. CC is the headline: its metrics stand bare. Val: every
    image queries all others. Where cameras are unknown, clothes and moments alone decide. The authors of
    PRCC draw one gallery image of each person, ten times: `eval.gallery: {shots: 1, trials: 10}`.
    """

    doc = "three tasks: general (same camera removed), CC (same clothes too; the headline), SC (other clothes too)"

    def tasks(self, dataset: Dataset, split: str, options: Options) -> tuple[Retrieval, ...]:
        """The three tasks; queries without a match are skipped.

        Raises:
            DataError: clothes are not labelled, or `eval.removed` is given.
        """
        queries, gallery, notes = _cut(dataset, split, options, ("rgb",))
        _dressed(queries, gallery, f"the split '{split}' does not label them")
        self._own_rules(options)
        made = [
            Retrieval(name, queries, gallery, _camera_rule(rule, queries, gallery), "skip", notes=notes)
            for name, rule in _CLOTHES_TASKS.items()
        ]
        return tuple(finished(task, options) for task in made)

    def given(self, queries: Groups, gallery: Groups, options: Options) -> tuple[Retrieval, ...]:
        """As `tasks`; cameras must be known."""
        _dressed(queries, gallery, "add the key 'clothes' ((n,) integers) to both files")
        self._own_rules(options)
        made = [Retrieval(name, queries, gallery, RULES[rule], "skip") for name, rule in _CLOTHES_TASKS.items()]
        return tuple(finished_given(task, options) for task in made)

    def summary(self, rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """The metrics of CC bare, and all as `task/metric`."""
        return {**rows["CC"], **flat(rows)}

    def _own_rules(self, options: Options) -> None:
        refuse("clothes_changing", options, "its three tasks are what is removed (image_to_image takes any)", "removed")


_CLOTHES_TASKS = {"general": "camera", "CC": "clothes", "SC": "other_clothes"}


def _cut(
    dataset: Dataset, split: str, options: Options, default: Sequence[str]
) -> tuple[Groups, Groups, tuple[str, ...]]:
    """Queries, gallery, and what a result must tell of how they were cut."""
    there = roles_of(dataset, split, IMAGE_ROLES)
    asking = roles("eval.queries", options.queries, default, there)
    answering = roles("eval.gallery_role", None if options.gallery is None else (options.gallery,), asking, there)
    items = dataset.items
    queries, gallery = joint(items, split, asking, "query"), joint(items, split, answering, "gallery")
    chosen = (items.split == split) & np.isin(items.role, [*asking, *answering])
    sided = bool((items.side[chosen] != "").any())
    return queries, gallery, () if sided else ("no sides are given: every image is a query and in the gallery",)


def _camera_rule(name: str, queries: Groups, gallery: Groups) -> Rule:
    """The rule, or what is left of it where a side knows no camera."""
    return (RULES if known(queries, "camids") and known(gallery, "camids") else CAMERALESS)[name]


def scenes_apart(items: Items) -> bool:
    """Whether scenes are labels of their own, not other names of the moments: one holds several of someone."""
    labelled = (items.scene != ABSENT) & (items.pid >= 0) & np.isin(items.role, IMAGE_ROLES)
    if not labelled.any():
        return False
    scenes = np.unique(np.stack([items.pid[labelled], items.scene[labelled]]), axis=1)
    return bool(scenes.shape[1] < len(np.unique(items.image_id[labelled])))


def _dressed(queries: Groups, gallery: Groups, remedy: str) -> None:
    """Refuses groups whose clothes are unknown; distractors, of nobody who is asked for, may wear anything."""
    asked = (queries.pids >= 0, np.isin(gallery.pids, queries.pids[queries.pids >= 0]))
    for side, groups, counted in zip(("queries", "gallery items"), (queries, gallery), asked, strict=True):
        bare = int((counted & (label(groups, "clothes") == ABSENT)).sum())
        if bare:
            raise DataError(f"clothes_changing: clothes are unknown of {bare} of {len(groups)} {side}; {remedy}")
