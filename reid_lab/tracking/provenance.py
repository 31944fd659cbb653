"""Where a run was computed and from which code: shown beside a result, never part of its identity."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGES = ("reid-lab", "torch", "transformers", "safetensors", "numpy", "pillow", "pydantic", "mlflow")


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


def processor() -> str:
    """The model name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def environment(device: str) -> dict[str, Any]:
    """Versions and machine, as plain data."""
    packages: Mapping[str, str] = {name: _version(name) for name in PACKAGES}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "device": device,
        "packages": dict(packages),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
