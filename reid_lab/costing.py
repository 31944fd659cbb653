"""What it costs to use a trained model: operations and time of an embedding.

Measured once, when training has ended. Nothing that a run computes depends on it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from reid_lab.contracts import IMAGE_ROLES, TEXT_ROLES, Architecture, Batch, Facts, Input
from reid_lab.engine.evaluate import evaluating
from reid_lab.engine.runtime import Runtime
from reid_lab.seeding import derive, keys

CAPTIONS = (
    "a man in a red shirt and black trousers",
    "a woman with a white bag",
    "a person in blue",
    "a man with black shoes and a grey jacket",
)
GROUPS = len(CAPTIONS)
REPEATS = 20
SECONDS = 0.4
"""A latency is the median over this many calls at most, or over those that fit in this time, never under three."""


def specimen(model: Architecture, facts: Facts) -> Batch:
    """`GROUPS` groups with everything that the model reads: noise for images, captions that fill all its tokens.

    What is padded may be left out by a model, so that a short caption would cost next to nothing.
    """
    device = next(model.parameters()).device
    rows = torch.arange(GROUPS)
    inputs = {}
    for role, want in model.inputs.items():
        if want.tokenize is not None:
            values = want.tokenize([" and ".join([caption] * want.max_length) for caption in CAPTIONS])
        else:
            generator = torch.Generator().manual_seed(derive("inspect", role))
            values = torch.randn(GROUPS, want.channels, *(want.size or facts.image_size), generator=generator)
        inputs[role] = Input(values, rows)
    labels = {name: rows % max(1, facts.labels.get(name, GROUPS)) for name in ("clothes", "scenes", *facts.labels)}
    groups = {"pids": rows % facts.identities, "camids": rows % max(1, facts.cameras), "image_ids": rows}
    return Batch({**groups, **labels, "sources": rows * 0, "keys": keys(0, 0, rows)}, inputs).to(device)


@contextmanager
def counted() -> Iterator[FlopCounterMode]:
    """Counts operations, attention taken apart into products, which are the same on every device."""
    in_place = {torch.ops.aten.addmm_: _added_product}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        yield counter


def _added_product(_: Sequence[int], a: Sequence[int], b: Sequence[int], **rest: Any) -> int:
    """Operations of a product (n, m) x (m, k) that is added in place, of which the counter knows nothing."""
    return 2 * a[0] * a[1] * b[1]


@final
class _Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up operations as `counted` does. Without gradients nothing arrives here that would have to be taken apart,
    and nothing is imported for it: torch's compiler takes a second, which is too much at the end of every run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True imports the compiler to tell it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        out = func(*args, **named)
        packet = func._overloadpacket
        if packet is torch.ops.aten.addmm_:
            self.total += _added_product(*(tensor.shape for tensor in args[:3]))
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **named, out_val=out)
        return out


def embedding_cost(model: Architecture, facts: Facts, runtime: Runtime) -> dict[str, float | int | str]:
    """The cost of embedding one item: plain data under the names that tables read; without what does not apply.

    gflops_image, gflops_caption: 10^9 operations (2 for each multiply-add; matrix products and convolutions alone are
    counted) for an item of the first image and of the first text role that the model reads; a caption is as long as
    the model reads one (`InputSpec.max_length` tokens). latency: median seconds for one image, alone in its batch
    (`latency_batch` 1), after two calls to warm up, on `latency_device` with `latency_threads`; of a caption where the
    model reads no images.
    """
    given = specimen(model, facts)
    image = next((role for role in IMAGE_ROLES if role in given.inputs), None)
    text = next((role for role in TEXT_ROLES if role in given.inputs), None)
    found: dict[str, float | int | str] = {}
    with evaluating(model):
        for name, role in (("gflops_image", image), ("gflops_caption", text)):
            if role is not None:
                with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Tally() as tally:
                    model.embed(_alone(given, role, GROUPS))
                found[name] = tally.total / GROUPS / 1e9
    role = image or text
    if role is not None:
        with evaluating(model), torch.inference_mode():
            found["latency"] = _latency(model, _alone(given, role, 1), runtime)
    device = runtime.device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {**found, "latency_batch": 1, "latency_device": where, "latency_threads": torch.get_num_threads()}


def _alone(given: Batch, role: str, count: int) -> Batch:
    """The first groups, with the items of one role."""
    item = given.inputs[role]  # its rows are 0, 1, …
    groups = {name: value[:count] for name, value in given.groups.items()}
    return Batch(groups, {role: Input(item.values[:count], item.rows[:count])})


def _latency(model: Architecture, batch: Batch, runtime: Runtime) -> float:
    """The median time of a call, in seconds."""

    def call() -> Tensor:
        with runtime.autocast():
            return model.embed(batch)

    def finished() -> float:
        if runtime.device.type == "cuda":
            torch.cuda.synchronize(runtime.device)
        return time.perf_counter()

    call()
    call()
    took = list[float]()
    begin = finished()
    while len(took) < 3 or (len(took) < REPEATS and finished() - begin < SECONDS):
        start = finished()
        call()
        took.append(finished() - start)
    return statistics.median(took)
