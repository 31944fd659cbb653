"""A finished run's model in the hand: embeddings of any images and captions, and searches."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from PIL import Image

from reid_lab.api.given import PathLike, folder, name_of
from reid_lab.api.showing import table
from reid_lab.assembly import Parts
from reid_lab.contracts import IMAGE_ROLES, TEXT_ROLES
from reid_lab.data.decode import BROKEN, framed, plain, unreadable
from reid_lab.data.gallery import COLOUR
from reid_lab.data.items import ABSENT, Dataset, Groups, Row, resolve_modality, tabulate
from reid_lab.data.loader import Loader
from reid_lab.errors import DataError, Fault, UserError
from reid_lab.reload import alone
from reid_lab.tracking.runs import RunFolder, find

if TYPE_CHECKING:
    from pandas import DataFrame

    from reid_lab.contracts import Architecture

Picture = PathLike | np.ndarray | Image.Image
"""A file, pixels (height, width, 3) or (height, width) uint8, or an image of Pillow's."""

_FILTER = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def load(run: Any, *, device: str | None = None, runs: PathLike | None = None) -> Model:
    """The model of a finished run, with its selected weights.

    Args:
        run: its id, how it begins, its folder, or what `run` returned.
        device: auto, cpu, cuda, …; None: as the run's experiment says.
        runs: the folder of runs; None: REID_LAB_RUNS, else `runs` here.

    Raises:
        UserError: an unknown or unfinished run, one without weights, weights that do not fit.
    """
    place = folder(runs)
    found = find(place, name_of(run))
    return Model(found, alone(found, device), place)


@final
class Model:
    """A trained model. roles: what it reads; module: the architecture itself, for whoever wants more."""

    def __init__(self, folder: RunFolder, parts: Parts, runs: Path) -> None:
        self._folder, self._parts, self._runs = folder, parts, runs

    @property
    def run(self) -> str:
        """The run's id."""
        return self._folder.run_id

    @property
    def architecture(self) -> str:
        """The architecture's registered name."""
        return self._parts.spec.model.name

    @property
    def roles(self) -> tuple[str, ...]:
        """The inputs that the model reads: `rgb`, `caption`, …"""
        return tuple(self._parts.model.inputs)

    @property
    def module(self) -> Architecture:
        """The torch module."""
        return self._parts.model

    def __repr__(self) -> str:
        return f"<{self.architecture} of run {self.run}, reads {', '.join(self.roles)}>"

    def embed(self, **inputs: Any) -> np.ndarray:
        """The embeddings (n, D) float32 of n groups, each of length 1: their inner products are similarities.

        Args:
            **inputs: role -> one item or a list of n. Roles are those that the model reads, by any of their names;
                `images` are rgb images, `captions` whole captions (or the first text role that the model reads).
                Several roles are one group each: a query of an image and its words; None stands for an item that a
                group lacks. Images are files, arrays (height, width, 3) uint8, or images of Pillow's.

        Raises:
            UserError: a role that the model does not read, lists of different lengths, a group without any item, an
                image that cannot be read.
        """
        columns = {self._role(name): _listed(values) for name, values in inputs.items()}
        if len(columns) < len(inputs):
            raise UserError(f"{', '.join(inputs)}: two of these name the same role")
        counts = {len(values) for values in columns.values()}
        if not columns or counts == {0}:
            raise UserError(f"nothing to embed; {self.architecture} reads {', '.join(self.roles)}")
        if len(counts) > 1:
            told = ", ".join(f"{len(values)} {role}" for role, values in columns.items())
            raise UserError(f"lists of different lengths: {told}; None stands for an item that a group lacks")
        given = _Given(columns, _FILTER[str(getattr(self._parts.spec.data, "resize", "bilinear"))])
        unknown = np.full(counts.pop(), ABSENT, dtype=np.int64)
        groups = Groups(given.members, unknown, unknown, unknown)
        over = replace(
            self._parts,
            source=replace(self._parts.source, dataset=given),
            loader=Loader(given, self._parts.model.inputs),
        )
        found: np.ndarray = over.embed(groups).numpy()
        return found

    def items(self, split: str | None = None) -> DataFrame:
        """The items of the run's data, as `reid_lab.items` lists them."""
        from reid_lab.assembly import open_source

        return table(open_source(self._parts.spec.data, trained=True).dataset.items, split)

    def search(
        self,
        words: str | None = None,
        *,
        images: PathLike | Mapping[str, PathLike] | None = None,
        gallery: str | None = None,
        top: int = 20,
        pid: int | None = None,
        out: PathLike | None = None,
    ) -> DataFrame:
        """Ranks a gallery for words, images, or both: `reid-lab search`.

        Args:
            words: who is looked for.
            images: a file, or role -> file.
            gallery: a folder of images, `FOLDER` or `ROLE=FOLDER`; None: the run's own test gallery.
            top: how many are returned.
            pid: the identity looked for, if known.
            out: a page to write, `.html` or `.png`.

        Returns:
            Columns `rank` (from 1), `score`, `image`, `pid` (-1 where unknown), `correct` (None where unknown).

        Raises:
            UserError: as the command.
        """
        from pandas import DataFrame

        from reid_lab.search import search

        pictures = images if isinstance(images, Mapping) else {} if images is None else {"rgb": images}
        found = search(
            str(self._folder.path),
            self._runs,
            words=words,
            images=[f"{role}={os.fspath(file)}" for role, file in pictures.items()],
            gallery=gallery,
            top=top,
            pid=pid,
            out=None if out is None else Path(out),
            device=str(self._parts.runtime.device),
        )
        ranks = range(1, len(found.names) + 1)
        columns = {"rank": ranks, "score": found.scores, "image": found.names, "pid": found.pids}
        return DataFrame({**columns, "correct": found.correct})

    def _role(self, name: str) -> str:
        """The role that a name of an input means. Raises `UserError` where the model does not read it."""
        if name == "captions":
            told = [role for role in TEXT_ROLES if role in self.roles]
        elif name == "images":
            told = [role for role in IMAGE_ROLES if role in self.roles]
        else:
            told = [resolve_modality(name, self._parts.spec.data.aliases)]
        if not told or told[0] not in self.roles:
            raise UserError(f"{name}: {self.architecture} reads {', '.join(self.roles)}")
        return told[0]


def _listed(values: Any) -> list[Any]:
    """A list as it is; a single item as a list of it. An array of four dimensions is a list of images."""
    if isinstance(values, str | os.PathLike | Image.Image) or values is None:
        return [values]
    if isinstance(values, np.ndarray) and values.ndim < 4 and values.dtype.kind not in "OUS":
        return [values]
    if isinstance(values, Mapping) or not hasattr(values, "__iter__"):
        raise UserError(f"expected an item or a list of items, got {type(values).__name__}")
    return list(values)


@final
class _Given(Dataset):
    """Items that a caller holds. members: role -> (n,) item numbers, -1 where a group lacks the role."""

    name = "given"
    digest = ""

    def __init__(self, columns: Mapping[str, Sequence[Any]], resample: Image.Resampling) -> None:
        rows, self._pictures, self._filter = list[Row](), list[Any](), resample
        self.members: dict[str, np.ndarray] = {}
        faults = list[Fault | str]()
        for role, values in columns.items():
            members = np.full(len(values), ABSENT, dtype=np.int64)
            for place, value in enumerate(values):
                if value is None:
                    continue
                if role in TEXT_ROLES and not (isinstance(value, str) and value.strip()):
                    faults.append(f"{role} {place}: expected words, got {value!r}")
                members[place] = len(rows)
                rows.append(Row("test", role, ABSENT, ABSENT, caption=value if role in TEXT_ROLES else None))
                self._pictures.append(value)
            self.members[role] = members
        empty = np.flatnonzero(np.all([column == ABSENT for column in self.members.values()], axis=0))
        faults += [f"group {k} has no item at all" for k in empty.tolist()]
        if faults:
            raise DataError(*faults)
        self.items = tabulate(rows)

    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels of image items of one role, (n, C, height, width) uint8; C is 3 in colour, else 1."""
        assert size is not None
        mode: Literal["RGB", "L"] = "RGB" if str(self.items.role[index[0]]) in COLOUR else "L"
        found, faults = [], []
        for number in index.tolist():
            try:
                found.append(framed(_opened(self._pictures[number]), mode, size, None, self._filter))
            except BROKEN as error:
                faults.append(_unread(self._pictures[number], error))
        if faults:
            raise DataError(*faults)
        return np.stack(found)


def _opened(picture: Picture) -> Image.Image:
    """The image in mode L or RGB. Raises one of `decode.BROKEN`."""
    if isinstance(picture, Image.Image):
        return plain(picture)
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)):
            what = f"expected (height, width, 3) or (height, width) uint8, got {picture.shape} {picture.dtype}"
            raise ValueError(what)
        return Image.fromarray(picture)
    with Image.open(picture) as opened:
        return plain(opened)


def _unread(picture: Any, error: BaseException) -> Fault:
    if isinstance(picture, str | os.PathLike):
        return unreadable(Path(picture), error)
    return Fault(f"an image of {type(picture).__name__} cannot be read ({error})")
