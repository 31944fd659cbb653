"""Where a run was computed and from which code: shown beside a result, never part of its identity."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGES = (
    "reid-lab",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "pillow",
    "pydantic",
    "mlflow",
)
SETTINGS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "OMP_DYNAMIC",
    "OMP_THREAD_LIMIT",
    "OPENBLAS_CORETYPE",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
)
"""Variables of the environment that may decide bits; threads are set by a run itself."""

PACKAGE = Path(__file__).parents[1]


def _git(*arguments: str, folder: Path) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def source() -> dict[str, str]:
    """The commit of the package's checkout, the changes since, new files' names; empty where there is no checkout."""
    folder = Path(__file__).parent
    commit = _git("rev-parse", "HEAD", folder=folder)
    if commit is None:
        return {}
    found = {"commit": commit.strip(), "diff": _git("diff", "HEAD", folder=folder) or ""}
    new = _git("ls-files", "--others", "--exclude-standard", folder=folder)
    if new:
        found["untracked"] = " ".join(new.split("\n")).strip()
    branch = _git("rev-parse", "--abbrev-ref", "HEAD", folder=folder)
    return {**found, "branch": branch.strip()} if branch else found


def sources(package: Path = PACKAGE) -> dict[str, str]:
    """The code itself: path of each module, from the folder that holds the package -> sha256 of the file."""
    root = package.parent
    files = sorted(package.rglob("*.py"))
    return {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def processor() -> str:
    """The model name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def model_of_processor() -> str:
    """Family and model of the CPU: its name alone can stand for several generations. Empty where nothing tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    facts = dict(reversed([line.split(":", 1) for line in lines if line.startswith(("cpu family", "model\t"))]))
    return ", ".join(f"{name.strip()} {value.strip()}" for name, value in sorted(facts.items()))


def environment(device: str) -> dict[str, Any]:
    """Versions and machine, as plain data."""
    packages: Mapping[str, str] = {name: _version(name) for name in PACKAGES}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": processor(),
        "cpu_model": model_of_processor(),
        "cores": os.cpu_count(),
        "device": device,
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "packages": dict(packages),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
