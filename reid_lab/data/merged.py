"""Several data sets trained on as one: `data: {name: merged, train: [cuhk_pedes, icfg_pedes]}`.

Identities, cameras, scenes, outfits and moments of each source are numbered after those of the sources before
it, so that none collide. Val and test stay apart: protocols measure every source by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, final

import numpy as np
from pydantic import Field, model_validator

from reid_lab.data import DATASETS
from reid_lab.data.items import ABSENT, Aliases, Dataset, Groups, Items
from reid_lab.data.splits import apply_val
from reid_lab.errors import DataError, Fault, unknown
from reid_lab.spec.run import DataSpec, ValSpec
from reid_lab.spec.section import LOCAL, Misfit

_SHIFTED = ("pid", "camid", "scene", "clothes", "image_id")


class MergedSpec(DataSpec):
    """`train` names the sources, in the order in which they are numbered; `roots` says where each lies.

    `val: {identities: …}` carves a val split from every source whose authors have none. `parts`: the side
    files of text sources.
    """

    name: Literal["merged"] = "merged"
    train: tuple[str, ...]
    roots: Annotated[dict[str, str], LOCAL]
    parts: Annotated[dict[str, str], LOCAL] = {}
    aliases: Aliases = {}
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    missing: Literal["error", "skip"] = "error"
    cache: Annotated[Annotated[float, Field(ge=0)] | Literal["auto", "all", "none"], LOCAL] = "auto"  # of each source
    decoder: Annotated[Literal["pillow", "simplejpeg"], LOCAL] = "pillow"

    @model_validator(mode="after")
    def _named(self) -> MergedSpec:
        folders = [name for name, entry in DATASETS.items() if not entry.opener]
        if self.root is not None:
            raise Misfit("root", "merged data has a folder for each source: roots")
        if len(self.train) < 2 or len(set(self.train)) != len(self.train):
            raise Misfit("train", "two data sets or more are merged, each named once")
        for place, name in enumerate(self.train):
            if name not in folders:
                raise Misfit(f"train.{place}", unknown("data set in a folder", name, folders))
            if name not in self.roots:
                raise Misfit(f"roots.{name}", "missing: the folder of this source", because=f"train.{place}")
        for field in ("roots", "parts"):
            for name in getattr(self, field):
                if name not in self.train:
                    raise Misfit(f"{field}.{name}", unknown("source", name, self.train))
                if field == "parts" and "parts" not in DATASETS[name].spec.model_fields:
                    raise Misfit(f"parts.{name}", f"{name} has no captions that a side file could split")
        return self


def section(spec: MergedSpec, name: str) -> DataSpec:
    """The section of one source, as if it were opened alone."""
    fields: dict[str, Any] = {
        "root": spec.roots[name],
        "image_size": spec.image_size,
        "aliases": spec.aliases,
        "resize": spec.resize,
        "missing": spec.missing,
        "cache": spec.cache,
        "decoder": spec.decoder,
    }
    if name in spec.parts:
        fields["parts"] = spec.parts[name]
    return DATASETS[name].spec(**fields)


@final
class Merged(Dataset):
    """The items of several data sets, source after source; `sources` holds their names and digests."""

    name = "merged"

    def __init__(self, parts: Mapping[str, Dataset]) -> None:
        self.parts = tuple(parts.values())
        self.sources = {name: part.digest for name, part in parts.items()}
        self.left_out = tuple(f"{name}: {path}" for name, part in parts.items() for path in part.left_out)
        self.starts = np.cumsum([0, *(len(part.items) for part in self.parts)])
        tables, shifts = [], dict.fromkeys(_SHIFTED, 0)
        listed: dict[str, Groups] = {}
        for number, part in enumerate(self.parts):
            start = int(self.starts[number])
            for kind, groups in part.listed.items():
                moved_groups = _shifted(groups, start, shifts, number)
                listed[kind] = _joined(listed[kind], moved_groups) if kind in listed else moved_groups
            table = replace(part.items, source=np.full(len(part.items), number, dtype=np.int64))
            moved = {column: _moved(getattr(table, column), by) for column, by in shifts.items()}
            tables.append(replace(table, **moved))
            shifts = {column: max(by, int(moved[column].max(initial=ABSENT)) + 1) for column, by in shifts.items()}
        self.items = Items(
            **{column.name: np.concatenate([getattr(t, column.name) for t in tables]) for column in fields(Items)}
        )
        self.listed = listed
        told = "\n".join(f"{name} {digest}" for name, digest in self.sources.items())
        self.digest = hashlib.sha256(told.encode()).hexdigest()

    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels of image items of one role, from the sources that they belong to.

        Raises:
            DataError: as the sources; images of several sizes, where `size` is None.
        """
        index = np.asarray(index, dtype=np.int64)
        owner = np.searchsorted(self.starts, index, side="right") - 1
        read = {k: self.parts[k].images(index[owner == k] - self.starts[k], size) for k in np.unique(owner).tolist()}
        shapes = {pixels.shape[1:] for pixels in read.values()}
        if len(shapes) > 1:
            told = ", ".join(f"{list(self.sources)[k]} {pixels.shape[1:]}" for k, pixels in read.items())
            raise DataError(f"the sources deliver images of several shapes ({told}); set data.image_size")
        out = np.empty((len(index), *shapes.pop()), dtype=np.uint8)
        for k, pixels in read.items():
            out[owner == k] = pixels
        return out


def _moved(column: np.ndarray, by: int) -> np.ndarray:
    return np.where(column == ABSENT, ABSENT, column + by)


def _shifted(groups: Groups, start: int, shifts: Mapping[str, int], source: int) -> Groups:
    labels = {
        **groups.labels,
        "scenes": _moved(groups.labels["scenes"], shifts["scene"]),
        "clothes": _moved(groups.labels["clothes"], shifts["clothes"]),
        "sources": np.full(len(groups), source, dtype=np.int64),
    }
    return Groups(
        {role: _moved(column, start) for role, column in groups.members.items()},
        _moved(groups.pids, shifts["pid"]),
        _moved(groups.camids, shifts["camid"]),
        _moved(groups.image_ids, shifts["image_id"]),
        labels,
    )


def _joined(left: Groups, right: Groups) -> Groups:
    """The groups of one kind, those of an earlier source first."""
    members = {
        role: np.concatenate(
            [groups.members.get(role, np.full(len(groups), ABSENT, dtype=np.int64)) for groups in (left, right)]
        )
        for role in {**left.members, **right.members}
    }
    return Groups(
        members,
        np.concatenate([left.pids, right.pids]),
        np.concatenate([left.camids, right.camids]),
        np.concatenate([left.image_ids, right.image_ids]),
        {name: np.concatenate([left.labels[name], right.labels[name]]) for name in left.labels},
    )


def open_merged(spec: MergedSpec, cache: Path, *, lenient: bool = False) -> Merged:
    """Opens every source with its val split; lenient: without one where its authors have none.

    Raises `DataError` with the faults of all sources.
    """
    parts: dict[str, Dataset] = {}
    faults: list[Fault] = []
    for name in spec.train:
        try:
            part = DATASETS[name].as_it_is(section(spec, name), cache)
            parts[name] = part if lenient and spec.val == "authors" else _with_val(part, spec.val)
        except DataError as error:
            faults += [replace(fault, what=f"{fault.what} (data.roots.{name})") for fault in error.faults]
    if faults:
        raise DataError(*faults)
    return Merged(parts)


def _with_val(dataset: Dataset, val: ValSpec | Literal["authors", "none"]) -> Dataset:
    if isinstance(val, ValSpec):
        if "val" in dataset.items.splits():
            return dataset
        return apply_val(dataset, (val.identities, val.seed))
    return apply_val(dataset, val)
