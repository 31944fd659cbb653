"""Data sets, protocols, samplers and loaders: a registry of readers, imported when one is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reid_lab.errors import DataError, unknown

if TYPE_CHECKING:
    from reid_lab.data.items import Dataset
    from reid_lab.spec.run import DataSpec


@dataclass(frozen=True)
class DatasetEntry:
    """A data set that can be read: one line about it, and the module, section and function that read it."""

    doc: str
    module: str
    section: str
    opener: str

    @property
    def spec(self) -> type[DataSpec]:
        """The data set's section of an experiment file."""
        return cast("type[DataSpec]", getattr(import_module(self.module), self.section))

    def open(self, spec: DataSpec, cache: Path) -> Dataset:
        """The data set with the val split that `spec.val` asks for; rendered data is kept in `cache`.

        Raises:
            DataError: what is wrong with the folder or its files, or a `val` that does not fit.
        """
        from reid_lab.data.splits import apply_val

        read = cast("Callable[[DataSpec, Path], Dataset]", getattr(import_module(self.module), self.opener))
        if spec.val == "authors" or spec.val == "none":
            return apply_val(read(spec, cache), spec.val)
        return apply_val(read(spec, cache), (spec.val.identities, spec.val.seed))


DATASETS: dict[str, DatasetEntry] = {
    "synthetic": DatasetEntry(
        "the embedded benchmark: procedurally drawn pedestrians in six modalities",
        module="reid_lab.data.synthetic",
        section="SyntheticSpec",
        opener="open_synthetic",
    ),
    "cuhk_pedes": DatasetEntry(
        "a folder in the layout of CUHK-PEDES: reid_raw.json and imgs/",
        module="reid_lab.data.cuhk_pedes",
        section="CuhkPedesSpec",
        opener="open_cuhk_pedes",
    ),
}


def open_dataset(spec: DataSpec, cache: Path) -> Dataset:
    """Opens the data set that a spec names. Raises `DataError`."""
    if spec.name not in DATASETS:
        raise DataError(unknown("data set", spec.name, DATASETS))
    return DATASETS[spec.name].open(spec, cache)
