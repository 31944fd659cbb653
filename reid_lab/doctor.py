"""What is installed, what the machine offers, and whether a run works: one line for each finding."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from reid_lab.catalogue import cache_folder, load_spec
from reid_lab.tracking.provenance import processor

PACKAGES = (
    "torch",
    "transformers",
    "safetensors",
    "numpy",
    "pillow",
    "pydantic",
    "pyyaml",
    "mlflow",
    "optuna",
    "pandas",
)

SMOKE = """\
name: doctor
data: {name: synthetic, preset: smoke, train_identities: 24, val_identities: 8, test_identities: 8}
model: {name: irra, backbone: tiny-clip}
train: {length: {steps: 4}, batch: {size: 16}}
eval: {every: {steps: 4}}
tracking: {images: 0}
"""


@dataclass(frozen=True)
class Check:
    """One finding; `failed` when something that is needed does not work."""

    what: str
    found: str
    failed: bool = False

    def __str__(self) -> str:
        return f"{'FAILED' if self.failed else 'ok':<6}  {self.what:<14}  {self.found}"


def examine(runs: Path, smoke: bool = True) -> Iterator[Check]:
    """All findings, the quick ones first.

    Args:
        runs: the folder of runs.
        smoke: whether to train and test for a few seconds in a temporary folder.
    """
    yield _python()
    yield from _packages()
    yield from _devices()
    yield _trunks()
    yield _hub()
    yield _disk("runs", runs)
    yield _disk("cache", cache_folder())
    yield _store(runs)
    if smoke:
        yield _smoke()


def _python() -> Check:
    return Check("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")


def _packages() -> Iterator[Check]:
    for name in PACKAGES:
        try:
            yield Check(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "not installed", failed=True)


def _devices() -> Iterator[Check]:
    import torch

    yield Check("cpu", f"{os.cpu_count()} cores, {processor()}")
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        yield Check(f"cuda:{index}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")


def _trunks() -> Check:
    folder = Path(__file__).parent / "weights"
    found = sorted(path.parent for path in folder.glob("*/model.safetensors"))
    if not found:
        return Check("tiny trunks", f"none in {folder}; `reid-lab pretrain` makes them", failed=True)
    size = sum((path / "model.safetensors").stat().st_size for path in found)
    return Check("tiny trunks", f"{', '.join(path.name for path in found)} ({size / 2**20:.1f} MiB)")


def _hub() -> Check:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    folder = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    names = sorted(p.name.removeprefix("models--").replace("--", "/") for p in folder.glob("models--*"))
    return Check("cached weights", ", ".join(names) or f"none in {folder}")


def _disk(what: str, folder: Path) -> Check:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free / 2**30
    if not os.access(there, os.W_OK):
        return Check(what, f"{folder} cannot be written", failed=True)
    return Check(what, f"{folder}, {free:.1f} GiB free", failed=free < 0.2)


def _store(runs: Path) -> Check:
    from reid_lab.tracking.mlflow_store import store_uri

    return Check("mlflow store", store_uri(runs, None))


def _smoke() -> Check:
    from rich.console import Console

    from reid_lab.experiment import run

    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reid-lab-doctor-") as folder, redirect_stderr(StringIO()):
        file = Path(folder) / "doctor.yaml"
        file.write_text(SMOKE, encoding="utf-8")
        try:
            run(load_spec(file), runs=Path(folder) / "runs", console=Console(quiet=True))
        except Exception as error:  # whatever breaks is the finding
            return Check("smoke run", f"{type(error).__name__}: {' '.join(str(error).split())}", failed=True)
    return Check("smoke run", f"trained and tested in {time.monotonic() - begin:.1f} s")
