"""Protocols across modalities: each one against photographs, and the 32 kinds of query of ORBench."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

import numpy as np
import torch

from reid_lab import seeding
from reid_lab.contracts import IMAGE_ROLES, ROLES
from reid_lab.data.items import ABSENT, Dataset, Groups, Items, grouped, joint, on_side
from reid_lab.data.omni import AVERAGES, KINDS
from reid_lab.data.protocols.asked import finished, finished_given, refuse, roles, roles_of
from reid_lab.data.protocols.base import Options, Protocol, Retrieval, flat, mean_of
from reid_lab.data.protocols.rules import NOTHING
from reid_lab.errors import DataError, unknown

MODALITIES = (*IMAGE_ROLES, "caption")


@final
class CrossModal(Protocol):
    """Every modality by itself against photographs: one task for each role of the query side, named by it.

    The parts of captions are asked for by name (`eval.queries`). Items stand on the sides that the authors
    say; in val, which has none, every item of the other modalities queries all images of the gallery's.
    """

    doc = "each modality queries the rgb gallery, one task each; nothing is removed"

    def tasks(self, dataset: Dataset, split: str, options: Options) -> tuple[Retrieval, ...]:
        """A task for each modality; a query without a match counts as a miss.

        Raises:
            DataError: the split has no other modality than the gallery's on its query side.
        """
        items, there = dataset.items, roles_of(dataset, split, ROLES)
        wanted = None if options.gallery is None else (options.gallery,)
        (answering,) = roles("eval.gallery_role", wanted, ("rgb",), there)
        gallery = joint(items, split, (answering,), "gallery")
        others = [role for role in there if role != answering]
        default = [r for r in others if r in MODALITIES and len(on_side(items, items.select(split, r), "query"))]
        asking = roles("eval.queries", options.queries, default, others)
        if not asking:
            raise DataError(f"cross_modal: '{split}' has no modality that could query {answering}")
        return tuple(
            finished(Retrieval(role, joint(items, split, (role,), "query"), gallery, NOTHING, "zero"), options)
            for role in asking
        )

    def given(self, queries: Groups, gallery: Groups, options: Options) -> tuple[Retrieval, ...]:
        """A single task: what modality the features are of is not known."""
        return (finished_given(Retrieval("cross_modal", queries, gallery, NOTHING, "zero"), options),)


@final
class Omni(Protocol):
    """The 32 kinds of query of ORBench against its rgb gallery, in published order (`data.omni`).

    In test, the queries are those that the authors list. Elsewhere (val, and data sets whose authors list
    none) they are formed: every item of a kind's first modality is a query; its partner in each further
    modality is an item of the same identity, hashed from kind, modality and the first item's moment and
    number, so that queries are the same on every machine and in every run. An identity without an item of
    one of the modalities has no query of that kind. Items stand on the sides that the authors say, in val
    on both. Kinds without a query are left out, and every result names them.

    A summary has the kinds that there are, the averages ONE, TWO, THREE and FOUR over them, and the mean
    of the averages bare: its mAP is the score of the PRCV challenge.
    """

    doc = "ORBench: 32 kinds of query against rgb, averages ONE to FOUR, and their mean; nothing is removed"

    def tasks(self, dataset: Dataset, split: str, options: Options) -> tuple[Retrieval, ...]:
        """A task for each kind; a query without a match counts as a miss.

        Raises:
            DataError: no query of any kind, no rgb gallery, a listed kind that is not one of the 32, or
                `eval.queries` or `eval.gallery_role` is given.
        """
        refuse("omni", options, "its queries and gallery are its own (cross_modal takes any)", "queries", "gallery")
        gallery = joint(dataset.items, split, ("rgb",), "gallery")
        listed = split == "test" and any(map(len, dataset.listed.values()))
        for name in dataset.listed if listed else ():
            if name not in KINDS:
                raise DataError(f"omni: {unknown('kind of query', name, KINDS)}")
        asked = dict(dataset.listed) if listed else dict(formed(dataset.items, split))
        found = {kind: asked[kind] for kind in KINDS if kind in asked and len(asked[kind])}
        if not found:
            raise DataError(f"omni: '{split}' has no query of any kind (nir, cpencil, sketch or caption)")
        absent = [kind for kind in KINDS if kind not in found]
        notes = () if listed else (f"queries are formed from the items: the authors list none for {split}",)
        if absent:
            notes = (*notes, f"kinds without a query, left out of all averages: {', '.join(absent)}")
        return tuple(
            finished(Retrieval(kind, queries, gallery, NOTHING, "zero", notes=notes), options)
            for kind, queries in found.items()
        )

    def given(self, queries: Groups, gallery: Groups, options: Options) -> tuple[Retrieval, ...]:
        """Refused with a `DataError`: features are of one kind of query."""
        raise DataError("omni measures 32 kinds of query at once; measure the features of one kind with cross_modal")

    def summary(self, rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """As the class says."""
        parts = {name: [rows[kind] for kind in kinds if kind in rows] for name, kinds in AVERAGES.items()}
        averages = {name: mean_of(part) for name, part in parts.items() if part}
        return {**mean_of(averages.values()), **flat(averages), **flat(rows)}


def formed(items: Items, split: str) -> Iterator[tuple[str, Groups]]:
    """Queries of every kind whose modalities a split has, from its own items: (kind, groups), see `Omni`."""
    candidates = {}
    for role in sorted({role for asked in KINDS.values() for role in asked}):
        own = on_side(items, items.select(split, role), "query")
        candidates[role] = own[items.pid[own] >= 0]
    for kind, (anchor, *others) in KINDS.items():
        first = candidates[anchor]
        members = {anchor: first} | {
            role: _partners(items, first, candidates[role], f"omni/{kind}/{role}") for role in others
        }
        whole = np.all([column != ABSENT for column in members.values()], axis=0)
        if whole.any():
            yield kind, grouped(items, split, {role: column[whole] for role, column in members.items()})


def _partners(items: Items, anchors: np.ndarray, candidates: np.ndarray, name: str) -> np.ndarray:
    """An item of each anchor's identity among the candidates: (n,) item numbers, -1 where there is none."""
    ordered = candidates[np.argsort(items.pid[candidates], kind="stable")]
    pids, wanted = items.pid[ordered], items.pid[anchors]
    low, high = np.searchsorted(pids, wanted), np.searchsorted(pids, wanted, side="right")
    moments = seeding.keys(0, 0, torch.from_numpy(items.image_id[anchors]))
    luck = seeding.uniform(seeding.mix(moments ^ torch.from_numpy(items.number[anchors])), name, 1)[:, 0].numpy()
    chosen = low + (luck.astype(np.float64) * (high - low)).astype(np.int64)
    return np.append(ordered, ABSENT)[np.where(high > low, chosen, ABSENT)]
