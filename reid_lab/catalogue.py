"""What there is to name in a spec: the registries of all rooms, handed to the loader."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from reid_lab.spec import loader
from reid_lab.spec.loader import Loaded, Outline, Registries
from reid_lab.spec.run import DataSpec, ModelSpec


def registries() -> Registries:
    """Architectures, data sets and protocols by name; an architecture's module is imported when it is chosen."""
    from reid_lab.architectures import ARCHITECTURES
    from reid_lab.data import DATASETS
    from reid_lab.data.protocols import PROTOCOLS

    def model(name: str) -> Callable[[], type[ModelSpec]]:
        return lambda: ARCHITECTURES[name].load().spec

    def data(name: str) -> Callable[[], type[DataSpec]]:
        return lambda: DATASETS[name].spec

    return Registries(
        models={name: model(name) for name in ARCHITECTURES},
        data={name: data(name) for name in DATASETS},
        protocols=PROTOCOLS,
    )


def load_spec(path: Path, sets: Sequence[str] = (), seed: int | None = None, device: str | None = None) -> Loaded:
    """The resolved spec of a file; `seed` and `device` are overrides like any other.

    Raises `SpecError` with every fault.
    """
    extra = [] if seed is None else [f"seed={seed}"]
    extra += [] if device is None else [f"runtime.device={json.dumps(device)}"]
    return loader.load(path, [*sets, *extra], registries=registries())


def load_data(name: str, sets: Sequence[str] = ()) -> DataSpec:
    """A data set's section from overrides alone (`preset=smoke`). Raises `SpecError` with every fault."""
    return loader.load_data(name, sets, registries=registries())


def outlines(folder: Path) -> list[Outline]:
    """The experiment files in a folder and the folders below it, by path."""
    return [loader.outline(path) for path in sorted(folder.rglob("*.yaml"))]


def cache_folder() -> Path:
    """Where rendered data sets are kept: `REID_LAB_CACHE`, or `reid-lab` in the user's cache folder."""
    named = os.environ.get("REID_LAB_CACHE")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else user / "reid-lab"
