"""Embeddings of a data set, and what memory the process took."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from reid_lab.contracts import Architecture, Batch, Prepare
from reid_lab.engine.runtime import Runtime


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, every module is in evaluation mode; afterwards each one is as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def embed(model: Architecture, batches: Iterable[Batch], prepare: Prepare, runtime: Runtime) -> Tensor:
    """The embeddings of all groups of all batches, in order: (n, D) float32 on the CPU."""
    found = []
    with evaluating(model), torch.inference_mode():
        for batch in batches:
            ready = prepare(batch.to(runtime.device))
            with runtime.autocast():
                embedding = model.embed(ready)
            found.append(embedding.float().cpu())
    return torch.cat(found) if found else torch.empty(0, 0)


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that torch held on a GPU, or the largest resident size of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
