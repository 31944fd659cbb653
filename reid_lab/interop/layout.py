"""What is known of another project's checkpoints: whose they are, what their tensors tell, which tensor is which."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from torch import Tensor

from reid_lab.errors import CheckpointError
from reid_lab.interop.containers import Model
from reid_lab.parts.tokenizers import patch_grid
from reid_lab.parts.weights import Grid, Table

Tensors = Mapping[str, Tensor]
Positions = Mapping[str, tuple[Grid | None, Grid]]


@final
@dataclass(frozen=True)
class Told:
    """What tensors tell of their model: overrides of the spec, and numbers (0: there are no tensors that tell).

    identities: rows of the classifier. sides: rows of the side information, one for each camera, view or pair of both.
    """

    sets: tuple[str, ...] = ()
    identities: int = 0
    sides: int = 0


@final
@dataclass(frozen=True)
class Trunk:
    """The pretrained trunk that an import writes as a Hugging Face folder, for `field` of a spec to name.

    kind: of the folder (`clip`, `vit`, `bert`). write: (folder, tensors, what another folder says, the size of the
    experiment's images) -> writes it.
    beside: a `config.json` beside the weights counts. words: it has a tokenizer, which no tensor tells: without a
    folder beside the weights, that of the experiment is taken, with its configuration.
    """

    field: str
    kind: str
    write: Callable[[Path, Tensors, Model | None, Grid], None]
    beside: bool = False
    words: bool = False


@final
@dataclass(frozen=True)
class Layout:
    """One project's checkpoints.

    architecture: the name of ours that they fill. roles, image_size: what their authors give it (height, width).
    told: of the tensors; raises `CheckpointError` when they are of another layout.
    table: (our model, tensors) -> where each of our tensors comes from.
    positions: (our model, tensors) -> our position tables with the grids in the file and of the model.
    ignore: patterns of keys that are no weights of the model; unread: further ones, of a model without some slots.
    renamed: tensors under the names that `table` knows.
    fresh: names of ours that keep their fresh values where the file has none. elsewhere: beginnings of names that
    another trunk of the experiment fills.
    patches: the keys of the position table and of the convolution that cuts patches, where the stride of the patches
    is told by the size of the table. trunk: what is written beside the run.
    """

    title: str
    architecture: str
    roles: tuple[str, ...]
    image_size: Grid
    told: Callable[[Tensors], Told]
    table: Callable[[Any, Tensors], Table]
    positions: Callable[[Any, Tensors], Positions]
    ignore: tuple[str, ...] = ()
    unread: Callable[[Any], tuple[str, ...]] = lambda model: ()
    renamed: Callable[[Tensors], Tensors] = dict
    fresh: Callable[[Any], Collection[str]] = lambda model: ()
    elsewhere: tuple[str, ...] = ()
    patches: tuple[str, str] | None = None
    trunk: Trunk | None = None


def depth(tensors: Tensors, prefix: str) -> int:
    """How many blocks `PREFIX.0.…`, `PREFIX.1.…`, … there are."""
    found = {int(m.group(1)) for key in tensors if (m := re.match(rf"{re.escape(prefix)}\.(\d+)\.", key))}
    return max(found, default=-1) + 1


def square(tensors: Tensors, key: str) -> int:
    """The side of a position table ([1,] 1 + cells, D) that is, or is nearly, one of a square grid."""
    return max(1, round(math.sqrt(max(0, tensors[key].shape[-2] - 1))))


def table_image(tensors: Tensors, key: str, patch: int, size: Grid) -> Grid:
    """The size of an image with as many patches as the table has cells: a square one, else `size`."""
    side = square(tensors, key)
    return size if side * side != tensors[key].shape[-2] - 1 and min(size) >= patch else (side * patch, side * patch)


def stride(tensors: Tensors, positions: str, patches: str, size: Grid) -> int | None:
    """The stride at which an image of this size is cut into as many patches as the position table has cells.

    None where no stride does, so that the table has to be resized. Of several, which a small image may have: the patch,
    else three quarters of it, with which overlapping patches are published, else the widest.
    """
    patch, cells = tensors[patches].shape[-1], tensors[positions].shape[-2] - 1
    if min(size) < patch:
        return None
    grids = {step: patch_grid(size, patch, step) for step in range(patch, 0, -1)}
    found = [step for step, (rows, columns) in grids.items() if rows * columns == cells]
    return next((step for step in (patch, patch * 3 // 4) if step in found), found[0] if found else None)


def rows(tensors: Tensors, key: str) -> int:
    """The number of rows of a tensor; 0 when there is none of that name."""
    found = tensors.get(key)
    return 0 if found is None else len(found) if found.ndim else 1


def needs(tensors: Tensors, layout: str, *keys: str) -> None:
    """Raises `CheckpointError` when keys are missing that every checkpoint of a layout has."""
    missing = [key for key in keys if key not in tensors]
    if missing:
        raise CheckpointError(f"not {layout}'s layout: missing {', '.join(missing)}")


def shaped(tensors: Tensors, layout: str, ranks: Mapping[str, int]) -> None:
    """Raises `CheckpointError` when keys are missing, or have another number of axes, whose shapes are read."""
    needs(tensors, layout, *ranks)
    odd = [f"{key} has shape {tuple(tensors[key].shape)}" for key, rank in ranks.items() if tensors[key].ndim != rank]
    if odd:
        raise CheckpointError(f"not {layout}'s layout: {', '.join(odd)}")
