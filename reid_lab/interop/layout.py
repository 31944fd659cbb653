"""What is known of another project's checkpoints: whose they are, what their tensors tell, which tensor is which."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from reid_lab.errors import CheckpointError
from reid_lab.parts.weights import Grid, Table

Tensors = Mapping[str, Tensor]
Positions = Mapping[str, tuple[Grid | None, Grid]]


@final
@dataclass(frozen=True)
class Told:
    """What tensors tell of their model: overrides of the spec, and the number of identities (0: no classifier)."""

    sets: tuple[str, ...] = ()
    identities: int = 0


@final
@dataclass(frozen=True)
class Layout:
    """One project's checkpoints.

    architecture: the name of ours that they fill. roles, image_size: what their authors give it (height, width).
    told: of the tensors; raises `CheckpointError` when they are of another layout.
    table: (our model, tensors) -> where each of our tensors comes from.
    positions: (our model, tensors) -> our position tables with the grids in the file and of the model.
    ignore: patterns of keys that are no weights of the model. renamed: tensors under the names that `table` knows.
    fresh: names of ours that keep their fresh values where the file has none.
    """

    title: str
    architecture: str
    roles: tuple[str, ...]
    image_size: Grid
    told: Callable[[Tensors], Told]
    table: Callable[[Any, Tensors], Table]
    positions: Callable[[Any, Tensors], Positions]
    ignore: tuple[str, ...] = ()
    renamed: Callable[[Tensors], Tensors] = dict
    fresh: Callable[[Any], Collection[str]] = lambda model: ()


def depth(tensors: Tensors, prefix: str) -> int:
    """How many blocks `PREFIX.0.…`, `PREFIX.1.…`, … there are."""
    found = {int(m.group(1)) for key in tensors if (m := re.match(rf"{re.escape(prefix)}\.(\d+)\.", key))}
    return max(found, default=-1) + 1


def rows(tensors: Tensors, key: str) -> int:
    """The number of rows of a tensor; 0 when there is none of that name."""
    return len(tensors[key]) if key in tensors else 0


def needs(tensors: Tensors, layout: str, *keys: str) -> None:
    """Raises `CheckpointError` when keys are missing that every checkpoint of a layout has."""
    missing = [key for key in keys if key not in tensors]
    if missing:
        raise CheckpointError(f"not {layout}'s layout: missing {', '.join(missing)}")
