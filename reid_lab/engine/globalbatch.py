"""The global batch: what all ranks and micro-batches encoded, as one, and its gradients taken apart.

Everything that looks across samples (contrastive losses, BatchNorm, classifiers) reads the merged
features, which are leaves of a graph of their own. Their gradients are then sent back through each
micro-batch's trunk. See docs/decisions/0002-gradients-averaged-by-hand.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from reid_lab.contracts import Batch, Encoded, Input
from reid_lab.engine.runtime import Runtime


def split(batch: Batch, parts: int) -> list[Batch]:
    """At most `parts` contiguous micro-batches of nearly equal size, none of them empty."""
    bounds = [batch.size * i // parts for i in range(parts + 1)]
    pairs = [(a, b) for a, b in pairwise(bounds) if b > a]
    return [batch] if len(pairs) == 1 else [batch.rows(a, b) for a, b in pairs]


def groups_in(encoded: Encoded) -> int:
    """Number of groups B of an encoded batch."""
    return int(next(iter(encoded.groups.values())).shape[0])


@final
@dataclass(frozen=True)
class GlobalBatch:
    """`encoded`: items and groups of all parts, in order (ranks, then micro-batches); no `local`.

    `spans`: for each of this rank's parts, where each item's rows lie in the merged values.
    """

    encoded: Encoded
    spans: tuple[dict[str, slice], ...]

    @property
    def size(self) -> int:
        """Number of groups over all ranks and micro-batches."""
        return groups_in(self.encoded)

    def gradients(self, part: int, encoded: Encoded, world: int) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors of one own part to start the backward pass from, and their gradients.

        Every rank computes the same loss from the same merged features, so the gradient of a row is
        the same on each; times `world`, because gradients are averaged over ranks afterwards.
        """
        tensors, gradients = [], []
        for name, item in encoded.items.items():
            gradient = self.encoded.items[name].values.grad
            if gradient is not None and item.values.requires_grad:
                tensors.append(item.values)
                gradients.append(gradient[self.spans[part][name]] * world)
        return tensors, gradients


def merge(parts: Sequence[Encoded], runtime: Runtime, *, cached: bool) -> GlobalBatch:
    """This rank's parts and those of all others as one global batch.

    Floating values become leaves that require a gradient, unless it is certain that no trunk wants
    one (a single rank whose values do not require it). `cached`: the parts were encoded without
    gradient, so that it is not certain.
    """
    everyone, first = _exchange(parts, runtime)
    sizes = [groups_in(part) for part in everyone]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    items: dict[str, Input] = {}
    spans: list[dict[str, slice]] = [{} for _ in parts]
    for name in dict.fromkeys(name for part in everyone for name in part.items):
        having = [i for i, part in enumerate(everyone) if name in part.items]
        values = torch.cat([everyone[i].items[name].values.detach() for i in having])
        rows = torch.cat([everyone[i].items[name].rows + starts[i] for i in having])
        wanted = cached or runtime.world > 1 or any(everyone[i].items[name].values.requires_grad for i in having)
        items[name] = Input(values.requires_grad_(wanted and values.is_floating_point()), rows)
        at = 0
        for i in having:
            count = everyone[i].items[name].values.shape[0]
            if first <= i < first + len(parts):
                spans[i - first][name] = slice(at, at + count)
            at += count
    groups = {name: torch.cat([part.groups[name] for part in everyone]) for name in everyone[0].groups}
    return GlobalBatch(Encoded(items, groups), tuple(spans))


def _exchange(parts: Sequence[Encoded], runtime: Runtime) -> tuple[list[Encoded], int]:
    """The parts of all ranks in order, and the index of this rank's first one among them.

    This rank's own parts are passed through; those of others carry no gradient and no `local`.
    """
    if runtime.world == 1:
        return list(parts), 0
    flat: dict[str, Tensor] = {}
    for i, part in enumerate(parts):
        for name, item in part.items.items():
            flat[f"{i}/values/{name}"] = item.values
            flat[f"{i}/rows/{name}"] = item.rows
        for name, group in part.groups.items():
            flat[f"{i}/groups/{name}"] = group
    everyone: list[Encoded] = []
    first = 0
    for rank, tensors in enumerate(runtime.gather(flat)):
        if rank == runtime.rank:
            first = len(everyone)
        everyone += _unflatten(tensors)
    return everyone, first


def _unflatten(tensors: dict[str, Tensor]) -> list[Encoded]:
    count = 1 + max((int(name.split("/")[0]) for name in tensors), default=-1)
    found = []
    for i in range(count):
        of = {
            kind: {n.split("/", 2)[2]: t for n, t in tensors.items() if n.startswith(f"{i}/{kind}/")}
            for kind in ("values", "rows", "groups")
        }
        found.append(Encoded({n: Input(v, of["rows"][n]) for n, v in of["values"].items()}, of["groups"]))
    return found
