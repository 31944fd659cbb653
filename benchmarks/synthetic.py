"""The embedded benchmark: how fast it is drawn, and how much can be read from it without learning.

    python benchmarks/synthetic.py [--images 200] [--cache DIR]

Prints images/s/core of each modality and size (process time), the size of the default preset's shards, and
the trivial readers: true attributes against captions, raw pixels, and what border pixels tell.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from reid_lab.data.synthetic import ATTRIBUTES, SyntheticSpec, open_synthetic, vocabulary
from reid_lab.data.synthetic.captions import FORMS, describe
from reid_lab.data.synthetic.sensors import CHANNELS, render
from reid_lab.data.synthetic.world import SPLITS

SIZES = ((96, 48), (128, 64), (256, 128))


def first_hit(similarity, query_pids, gallery_pids, removed=None):
    """Rank-1 accuracy in percent."""
    if removed is not None:
        similarity = np.where(removed, -np.inf, similarity)
    return 100 * float((gallery_pids[similarity.argmax(1)] == query_pids).mean())


def speed(images: int) -> None:
    print("images/s/core (process time)")
    print("| size | " + " | ".join(CHANNELS) + " |")
    for size in SIZES:
        world = replace(SyntheticSpec().world, image_size=size)
        rates = []
        for role in CHANNELS:
            render(world, "val", 0, 0, role)
            start = time.process_time()
            for k in range(images):
                render(world, "train", k // 3, k % 3, role)
            rates.append(images / (time.process_time() - start))
        print(f"| {size[0]}x{size[1]} | " + " | ".join(f"{r:.0f}" for r in rates) + " |")


def words_of(texts) -> np.ndarray:
    """Bags of words, (n, words) float64 of zeros and ones."""
    place = {word: k for k, word in enumerate(vocabulary())}
    bags = np.zeros((len(texts), len(place)))
    for row, text in enumerate(texts):
        bags[row, [place[w] for w in re.findall(r"[a-z]+|[,.]", text)]] = 1
    return bags


def reader(data, split: str) -> dict[str, float]:
    """R1 of a bag-of-words reader of the true attributes: words predicted from them by ridge regression on train."""

    def coded(of: str) -> np.ndarray:
        return np.concatenate([np.eye(ATTRIBUTES[n])[v] for n, v in data.attributes(of).items()], 1)

    seen, shown, items = coded("train"), coded(split), data.items
    pids = items.pid[(items.split == split) & (items.role == "caption")]
    results = {}
    for form in FORMS:
        told = words_of(items.caption[(items.split == "train") & (items.role == form)])
        asked = words_of(items.caption[(items.split == split) & (items.role == form)])
        mean, spread = told.mean(0), told.std(0) + 0.02
        weights = np.linalg.solve(seen.T @ seen + np.eye(seen.shape[1]), seen.T @ ((told - mean) / spread))
        expected, asked = shown @ weights, (asked - mean) / spread
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        results[form] = first_hit(asked @ expected.T, pids, pids)
    return results


def ideal(data, split: str) -> dict[str, float]:
    """R1 of a reader that knows which attribute values a caption states, each weighted by how rare it is."""
    spec, truth = data.spec, data.attributes(split)
    at = SPLITS.index(split)
    people, each = data.world.identities[at], data.world.images[at]
    pids = np.repeat(np.arange(people), each)
    results = {}
    for form in FORMS:
        score = np.zeros((len(pids), len(pids)))
        for row in range(len(pids)):
            for name, value in describe(data.world, spec.wording, split, row // each, row % each, form).facts.items():
                same = truth[name] == value
                score[row] += np.where(same, -np.log(same.mean() + 1e-3), -3.0)
        results[form] = first_hit(score, pids, pids)
    return results


def leaks(data, split: str) -> None:
    """Raw pixels: image -> image (another camera), and what the border alone tells of camera and identity."""
    index = np.flatnonzero((data.items.role == "rgb") & (data.items.split == split))
    pixels = data.images(index, None).astype(np.float32)
    pids, cameras = data.items.pid[index], data.items.camid[index]
    itself = np.eye(len(index), dtype=bool)

    def similarity(features: np.ndarray) -> np.ndarray:
        flat = features.reshape(len(features), -1)
        flat = flat - flat.mean(1, keepdims=True)
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        return flat @ flat.T

    height, width = data.world.image_size
    centre = pixels[:, :, height // 8 : -height // 12, width // 4 : -width // 4]
    border = np.concatenate(
        [
            pixels[:, :, :4].reshape(len(index), -1),
            pixels[..., :3].reshape(len(index), -1),
            pixels[..., -3:].reshape(len(index), -1),
        ],
        1,
    )
    chance = 100 / len(np.unique(pids))
    raw = first_hit(similarity(centre), pids, pids, itself)
    print(f"raw centre pixels, image -> image: R1 {raw:.1f} (chance {chance:.2f})")
    nearest = similarity(border)
    print(f"border pixels: camera {first_hit(nearest, cameras, cameras, itself):.1f}", end=", ")
    print(f"identity R1 {first_hit(nearest, pids, pids, itself):.2f} (chance {chance:.2f})")


def rounded(results: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--cache", type=Path, default=None)
    arguments = parser.parse_args()
    speed(arguments.images)
    with tempfile.TemporaryDirectory() as folder:
        for preset in ("smoke", "default"):
            spec = SyntheticSpec(preset=preset)
            start = time.perf_counter()
            data = open_synthetic(spec, arguments.cache or Path(folder))
            print(f"\n{preset}: opened in {time.perf_counter() - start:.1f} s, {len(data.items)} items", end=", ")
            print(f"test rgb sha256 {data.pixel_hash('test', 'rgb')[:12]}")
            leaks(data, "test")
            print("bag-of-words reader of the true attributes, R1:", rounded(reader(data, "test")))
            print("ideal reader of the true attributes, R1:", rounded(ideal(data, "test")))
            for form in FORMS:
                lengths = [len(re.findall(r"[a-z]+|[,.]", c)) for c in data.items.caption[data.items.role == form]]
                print(f"{form}: {np.mean(lengths):.1f} tokens, 95th percentile {np.percentile(lengths, 95):.0f}")
    print(f"\n{len(vocabulary())} words, {len(ATTRIBUTES)} attributes")


if __name__ == "__main__":
    main()
