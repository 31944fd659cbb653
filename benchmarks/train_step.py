"""What a training step of IRRA saves by leaving out work that cannot change its result.

    python benchmarks/train_step.py [--rounds 3] [--batch 16] [--layers 12] [--threads 2] [--rows drawn full]

CLIP ViT-B/16 with fresh weights, 384x128 pixels, captions of at most 77 tokens out of 49,408, SDM + ID + MLM.
Both sides take whole steps of the engine (forward, backward, update) over the same weights, on the same blocks
and the same attention. The plain side runs every caption and, in a second pass, its masked copy over all 77
positions, predicts a word at every position, and updates with torch's own loop. Learning rates are 0: every
update is computed in full and moves nothing, so that the losses of the two sides must agree in every round.

Caption lengths are drawn anew for each round, from a fixed seed (mean 30 tokens, deviation 9, 12 to 77); a second
row has nothing but captions of 77 tokens. On a CPU in float32, and on a GPU, where there is one, in bf16. Rounds
are paired, begun by each side in turn; a ratio is that of a round, and medians are printed. Seconds are those of
the clock; on a CPU, ratios of processor time stand beside them, which are the ones to read on a machine that does
other work. The share of the peak is the arithmetic of a side's own matrix products over its time, against the
fastest product of two square matrices (on a CPU, both in processor time).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lab.architectures.irra import Irra, Spec
from reid_lab.contracts import Architecture, Batch, Encoded, Facts, GroupRule, Input, Sum
from reid_lab.engine import optim
from reid_lab.engine.plan import OptimizerPlan
from reid_lab.engine.runtime import Runtime
from reid_lab.engine.step import Step, StepResult
from reid_lab.parts import huggingface
from reid_lab.parts.layout import pack
from reid_lab.parts.masking import IGNORED, mask_tokens
from reid_lab.parts.towers import ClipConfig, TextConfig, VisionConfig
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import END, MASK, START
from reid_lab.schedules import Progress
from reid_lab.seeding import keys

SIZE, CONTEXT, VOCABULARY, IDENTITIES = (384, 128), 77, 49408, 11003  # identities: those of CUHK-PEDES' train split
PLAN = OptimizerPlan()


class Plain(Architecture):
    """An Irra that encodes all positions of two passes and predicts a word at each."""

    def __init__(self, irra: Irra) -> None:
        super().__init__()
        self.irra = irra
        self.inputs = irra.inputs
        self.terms = tuple(replace(term, fn=words_everywhere) if term.name == "mlm" else term for term in irra.terms)

    def encode(self, batch: Batch) -> Encoded:
        trunk, mlm = self.irra.trunk, self.irra.mlm
        rgb, caption = batch.inputs["rgb"], batch.inputs["caption"]
        text = trunk.text_features(caption.values).float()
        tokens = trunk.image_tokens(rgb.values)
        image = trunk.project_image(tokens[:, 0]).float()

        masked, labels = mask_tokens(caption.values, batch.groups["keys"], mlm.masking, trunk.tokenizer)
        words = trunk.project_text(trunk.text_tokens(masked))
        x = mlm.cross_attn(mlm.ln_text(words), mlm.ln_image(trunk.project_image(tokens)))
        logits = mlm.head(mlm.ln_out(mlm.cross_blocks(x)))
        local = {"mlm_logits": logits.flatten(0, 1), "mlm_labels": labels.flatten()}
        return Encoded({"image": Input(image, rgb.rows), "text": Input(text, caption.rows)}, batch.groups, local)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        return self.irra.values(encoded, progress)

    def embed(self, batch: Batch) -> Tensor:
        return self.irra.embed(batch)

    def group_rule(self, parameter: str) -> GroupRule:
        return self.irra.group_rule(parameter.removeprefix("irra."))


def words_everywhere(mlm_logits: Tensor, mlm_labels: Tensor) -> Sum:
    """The mean over masked words, of logits at every position."""
    total = F.cross_entropy(mlm_logits.float(), mlm_labels, ignore_index=IGNORED, reduction="sum")
    return Sum(total, (mlm_labels != IGNORED).sum())


def build(layers: int) -> Irra:
    """The published model, its trunk's shape read from a folder without weights."""
    vision = VisionConfig(TransformerConfig(768, layers, 12, 3072, "quick_gelu"), 16, 14)
    text = TextConfig(TransformerConfig(512, layers, 8, 2048, "quick_gelu"), VOCABULARY, CONTEXT)
    words = [*(f"w{i}" for i in range(VOCABULARY - 3)), MASK, START, END]
    with tempfile.TemporaryDirectory() as folder:
        settings = huggingface.clip_settings(ClipConfig(vision, text, 512), 14, 2.6592)
        (Path(folder) / "config.json").write_text(json.dumps(settings))
        (Path(folder) / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
        return Irra(Spec(backbone=folder, pretrained=False), Facts(identities=IDENTITIES, image_size=SIZE), seed=0)


def draw(model: Irra, size: int, number: int, full: bool) -> tuple[Batch, int]:
    """Batch `number`, and the length of its longest caption."""
    g = torch.Generator().manual_seed(number)
    lengths = (30 + 9 * torch.randn(size, generator=g)).round().long().clamp(12, CONTEXT)
    if full:
        lengths = torch.full_like(lengths, CONTEXT)
    kinds = model.trunk.tokenizer
    place = torch.arange(CONTEXT)[None, :]
    ids = torch.randint(kinds.words.start, kinds.words.stop, (size, CONTEXT), generator=g)
    ids[:, 0] = kinds.start_id
    ids = torch.where(place == lengths[:, None] - 1, kinds.end_id, ids)
    ids = torch.where(place >= lengths[:, None], kinds.pad_id, ids)
    rows = torch.arange(size)
    groups = {"pids": torch.randint(IDENTITIES, (size,), generator=g), "image_ids": rows, "keys": keys(0, number, rows)}
    pixels = torch.randn(size, 3, *SIZE, generator=g)
    return Batch(groups, {"rgb": Input(pixels, rows), "caption": Input(ids, rows)}), int(lengths.max())


def step_of(model: Architecture, optimizer: torch.optim.Optimizer, runtime: Runtime) -> Step:
    optim.set_rate(optimizer, 0.0)
    return Step(model, model.terms, optimizer, runtime.scaler(), runtime, seed=0, last_good=str)


def sides(model: Irra, runtime: Runtime) -> dict[str, Step]:
    plain = Plain(model)
    loop = torch.optim.Adam(optim.parameter_groups(plain, PLAN), lr=PLAN.lr, betas=PLAN.betas, eps=PLAN.eps)
    return {"plain": step_of(plain, loop, runtime), "reid-lab": step_of(model, optim.build(model, PLAN), runtime)}


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and what the arithmetic took: of processor time, on a GPU by the clock."""

    clock: float
    work: float


def timed(work: Callable[[], object], device: torch.device) -> Spent:
    clock, processor = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
        seconds = time.perf_counter() - clock
        return Spent(seconds, seconds)
    return Spent(time.perf_counter() - clock, time.process_time() - processor)


def product(device: torch.device) -> tuple[Callable[[], Tensor], float]:
    """A product of two square matrices in the steps' precision, and its operations."""
    n, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    a, b = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
    return lambda: a @ b, 2.0 * n**3


@dataclass(frozen=True)
class Positions:
    """Those that a side computes: of the text tower, of its last block, and of the last cross-modal block."""

    text: int
    text_read: int
    words: int


def positions(model: Irra, batch: Batch) -> dict[str, Positions]:
    """Of both sides, counted from the captions and their masked copies."""
    ids = batch.inputs["caption"].values
    masked, labels = mask_tokens(ids, batch.groups["keys"], model.mlm.masking, model.trunk.tokenizer)
    packed = len(pack(masked, ids, ids.argmax(dim=1), torch.arange(len(ids))).place)
    return {
        "plain": Positions(2 * ids.numel(), 2 * ids.numel(), ids.numel()),
        "reid-lab": Positions(packed, ids.numel() + len(ids), int((labels != IGNORED).sum())),
    }


def operations(model: Irra, size: int, at: Positions) -> float:
    """Those of a step's matrix products: two for each multiply-add; the backward pass has twice as many again."""

    def blocks(width: int, layers: int, tokens: int, sequences: int, length: int, read: int) -> int:
        every = 12 * width**2 * tokens + 2 * width * sequences * length**2
        return layers * every - 9 * width**2 * (tokens - read)  # the last block's output projection and MLP

    vision, text = model.trunk.config.vision.transformer, model.trunk.config.text.transformer
    wide, width, patches = vision.width, model.trunk.width, (SIZE[0] // 16) * (SIZE[1] // 16)
    image, caption = size * (patches + 1), size * CONTEXT
    total = size * patches * 3 * 16 * 16 * wide + blocks(wide, vision.layers, image, size, patches + 1, image)
    total += blocks(text.width, text.layers, at.text, 2 * size, CONTEXT, at.text_read)
    total += (image + size) * wide * width + (caption + size) * text.width * width + 2 * size * width * IDENTITIES
    total += 2 * (caption + image) * width**2 + 2 * CONTEXT * image * width
    total += blocks(width, len(model.mlm.cross_blocks), caption, size, CONTEXT, at.words)
    return 6.0 * (total + at.words * (width**2 + width * VOCABULARY))


def check(results: dict[str, StepResult]) -> float:
    """The largest relative difference of a loss between the sides; float32 must agree to 1e-4."""
    ours, theirs = results["reid-lab"].losses, results["plain"].losses
    assert ours.keys() == theirs.keys() == {"sdm", "id", "mlm"}
    return max(abs(ours[name] - theirs[name]) / abs(theirs[name]) for name in ours)


def row(model: Irra, steps: dict[str, Step], runtime: Runtime, rounds: int, size: int, full: bool) -> None:
    device, now = runtime.device, Progress(0, 100, 1000)
    square, product_operations = product(device)
    best = min(timed(square, device).work for _ in range(5))
    spent: dict[str, list[Spent]] = {name: [] for name in steps}
    shares: dict[str, list[float]] = {name: [] for name in steps}
    print(f"  captions {'all of 77 tokens' if full else 'of drawn lengths'}", flush=True)
    for number in range(1, rounds + 1):
        batch, longest = draw(model, size, number, full)
        at = positions(model, batch)
        batch, results = batch.to(device), {}
        for name in sorted(steps, reverse=number % 2 == 1):
            took = timed(lambda: results.update({name: steps[name](batch, now, number)}), device)  # noqa: B023
            spent[name].append(took)
            shares[name].append(operations(model, size, at[name]) / took.work / product_operations)
        best = min([best, *(timed(square, device).work for _ in range(3))])
        difference = check(results)
        taken = ", ".join(f"{name} {spent[name][-1].clock:.3f} s" for name in steps)
        print(f"    longest caption {longest}: {taken}; losses agree to {difference:.1e}", flush=True)
        if runtime.precision == "fp32" and difference > 1e-4:
            raise SystemExit(f"losses differ: {results['plain'].losses} and {results['reid-lab'].losses}")
    for name in steps:
        clock, work = (statistics.median(getattr(s, kind) for s in spent[name]) for kind in ("clock", "work"))
        share = 100 * best * statistics.median(shares[name])
        print(f"    {name:<9} {clock:9.3f} s, {work:9.3f} s of work, {share:3.0f} % of the peak")
    for kind in ("clock", "work"):
        pairs = zip(spent["plain"], spent["reid-lab"], strict=True)
        ratios = [getattr(a, kind) / getattr(b, kind) for a, b in pairs]
        print(
            f"    by {kind}: {statistics.median(ratios):.3f} times ({min(ratios):.3f} to {max(ratios):.3f})", flush=True
        )


def compare(runtime: Runtime, arguments: argparse.Namespace) -> None:
    device = runtime.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    model = build(arguments.layers).to(device)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{name}, {runtime.precision}: batch {arguments.batch}, {parameters:.0f} million parameters", flush=True)
    steps = sides(model, runtime)
    first = draw(model, arguments.batch, 0, False)[0].to(device)
    for step in steps.values():  # the first step also allocates the moments of the optimiser
        step(first, Progress(0, 100, 1000), 0)
    for name in arguments.rows:
        row(model, steps, runtime, arguments.rounds, arguments.batch, name == "full")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--layers", type=int, default=12, help="of both towers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", nargs="+", choices=("drawn", "full"), default=("drawn", "full"))
    arguments = parser.parse_args()
    compare(Runtime.start("cpu", "fp32", arguments.threads), arguments)
    if torch.cuda.is_available():
        compare(Runtime.start("cuda", "bf16", arguments.threads), arguments)


if __name__ == "__main__":
    main()
