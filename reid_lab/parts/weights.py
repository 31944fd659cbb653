"""Weights under other names: key tables, exact matching, and a report of what happened to each key.

A table says for every tensor of a module which tensors of a file make it up. Matching is exact:
whatever is missing, left over or of another shape is one `CheckpointError` that lists it all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reid_lab.errors import CheckpointError
from reid_lab.parts.tokenizers import resize_positions

Grid = tuple[int, int]


@final
@dataclass(frozen=True)
class Source:
    """Where one tensor comes from: `keys`, concatenated along the first axis, then transposed.

    `lead` counts the singleton axes that the file keeps in front.
    """

    keys: tuple[str, ...]
    transpose: bool = False
    lead: int = 0

    def read(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The tensor, float32."""
        parts = [tensors[key].to(torch.float32) for key in self.keys]
        value = torch.cat(parts) if len(parts) > 1 else parts[0]
        if all(size == 1 for size in value.shape[: self.lead]):
            value = value.reshape(value.shape[self.lead :])
        return value.T if self.transpose else value

    def write(self, value: Tensor) -> dict[str, Tensor]:
        """The tensors of the file: the inverse of `read`."""
        value = (value.T if self.transpose else value)[(None,) * self.lead]
        parts = value.chunk(len(self.keys))
        return {key: part.detach().clone().contiguous() for key, part in zip(self.keys, parts, strict=True)}


Table = Mapping[str, Source]


def one(key: str, *, transpose: bool = False, lead: int = 0) -> Source:
    """A tensor that the file holds under one key."""
    return Source((key,), transpose, lead)


@final
@dataclass(frozen=True)
class Report:
    """What became of every key: ours in the first three, the file's in `unused`."""

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    reinitialised: tuple[str, ...]
    unused: tuple[str, ...]

    def table(self) -> str:
        """One line per outcome with its count, and the keys that were not simply loaded."""
        rows = [
            ("loaded", self.loaded),
            ("resized", self.resized),
            ("re-initialised", self.reinitialised),
            ("unused", self.unused),
        ]
        lines = [f"{name:<15}{len(keys):>5}" for name, keys in rows]
        lines += [f"  {name}: {key}" for name, keys in rows[1:] for key in keys]
        return "\n".join(lines)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file (read with `weights_only=True`).

    A `model` or `state_dict` entry around them is unwrapped, and a leading `module.` is stripped.
    Raises `CheckpointError` when the file is missing, damaged, or holds anything but plain data.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights file at {path}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is not a file of plain tensors (read with weights_only=True): {first}"
        ) from error
    return unwrap(content, str(path))


def unwrap(content: object, where: str = "the checkpoint") -> dict[str, Tensor]:
    """The dict of tensors inside a loaded checkpoint."""
    for name in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{where} holds a {type(content).__name__}, not a dict of tensors")
    odd = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if odd:
        raise CheckpointError(f"{where} holds entries that are no tensors: {', '.join(odd[:8])}")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def load(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    table: Table,
    *,
    positions: Mapping[str, tuple[Grid | None, Grid]] | None = None,
    may_differ: Collection[str] = (),
    ignore: Collection[str] = (),
    where: str = "the checkpoint",
) -> Report:
    """Fills `module` from `tensors` through `table`; both sides must match exactly.

    positions: our key of a position table -> (grid in the file, grid of the module). A grid of None
        means: the module's own where the sizes agree, else a square.
    may_differ: our keys that keep their fresh values when the file has none, or one of another shape.
    ignore: patterns (regular expressions, full match) of file keys that may be left unused.
    """
    grids = positions or {}
    own = module.state_dict()
    faults: list[str] = [f"{where}: no rule for our tensor {key}" for key in own if key not in table]
    loaded: dict[str, Tensor] = {}
    resized: list[str] = []
    fresh: list[str] = []
    used: set[str] = set()
    for key, target in own.items():
        if key not in table:
            continue
        source = table[key]
        absent = [k for k in source.keys if k not in tensors]
        used.update(source.keys)
        if absent and key in may_differ:
            fresh.append(key)
            continue
        if absent:
            faults += [f"{where}: missing key {k}" for k in absent]
            continue
        try:
            value = source.read(tensors)
        except RuntimeError:  # of several tensors, shapes that cannot stand one behind the other
            shapes = ", ".join(str(tuple(tensors[k].shape)) for k in source.keys)
            faults.append(f"{where}: {' + '.join(source.keys)} have shapes {shapes}; {tuple(target.shape)} is needed")
            continue
        if key in grids and value.ndim == target.ndim:
            before = value
            value = _fit_positions(value, *grids[key])
            resized += [key] if value is not before else []
        if value.shape == target.shape:
            loaded[key] = value
        elif key in may_differ:
            fresh.append(key)
        else:
            faults.append(
                f"{where}: {' + '.join(source.keys)} has shape {tuple(value.shape)}, {tuple(target.shape)} is needed"
            )
    left = sorted(set(tensors) - used)
    surplus = [key for key in left if not any(re.fullmatch(pattern, key) for pattern in ignore)]
    faults += [f"{where}: surplus key {key}" for key in surplus]
    if faults:
        raise CheckpointError(*faults)
    module.load_state_dict(loaded, strict=False)
    plain = tuple(key for key in loaded if key not in resized)
    return Report(plain, tuple(resized), tuple(fresh), tuple(left))


def _fit_positions(table: Tensor, source: Grid | None, target: Grid) -> Tensor:
    """The position table on the grid `target`; unchanged when it cannot be told to need a resize."""
    cells = len(table) - 1
    if source is None:
        if cells < 1 or cells == target[0] * target[1]:
            return table
        side = round(cells**0.5)
        source = (side, side)
    return resize_positions(table, source, target) if source[0] * source[1] == cells else table
