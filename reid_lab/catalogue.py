"""What there is to name in a spec: the registries of all rooms, handed to the loader."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reid_lab.errors import SpecError
from reid_lab.spec import loader
from reid_lab.spec.loader import Loaded, Outline, Registries
from reid_lab.spec.run import DataSpec, ModelSpec

if TYPE_CHECKING:
    from reid_lab.data.items import Dataset
    from reid_lab.data.synthetic import Synthetic


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


def open_data(name: str, sets: Sequence[str] = ()) -> Dataset:
    """A data set opened by its name and overrides. Raises `SpecError` and the data set's own `DataError`."""
    from reid_lab.data import DATASETS

    spec = load_data(name, sets)
    return DATASETS[name].open(spec, cache_folder())


def open_synthetic(name: str, sets: Sequence[str] = ()) -> Synthetic:
    """The embedded benchmark, the one data set that can be drawn. Raises `SpecError` for any other name."""
    from reid_lab.data import synthetic

    spec = load_data(name, sets)
    if not isinstance(spec, synthetic.SyntheticSpec):
        raise SpecError(f"'{name}' is read from files; only synthetic can be made or previewed")
    return synthetic.open_synthetic(spec, cache_folder())


def counts(dataset: Dataset) -> list[tuple[str, ...]]:
    """Per split and role: items, identities and cameras, as text; `-` where cameras are unknown."""
    items = dataset.items
    rows: list[tuple[str, ...]] = []
    for split in dict.fromkeys(items.split.tolist()):
        for role in dict.fromkeys(items.role[items.split == split].tolist()):
            here = (items.split == split) & (items.role == role)
            cameras = set(items.camid[here].tolist()) - {-1}
            identities = len(set(items.pid[here].tolist()))
            rows.append((split, role, str(int(here.sum())), str(identities), str(len(cameras) or "-")))
    return rows


def outlines(folder: Path) -> list[Outline]:
    """The experiment files in a folder and the folders below it, by path."""
    return [loader.outline(path) for path in sorted(folder.rglob("*.yaml"))]


def cache_folder() -> Path:
    """Where rendered data sets are kept: `REID_LAB_CACHE`, or `reid-lab` in the user's cache folder."""
    named = os.environ.get("REID_LAB_CACHE")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else user / "reid-lab"
