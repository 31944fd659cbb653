"""What the rooms above and below agree on.

`Batch` goes into an architecture, `Encoded` and named values come out, `Term`s are summed by the
engine. Roles name what an input is; a role that no item fills is absent: no zeros, no null tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from typing import Protocol as TypingProtocol

import torch
from torch import Tensor, nn

from reid_lab.schedules import Progress, Schedule

IMAGE_ROLES = ("rgb", "nir", "tir", "sketch", "cpencil")
TEXT_ROLES = ("caption", "id_caption", "cloth_caption")
ROLES = IMAGE_ROLES + TEXT_ROLES


@dataclass(frozen=True)
class InputSpec:
    """How an architecture wants one role delivered.

    Images: `size` (height, width) in pixels, `channels`, `mean` and `std` of the normalisation.
    Text: `tokenize` maps captions to ids (n, max_length) int64, padded with `pad_id`.
    """

    size: tuple[int, int] | None = None
    channels: int = 3
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    tokenize: Callable[[list[str]], Tensor] | None = None
    max_length: int = 0
    pad_id: int = 0


@dataclass(frozen=True)
class Input:
    """The items of one role: `values` (n, C, H, W) or (n, L); `rows` (n,) int64 gives each item's group."""

    values: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> Input:
        """The same items on another device."""
        return Input(self.values.to(device, non_blocking=True), self.rows.to(device, non_blocking=True))


@dataclass(frozen=True)
class Batch:
    """B groups; each has what is known of it and any subset of the inputs.

    groups: name -> (B,) int64: `pids` (0-based in training), `camids`, `image_ids`, …, and `keys`,
        the sample's random key (`reid_lab.seeding.keys`).
    inputs: role -> items. Images are uint8 as loaded, and normalised float once the engine has
        augmented them.
    """

    groups: Mapping[str, Tensor]
    inputs: Mapping[str, Input]

    @property
    def size(self) -> int:
        """Number of groups B."""
        return int(self.groups["pids"].shape[0])

    @property
    def device(self) -> torch.device:
        """Where the batch lies."""
        return self.groups["pids"].device

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(
            {k: v.to(device, non_blocking=True) for k, v in self.groups.items()},
            {k: v.to(device) for k, v in self.inputs.items()},
        )

    def with_inputs(self, **inputs: Input) -> Batch:
        """A copy with some inputs replaced."""
        return replace(self, inputs={**self.inputs, **inputs})

    def rows(self, start: int, stop: int) -> Batch:
        """The groups start..stop, with row numbers counted from `start`."""
        inputs = {}
        for role, item in self.inputs.items():
            keep = (item.rows >= start) & (item.rows < stop)
            if bool(keep.any()):
                inputs[role] = Input(item.values[keep], item.rows[keep] - start)
        return Batch({k: v[start:stop] for k, v in self.groups.items()}, inputs)


@dataclass(frozen=True)
class Encoded:
    """What the trunks made of a batch, before anything that looks across samples.

    items: name -> `Input`; gathered over ranks and micro-batches (values concatenated, rows shifted).
    groups: name -> (B,) int64, gathered likewise.
    local: name -> tensors that stay where they are; read by `local` terms only.
    """

    items: Mapping[str, Input]
    groups: Mapping[str, Tensor]
    local: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Sum:
    """A loss summed over its valid rows, and how many there are: `total` scalar, `count` scalar."""

    total: Tensor
    count: Tensor


@dataclass(frozen=True)
class Term:
    """One loss (or diagnostic): `fn(**{n: values[n] for n in needs})`, weighted and summed by the engine.

    A term over the global batch returns a scalar, or a `Sum` when rows can be invalid. A `local`
    term reads `Encoded.local` and returns a `Sum`, which the engine divides by the count over all
    ranks and micro-batches. A term whose count is 0, or whose needs are not among the values,
    contributes an exact 0 that keeps the graph, and is logged as absent.
    """

    name: str
    fn: Callable[..., Any]
    needs: tuple[str, ...]
    weight: float | Schedule = 1.0
    local: bool = False


@dataclass(frozen=True)
class Facts:
    """What an architecture may know of the data: counts, never the data set's name.

    image_size: height and width of the images as they are delivered. labels: further labels of a
    group (`Batch.groups`), each with its number of values; -1 is unknown.
    """

    identities: int
    cameras: int = 0
    roles: tuple[str, ...] = ("rgb", "caption")
    image_size: tuple[int, int] = (384, 128)
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """What a finished run found: metrics in percent; `test` is None while only `fit` is finished.

    gflops: 10^9 operations to embed an image (a caption, where the model reads no images); latency: seconds for one.
    Both are NaN where the run did not record them.
    """

    run_id: str
    folder: Path
    seed: int
    best_step: int
    val: Mapping[str, float]
    test: Mapping[str, float] | None
    seconds: float
    parameters: int
    trainable: int
    peak_memory: int
    selected_on: str
    fitted_on: str = "train"
    gflops: float = float("nan")
    latency: float = float("nan")


@dataclass(frozen=True)
class GroupRule:
    """The optimiser group of a parameter: factors on the base learning rate and weight decay."""

    name: str
    lr_factor: float = 1.0
    weight_decay_factor: float = 1.0


class Architecture(nn.Module, ABC):
    """A model family. Subclasses are final; switches are decided in `__init__`.

    dead: name patterns (`*`, `?`) of parameters that a published choice leaves without a gradient, whatever the
    batch (the queries and keys of an attention over one token). Nothing else may be without one.
    embeddings: what there is to look at beside `embed`: name -> one of `values` (n, D), or tokens (n, T, D) of which
    the first counts, and the roles whose n items it is of. A value that a spec leaves out may be named.
    """

    inputs: Mapping[str, InputSpec]
    terms: tuple[Term, ...]
    diagnostics: tuple[Term, ...] = ()
    dead: tuple[str, ...] = ()
    embeddings: Mapping[str, tuple[str, tuple[str, ...]]] = {}

    @abstractmethod
    def encode(self, batch: Batch) -> Encoded:
        """Local and per item: the trunks. No BatchNorm, no loss."""

    @abstractmethod
    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """Heads, BatchNorm, classifiers, on the global batch; the same on every rank."""

    @abstractmethod
    def embed(self, batch: Batch) -> Tensor:
        """(groups, D) float32, L2-normalised, for retrieval; a fused query is a group with several inputs."""

    def group_rule(self, parameter: str) -> GroupRule:
        """The optimiser group of a named parameter; by default one group for all."""
        return GroupRule("all")


class Recorder(TypingProtocol):
    """Where the engine writes what happened; the journal is one. Kinds are named in tracking.records."""

    def record(self, kind: str, name: str, step: int, value: Any) -> None:
        """Append one record; a key (kind, name, step) already held is compared instead."""

    def flush(self) -> None:
        """Make everything recorded so far durable (fsync) and visible to the mirror."""


class Stream(TypingProtocol):
    """Training batches as a pure function of the step."""

    steps_per_epoch: int

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """The share of global batch `step` that belongs to `rank` (contiguous rows, in order)."""


Prepare = Callable[[Batch], Batch]
"""Batched functions on the run's device: augmentation (training only) and normalisation of images."""
