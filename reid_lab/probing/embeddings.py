"""The embeddings that a run's model has names for, of any groups of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lab.assembly import Parts
from reid_lab.contracts import Batch
from reid_lab.data.items import Groups
from reid_lab.engine.evaluate import evaluating
from reid_lab.schedules import Progress

Vectors = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Named:
    """An embedding: what it is called, the roles whose items it is of, and the value that it is.

    value: a name among the architecture's values; empty: what `embed` makes of the roles, by which is retrieved.
    """

    name: str
    roles: tuple[str, ...]
    value: str = ""


def named(parts: Parts, asked: Sequence[tuple[str, ...]] = ()) -> list[Named]:
    """What `embed` makes of every role that the data have, and of the roles `asked` together; then the named values."""
    there = [role for role in parts.model.inputs if role in parts.source.facts.roles]
    together = [tuple(roles) for roles in asked if len(roles) > 1 and set(roles) <= set(there)]
    found = [Named("+".join(roles), roles) for roles in dict.fromkeys([*((role,) for role in there), *together])]
    for name, (value, roles) in parts.model.embeddings.items():
        if set(roles) <= set(there):
            found.append(Named(name, roles, value))
    return found


def embedded(
    parts: Parts, wanted: Sequence[Named], groups_of: Callable[[tuple[str, ...]], Groups]
) -> dict[str, Vectors]:
    """Name -> (n, D) of the groups of its roles, which all must have one item of each; absent values are left out."""
    found: dict[str, Vectors] = {}
    for roles in dict.fromkeys(one.roles for one in wanted):
        alike = [one for one in wanted if one.roles == roles]
        rows: dict[str, list[Tensor]] = {one.name: [] for one in alike}
        with evaluating(parts.model), torch.inference_mode():
            for batch in parts.loader.batches(groups_of(roles), parts.spec.eval.batch):
                ready = parts.prepare(batch.to(parts.runtime.device))
                with parts.runtime.autocast():
                    made = _of(parts, alike, ready)
                for name, value in made.items():
                    rows[name].append(value.float().cpu())
        found |= {name: torch.cat(pieces).numpy() for name, pieces in rows.items() if pieces}
    return {one.name: found[one.name] for one in wanted if one.name in found}


def _of(parts: Parts, wanted: Sequence[Named], batch: Batch) -> Mapping[str, Tensor]:
    found: dict[str, Tensor] = {}
    values: Mapping[str, Tensor] = {}
    if any(one.value for one in wanted):
        values = parts.model.values(parts.model.encode(batch), Progress(0, 1, 1))
    for one in wanted:
        if not one.value:
            found[one.name] = parts.model.embed(batch)
        elif one.value in values:
            value = values[one.value]
            found[one.name] = value[:, 0] if value.dim() == 3 else value
    return found
