"""From groups of items to batches.

`Loader` reads the items of given groups; `TrainStream` lists the groups of each training step. Both are
pure functions, so that a batch is the same on any rank, with any number of workers and after a resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import final

import numpy as np
import torch
from torch import Tensor

from reid_lab.contracts import Batch, Input, InputSpec
from reid_lab.data.items import ABSENT, Dataset, Groups
from reid_lab.data.partners import Filler
from reid_lab.data.sampler import Sampler, Schedule
from reid_lab.errors import DataError
from reid_lab.seeding import keys as sample_keys

RESULT_VERSION = 1  # raised by hand when the same data and seed give other batches


@final
class Loader:
    """Reads the inputs of groups: images as uint8 at the size that the architecture wants, captions as ids.

    All captions of the wanted roles are tokenised once, here. Where three channels are wanted of an image
    that has one, it is repeated; of three, one is made as Pillow makes grey of colour. pin: images lie in
    page-locked memory, from which they go to a GPU while it computes.
    """

    def __init__(self, dataset: Dataset, inputs: Mapping[str, InputSpec], *, pin: bool = False) -> None:
        self.dataset, self._pin = dataset, pin
        self.inputs = dict(inputs)
        items = dataset.items
        self._ids: dict[str, Tensor] = {}
        self._row = np.zeros(len(items), dtype=np.int64)
        for role, spec in inputs.items():
            every = np.flatnonzero(items.role == role)
            if spec.tokenize is not None and len(every):
                self._row[every] = np.arange(len(every))
                self._ids[role] = spec.tokenize(items.caption[every].tolist())

    def batch(self, groups: Groups, index: np.ndarray, keys: Tensor | None = None) -> Batch:
        """The groups `index` (n,) as a batch; `keys` (n,) are their random keys, zeros where none are needed."""
        labels = {"pids": groups.pids, "camids": groups.camids, "image_ids": groups.image_ids, **groups.labels}
        fields = {name: torch.from_numpy(column[index]) for name, column in labels.items()}
        fields["keys"] = torch.zeros(len(index), dtype=torch.int64) if keys is None else keys
        inputs = {}
        for role, members in groups.members.items():
            present = np.flatnonzero(members[index] != ABSENT)
            if role in self.inputs and len(present):
                inputs[role] = Input(self._values(role, members[index][present]), torch.from_numpy(present))
        return Batch(fields, inputs)

    def batches(self, groups: Groups, size: int) -> Iterator[Batch]:
        """All groups in order, `size` at a time."""
        for start in range(0, len(groups), size):
            yield self.batch(groups, np.arange(start, min(start + size, len(groups))))

    def _values(self, role: str, items: np.ndarray) -> Tensor:
        if role in self._ids:
            return self._ids[role][torch.from_numpy(self._row[items])]
        wanted = self.inputs[role]
        images = torch.from_numpy(self.dataset.images(items, wanted.size))
        if images.shape[1] == 3 and wanted.channels == 1:
            images = luminance(images)
        elif images.shape[1] not in (1, wanted.channels):
            what = f"the images have {images.shape[1]} channels; the architecture reads {wanted.channels}"
            raise DataError(f"{role}: {what}")
        images = images.expand(-1, wanted.channels, -1, -1)
        return images.pin_memory() if self._pin else images


def luminance(images: Tensor) -> Tensor:
    """(n, 3, H, W) uint8 -> (n, 1, H, W), weighted as in ITU-R 601, to Pillow's rounding; grey stays as it is."""
    weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32, device=images.device).view(1, 3, 1, 1)
    return ((images.to(torch.int32) * weights).sum(dim=1, keepdim=True) + 0x8000 >> 16).to(torch.uint8)


@final
class TrainStream:
    """Training batches by step (`contracts.Stream`).

    seed: of the run; a sample's key is hashed from it, the pass over the data and the position in
    the pass. workers: threads that prepare the next steps while one is being computed. partners: where
    groups lack a modality, what fills it.
    """

    def __init__(
        self,
        loader: Loader,
        groups: Groups,
        sampler: Sampler,
        seed: int,
        workers: int = 0,
        partners: Filler | None = None,
    ) -> None:
        self.loader, self.groups, self.seed, self.partners = loader, groups, seed, partners
        self._schedule = Schedule(sampler, seed)
        self.steps_per_epoch = self._schedule.steps_per_epoch
        self._ahead = workers
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._pending: dict[tuple[int, int, int], Future[Batch]] = {}

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """The contiguous share of the global batch `step` that belongs to `rank` of `world`.

        Raises:
            DataError: the batch has fewer groups than there are processes; images cannot be read.
        """
        groups = len(self._schedule.at(step)[2])
        if groups < world:
            what = f"the batch of step {step} has {groups} groups for {world} processes"
            raise DataError(f"{what}; set train.batch.drop_last or another size")
        if self._pool is None:
            return self._load(*self._share(step, rank, world))
        wanted = [(step + ahead, rank, world) for ahead in range(self._ahead + 1)]
        for key in wanted:
            if key not in self._pending:
                self._pending[key] = self._pool.submit(self._load, *self._share(*key))
        for key in self._pending.keys() - set(wanted):
            self._pending.pop(key).cancel()
        return self._pending.pop(wanted[0]).result()

    def _share(self, step: int, rank: int, world: int) -> tuple[np.ndarray, Tensor]:
        number, first, index = self._schedule.at(step)
        start, stop = len(index) * rank // world, len(index) * (rank + 1) // world
        positions = torch.arange(first + start, first + stop)
        return index[start:stop], sample_keys(self.seed, number, positions)

    def _load(self, index: np.ndarray, keys: Tensor) -> Batch:
        if self.partners is None:
            return self.loader.batch(self.groups, index, keys)
        return self.loader.batch(self.partners.fill(self.groups.take(index), keys), np.arange(len(index)), keys)

    def close(self) -> None:
        """Ends the workers."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
