"""Where and how precisely a run is computed: device, precision, threads and the ranks of torchrun.

One small class over torch's own pieces. A process that torchrun did not start is rank 0 of 1, and
every collective is then the identity.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor

from reid_lab.errors import RunError, SpecError, unknown

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Ranks wait for rank 0 while it evaluates; an evaluation of a large gallery takes long.
TIMEOUT = timedelta(hours=4)

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Runtime:
    """Device, precision and ranks of this process; made by `Runtime.start`."""

    device: torch.device
    precision: Precision = "fp32"
    rank: int = 0
    world: int = 1
    compile: bool = False

    @classmethod
    def start(
        cls, device: str = "auto", precision: Precision = "fp32", threads: int = 2, compile: bool = False
    ) -> Runtime:
        """Sets threads and determinism, picks the device, and joins the other ranks under torchrun.

        `device`: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`; under torchrun
        each rank takes the GPU of its LOCAL_RANK. `threads` holds for torch here and, through the
        environment, for BLAS in every process started from here. Raises SpecError for a device or
        precision that is unknown or absent.
        """
        if precision not in DTYPES:
            raise SpecError(unknown("precision", precision, DTYPES))
        world = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ.get("RANK", "0")) if world > 1 else 0
        chosen = _device(device, int(os.environ.get("LOCAL_RANK", "0")) if world > 1 else None)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(threads)
        torch.set_num_threads(threads)
        if chosen.type == "cpu":
            # As `use_deterministic_algorithms`, which imports torch's compiler to tell it: a second at every start.
            torch.set_deterministic_debug_mode("error")
            if compile:
                torch.use_deterministic_algorithms(True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        else:
            torch.cuda.set_device(chosen)
        if world > 1 and not dist.is_initialized():
            if chosen.type == "cuda":
                dist.init_process_group("nccl", timeout=TIMEOUT, device_id=chosen)
            else:
                dist.init_process_group("gloo", timeout=TIMEOUT)
        return cls(chosen, precision, rank, world, compile)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes, records, evaluates and reports."""
        return self.rank == 0

    def close(self) -> None:
        """Leaves the process group."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def autocast(self) -> torch.autocast:
        """The context in which trunks and heads are computed; does nothing in fp32."""
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision], enabled=self.precision != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling for fp16; passes everything through otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def barrier(self) -> None:
        """Waits for all ranks."""
        if self.world > 1:
            dist.barrier()

    def sum(self, values: Tensor) -> Tensor:
        """The elementwise sum over ranks, as a new tensor."""
        if self.world == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any rank."""
        if self.world == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Overwrites tensors in place with those of rank 0."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def main_only(self, work: Callable[[], T]) -> T:
        """Runs `work` on rank 0; every rank returns its result or raises what it raised."""
        if self.world == 1:
            return work()
        box: list[Any] = [None, None]
        if self.is_main:
            try:
                box[0] = work()
            except Exception as error:
                box[1] = error
        dist.broadcast_object_list(box, 0, device=self.device)
        if box[1] is not None:
            raise box[1]
        result: T = box[0]
        return result

    def gather(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """The named tensors of every rank, in the order of ranks, without gradient.

        Names, shapes and dtypes may differ between ranks: they are exchanged first, then all data
        travel as bytes in one collective.
        """
        if self.world == 1:
            return [dict(tensors)]
        facts: list[Any] = [None] * self.world
        dist.all_gather_object(facts, [(name, tuple(t.shape), t.dtype) for name, t in tensors.items()])
        sizes = [sum(_nbytes(shape, dtype) for _, shape, dtype in fact) for fact in facts]
        own = torch.zeros(max(sizes), dtype=torch.uint8, device=self.device)
        at = 0
        for tensor in tensors.values():
            raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
            own[at : at + raw.numel()] = raw
            at += raw.numel()
        buffers = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(buffers, own)
        return [_unpack(buffer, fact) for buffer, fact in zip(buffers, facts, strict=True)]


def computing(device: torch.device) -> dict[str, Any]:
    """What torch computes with here, as plain data: what may decide bits beside the code, the spec and versions."""
    build = torch.__config__.parallel_info().split("Environment variables:")[0]
    libraries = [line.strip() for line in build.splitlines() if "get_" not in line and "concurrency" not in line]
    facts: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic": torch.get_deterministic_debug_mode(),
        "libraries": [line for line in libraries if line],
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["cuda"] = str(torch.version.cuda)
        facts["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        facts["tf32"] = [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]
    return facts


def _unpack(buffer: Tensor, fact: Sequence[tuple[str, tuple[int, ...], torch.dtype]]) -> dict[str, Tensor]:
    found, at = {}, 0
    for name, shape, dtype in fact:
        size = _nbytes(shape, dtype)
        # A copy starts at an aligned address, which the view as `dtype` needs.
        found[name] = buffer[at : at + size].clone().view(dtype).reshape(shape)
        at += size
    return found


def _nbytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return int(torch.Size(shape).numel()) * dtype.itemsize


def _device(name: str, local_rank: int | None) -> torch.device:
    """The device of that name; under torchrun the GPU of the local rank."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise SpecError(unknown("device", name, ("auto", "cpu", "cuda", "cuda:0")))
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    number = local_rank if local_rank is not None else int(index or 0)
    if number >= count:
        raise RunError(f"device '{kind}:{number}' is not there: {count} CUDA devices are visible; try device: cpu")
    return torch.device("cuda", number)
