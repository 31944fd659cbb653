"""How long `reid-lab search` takes in a fresh process, beside importing torch and loading the same checkpoint.

    python benchmarks/search.py RUN [--runs runs] [--images 2000] [--repeat 7]

RUN is a finished run on the embedded data. Its rgb images are written as JPEG files to a temporary folder, and
searched once, so that their embeddings are kept. Then the floor (import torch, read the checkpoint's tensors)
and the search are timed in turns; medians, and the median of the ratios of the pairs, are printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from reid_lab.catalogue import cache_folder
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.tracking.runs import find

WORDS = "a woman in a red coat with a backpack"
LIMIT = 1.5
LOADED = """
import sys
from reid_lab.cli import main
try:
    main(sys.argv[1:])
except SystemExit as done:
    assert not done.code
heavy = [name for name in ("transformers", "sympy", "mlflow", "pandas", "sklearn", "matplotlib") if name in sys.modules]
print("LOADED", *heavy)
"""


def write_images(folder: Path, count: int) -> None:
    data = open_synthetic(SyntheticSpec(preset="default"), cache_folder())
    pixels = data.images(np.flatnonzero(data.items.role == "rgb")[:count], None)
    for number, image in enumerate(pixels):
        file = folder / f"{number // 100:03d}" / f"{number:06d}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(file, quality=95)


def processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and processor time in seconds."""
    begin, used = time.perf_counter(), processor()
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin, processor() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=7)
    given = parser.parse_args()
    folder = find(given.runs, given.run)
    loading = "import sys, torch\nfrom safetensors.torch import load_file\nload_file(sys.argv[1])"
    floor = ["-c", loading, str(folder.checkpoints / "best.safetensors")]
    with tempfile.TemporaryDirectory() as place:
        gallery, cache = Path(place, "gallery"), Path(place, "cache")
        gallery.mkdir()
        write_images(gallery, given.images)
        environment = {**os.environ, "REID_LAB_CACHE": str(cache)}
        command = ["search", folder.run_id, WORDS, "--runs", str(given.runs), "--gallery", str(gallery)]
        page = ["--out", str(Path(place, "page.html"))]
        first = timed(["-m", "reid_lab", *command], environment)
        time.sleep(3)  # files that were just written are hashed once more
        timed(["-m", "reid_lab", *command], environment)
        done = subprocess.run(
            [sys.executable, "-c", LOADED, *command], env=environment, capture_output=True, text=True, check=True
        )
        rounds = [
            [timed(a, environment) for a in (floor, ["-m", "reid_lab", *command], ["-m", "reid_lab", *command, *page])]
            for _ in range(given.repeat)
        ]
    columns = list(zip(*rounds, strict=True))
    print(f"{given.images} images embedded and searched: {first[0]:.2f} s (the first time)")
    print("| process | median wall s | ratio to the floor | median processor s | ratio |")
    print("|---|---:|---:|---:|---:|")
    names = ("import torch, load the checkpoint", "reid-lab search", "reid-lab search --out page.html")
    for name, column in zip(names, columns, strict=True):
        cells = []
        for kind in range(2):
            ratios = (a[kind] / b[kind] for a, b in zip(column, columns[0], strict=True))
            cells += [f"{statistics.median(t[kind] for t in column):.3f}", f"{statistics.median(ratios):.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")
    heavy = done.stdout.splitlines()[-1].split()[1:]
    print(f"limit {LIMIT}; heavy packages imported by the search: {', '.join(heavy) or 'none'}")


if __name__ == "__main__":
    main()
