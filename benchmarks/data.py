"""How fast images come from their files, beside Pillow that only decodes them; on a GPU, how long a step waits.

    python benchmarks/data.py [--images 192] [--rounds 9] [--steps 60] [--quality 95]

Photographs of the embedded world are written as JPEG of 384x128 and read at 256x128. Rates are images per second
of processor time, of all threads together: per core. Each round measures every row once, one after the
other; rates and ratios are medians over the rounds, the ratio that of a round's two figures.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from reid_lab.contracts import Batch, Input, InputSpec
from reid_lab.data.augment import Augmentation, make_prepare
from reid_lab.data.files import ImageFiles
from reid_lab.data.items import Dataset, Row, singles, tabulate
from reid_lab.data.loader import Loader, TrainStream
from reid_lab.data.sampler import RandomSampler
from reid_lab.data.synthetic import SyntheticSpec
from reid_lab.data.synthetic.sensors import render
from reid_lab.seeding import keys

STORED, WANTED, BATCH = (384, 128), (256, 128), 64
CLIP = InputSpec(WANTED, 3, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IRRA = Augmentation(0.5, 10, 0.5, (0.02, 0.4), 0.3, "clip_mean", shared=False)
KINDS = {
    "IRRA's": IRRA,
    "with noise": replace(IRRA, erase_value="noise"),
    "with jitter": replace(IRRA, jitter=0.5, brightness=0.15, contrast=0.15, saturation=0.1),
}


def written(folder: Path, images: int, quality: int) -> list[str]:
    """The names of so many photographs."""
    world = replace(SyntheticSpec().world, image_size=STORED)
    names = [f"{number:05d}.jpg" for number in range(images)]
    for number, name in enumerate(names):
        picture = render(world, "train", number // 3, number % 3, "rgb").transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / name, quality=quality)
    return names


def batch_of(pixels: np.ndarray) -> Batch:
    n = len(pixels)
    labels = {"pids": torch.zeros(n, dtype=torch.int64), "keys": keys(0, 0, torch.arange(n))}
    return Batch(labels, {"rgb": Input(torch.from_numpy(pixels), torch.arange(n))})


def whole(files: ImageFiles, prepare: Callable[[Batch], Batch], names: list[str]) -> None:
    for start in range(0, len(names), BATCH):
        prepare(batch_of(files.read(names[start : start + BATCH], "RGB", WANTED)))


def decoded(folder: Path, names: list[str]) -> None:
    for name in names:
        with Image.open(folder / name) as image:
            image.convert("RGB")


def only_read(files: ImageFiles, names: list[str]) -> None:
    for start in range(0, len(names), BATCH):
        files.read(names[start : start + BATCH], "RGB", WANTED)


def only_augmented(prepare: Callable[[Batch], Batch], batches: list[Batch]) -> None:
    for batch in batches:
        prepare(batch)


def processor(folder: Path, names: list[str], rounds: int) -> None:
    torch.set_num_threads(1)
    prepare = {kind: make_prepare({"rgb": CLIP}, augmentation) for kind, augmentation in KINDS.items()}
    plain, kept = ImageFiles(folder, cache="none"), ImageFiles(folder, cache="all")
    pixels = plain.read(names, "RGB", WANTED)
    batches = [batch_of(pixels[start : start + BATCH]) for start in range(0, len(names), BATCH)]
    base = "Pillow decodes, nothing else"
    rows: dict[str, Callable[[], None]] = {
        base: partial(decoded, folder, names),
        "decode and resize": partial(only_read, plain, names),
        "decode, resize, augment": partial(whole, plain, prepare["IRRA's"], names),
        "decode, resize, augment with noise": partial(whole, plain, prepare["with noise"], names),
        "decode, resize, augment with jitter": partial(whole, plain, prepare["with jitter"], names),
        "from the cache, augment": partial(whole, kept, prepare["IRRA's"], names),
    }
    if find_spec("simplejpeg"):
        simple = ImageFiles(folder, cache="none", decoder="simplejpeg")
        rows["decode (simplejpeg), resize, augment"] = partial(whole, simple, prepare["IRRA's"], names)
    rows |= {f"augmentation alone, {kind}": partial(only_augmented, own, batches) for kind, own in prepare.items()}
    spent: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, run in rows.items():
            start = time.process_time()
            run()
            if number:  # the first round fills the file cache
                spent[name].append(time.process_time() - start)
    size = statistics.mean((folder / name).stat().st_size for name in names) / 1024
    print(f"{len(names)} JPEG of {STORED[0]}x{STORED[1]}, {size:.1f} KiB each; {rounds} rounds, one torch thread\n")
    print(f"| {WANTED[0]}x{WANTED[1]}, batches of {BATCH} | images/s/core | x decoding |\n|---|---:|---:|")
    for name, seconds in spent.items():
        ratio = statistics.median(floor / own for floor, own in zip(spent[base], seconds, strict=True))
        print(f"| {name} | {len(names) / statistics.median(seconds):.0f} | {ratio:.2f} |")


class Photographs(Dataset):
    """The files as a data set."""

    name, digest = "photographs", ""

    def __init__(self, files: ImageFiles, names: list[str]) -> None:
        self.files = files
        self.items = tabulate([Row("train", "rgb", k // 3, k, path=name) for k, name in enumerate(names)])

    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        return self.files.read(self.items.path[index].tolist(), "RGB", size or WANTED)


class Trunk(nn.Module):
    """As much work as ViT-B/16 on 256x128: 129 tokens of 768 numbers, 12 layers."""

    def __init__(self, identities: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 768, 16, 16)
        self.first = nn.Parameter(torch.zeros(1, 1, 768))
        self.places = nn.Parameter(torch.zeros(1, 129, 768))
        layer = nn.TransformerEncoderLayer(768, 12, 3072, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)
        self.classes = nn.Linear(768, identities)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(images), -1, -1), tokens], 1) + self.places
        scores: Tensor = self.classes(self.layers(tokens)[:, 0])
        return scores


def accelerator(folder: Path, names: list[str], steps: int) -> None:
    """What share of a training step on the GPU passes before its batch is on the device."""
    device = torch.device("cuda")
    model = Trunk(len(names)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5, fused=True)
    prepare = make_prepare({"rgb": CLIP}, IRRA)
    print(f"\n{torch.cuda.get_device_name()}: a trunk like ViT-B/16 in bfloat16, batches of {BATCH}, {steps} steps\n")
    print("| cache | workers | step ms | waits ms | share |\n|---|---:|---:|---:|---:|")
    for cache in ("none", "all"):
        for workers in (0, 1, 4):
            data = Photographs(ImageFiles(folder, cache=cache), names)
            groups = singles(data.items, "train", "rgb")
            loader = Loader(data, {"rgb": CLIP}, pin=True)
            stream = TrainStream(loader, groups, RandomSampler(len(groups), BATCH, drop_last=True), 0, workers)
            walls, waits = [], []
            for step in range(steps + 20):
                torch.cuda.synchronize()
                begin = time.perf_counter()
                batch = stream.batch(step).to(device)
                torch.cuda.synchronize()
                waited = time.perf_counter() - begin
                ready = prepare(batch)
                with torch.autocast("cuda", torch.bfloat16):
                    scores = model(ready.inputs["rgb"].values)
                loss = nn.functional.cross_entropy(scores.float(), ready.groups["pids"])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                torch.cuda.synchronize()
                walls.append(time.perf_counter() - begin)
                waits.append(waited)
            stream.close()
            wall, wait = statistics.mean(walls[20:]), statistics.mean(waits[20:])
            print(f"| {cache} | {workers} | {wall * 1e3:.1f} | {wait * 1e3:.2f} | {100 * wait / wall:.1f}% |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--quality", type=int, default=95, help="of the JPEG; 95 is what OpenCV writes unasked")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = written(folder, asked.images, asked.quality)
        processor(folder, names, asked.rounds)
        if torch.cuda.is_available():
            accelerator(folder, names, asked.steps)
        else:
            print("\nno GPU: the share of a step that waits for data was not measured")


if __name__ == "__main__":
    main()
