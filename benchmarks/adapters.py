"""What adapters routed by modality cost, beside the trunk without them and beside one pass per modality.

    python benchmarks/adapters.py [--rounds 5] [--images 16] [--rank 4] [--layers 12] [--threads 2]

ViT-B/16 at 256x128: 129 tokens of 768, 12 layers, four modalities with so many images each, adapters in
q, k, v, out, fc1 and fc2. A step is a forward and a backward pass through the blocks, in which everything
learns; tokenizers and projections are the same for all and are left out. On a CPU in float32, and on a GPU,
where there is one, in bf16. Each round takes all three steps one after the other, begun by another one in
turn; a ratio is that of two steps of a round, and the median over the rounds is printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from reid_lab.engine.runtime import Runtime
from reid_lab.parts.lora import Lora, adapt
from reid_lab.parts.trunk import Blocks, TransformerConfig

MODALITIES = ("rgb", "nir", "cpencil", "sketch")
TOKENS = 16 * 8 + 1


def blocks(layers: int, lora: Lora | None) -> Blocks:
    """Those of ViT-B, all alike; up-projections are moved from zero, as after a step."""
    torch.manual_seed(0)
    made = Blocks(TransformerConfig(768, layers, 12, 3072, "quick_gelu"))
    if lora is not None:
        adapt(made, MODALITIES, lora, seed=0, part="mer")
        for name, value in made.named_parameters():
            if name.endswith("lora_up"):
                nn.init.normal_(value, std=0.01)
    return made


def step(model: Blocks, x: Tensor, parts: list[tuple[Tensor, Tensor | None]], half: bool) -> Callable[[], None]:
    """A forward and a backward pass through `parts` of `x`."""

    def taken() -> None:
        model.zero_grad(set_to_none=True)
        for rows, route in parts:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
                y = model(x[rows], route=route)
            y.float().square().mean().backward()
        if x.device.type == "cuda":
            torch.cuda.synchronize()

    return taken


def measured(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Name -> seconds of each round."""
    names = list(steps)
    found: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        steps[name]()
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            steps[name]()
            found[name].append(time.perf_counter() - start)
    return found


def compare(device: torch.device, arguments: argparse.Namespace) -> None:
    half = device.type == "cuda"
    Runtime.start(device.type, threads=arguments.threads)
    n = arguments.images * len(MODALITIES)
    lora = Lora(arguments.rank, 0.25)
    plain, routed = blocks(arguments.layers, None).to(device), blocks(arguments.layers, lora).to(device)
    x = torch.randn(n, TOKENS, 768, generator=torch.Generator().manual_seed(1)).to(device)
    route = torch.arange(len(MODALITIES), device=device).repeat_interleave(arguments.images)
    everything = torch.arange(n, device=device)
    each: list[tuple[Tensor, Tensor | None]] = [
        (everything[route == number], route[route == number]) for number in range(len(MODALITIES))
    ]
    found = measured(
        {
            "without": step(plain, x, [(everything, None)], half),
            "one pass": step(routed, x, [(everything, route)], half),
            "one pass per modality": step(routed, x, each, half),
        },
        arguments.rounds,
    )
    name = torch.cuda.get_device_name(device) if half else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, {'bf16' if half else 'float32'}: {n} images of {TOKENS} tokens, rank {arguments.rank}")
    for kind, seconds in found.items():
        print(f"  {kind:<22} {1000 * statistics.median(seconds):9.1f} ms")
    for kind in ("without", "one pass per modality"):
        ratios = [a / b for a, b in zip(found["one pass"], found[kind], strict=True)]
        print(f"  one pass / {kind:<22} {statistics.median(ratios):.3f}  ({min(ratios):.3f} to {max(ratios):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=16, help="of each modality")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    compare(torch.device("cpu"), arguments)
    if torch.cuda.is_available():
        compare(torch.device("cuda"), arguments)


if __name__ == "__main__":
    main()
