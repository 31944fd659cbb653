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
    from reid_lab.data.reading import Reader
    from reid_lab.spec.run import DataSpec


@dataclass(frozen=True)
class DatasetEntry:
    """A data set that can be read: one line about it, and the module that reads it.

    section: the class of its section of an experiment file. opener: (section, cache folder) -> data set; empty
    for a data set in a folder, whose module has a function `reader`: section -> `reading.Reader`.
    protocol: the one that the literature measures it with. has_val: the opener sees to `spec.val` itself; told to be
    `lenient`, it opens what has no val split of its authors' without one.
    """

    doc: str
    module: str
    section: str
    opener: str = ""
    protocol: str = "text_to_image"
    has_val: bool = False

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

        dataset = self._opened(spec, cache)
        if self.has_val:
            return dataset
        if spec.val == "authors" or spec.val == "none":
            return apply_val(dataset, spec.val)
        return apply_val(dataset, (spec.val.identities, spec.val.seed))

    def as_it_is(self, spec: DataSpec, cache: Path) -> Dataset:
        """The data set with its authors' splits, whatever `spec.val` says; with a val that it sees to, where it can.

        Raises as `open`, but not for a val split that the authors do not have.
        """
        return self._opened(spec, cache, lenient=True)

    def reader(self, spec: DataSpec) -> Reader | None:
        """What reads the folder of this data set; None for a data set that is no folder."""
        from reid_lab.data.seal import refuse_opening

        refuse_opening(spec.name)
        return None if self.opener else getattr(import_module(self.module), "reader")(spec)  # noqa: B009

    def _opened(self, spec: DataSpec, cache: Path, *, lenient: bool = False) -> Dataset:
        from reid_lab.data.seal import refuse_opening

        refuse_opening(spec.name)
        if self.opener:
            opener = cast("Callable[..., Dataset]", getattr(import_module(self.module), self.opener))
            return opener(spec, cache, lenient=lenient) if self.has_val else opener(spec, cache)
        from reid_lab.data.folders import FolderSpec, open_folder

        reader = self.reader(spec)
        assert reader is not None
        assert isinstance(spec, FolderSpec)
        return open_folder(reader, spec)


_READERS = "reid_lab.data.readers"

DATASETS: dict[str, DatasetEntry] = {
    "synthetic": DatasetEntry(
        "the embedded benchmark: procedurally drawn pedestrians in six modalities",
        module="reid_lab.data.synthetic",
        section="SyntheticSpec",
        opener="open_synthetic",
    ),
    "cuhk_pedes": DatasetEntry(
        "CUHK-PEDES, or a folder in its layout: reid_raw.json and imgs/", f"{_READERS}.cuhk_pedes", "CuhkPedesSpec"
    ),
    "icfg_pedes": DatasetEntry("ICFG-PEDES: one long caption an image", f"{_READERS}.icfg_pedes", "IcfgPedesSpec"),
    "rstpreid": DatasetEntry("RSTPReid: two captions an image", f"{_READERS}.rstpreid", "RstpReidSpec"),
    "market1501": DatasetEntry(
        "Market-1501: photographs of six cameras, with distractors",
        f"{_READERS}.market1501",
        "Market1501Spec",
        protocol="image_to_image",
    ),
    "msmt17": DatasetEntry(
        "MSMT17: photographs of fifteen cameras", f"{_READERS}.msmt17", "Msmt17Spec", protocol="image_to_image"
    ),
    "prcc": DatasetEntry(
        "PRCC: clothes-changing, three cameras", f"{_READERS}.prcc", "PrccSpec", protocol="clothes_changing"
    ),
    "ltcc": DatasetEntry(
        "LTCC: clothes-changing, twelve cameras", f"{_READERS}.ltcc", "LtccSpec", protocol="clothes_changing"
    ),
    "rgbnt201": DatasetEntry(
        "RGBNT201: pedestrians in rgb, near and thermal infrared",
        f"{_READERS}.rgbnt201",
        "Rgbnt201Spec",
        protocol="multispectral",
    ),
    "rgbnt100": DatasetEntry(
        "RGBNT100: vehicles in rgb, near and thermal infrared",
        f"{_READERS}.rgbnt100",
        "Rgbnt100Spec",
        protocol="multispectral",
    ),
    "msvr310": DatasetEntry(
        "MSVR310: vehicles in three spectra, over scenes and time",
        f"{_READERS}.msvr310",
        "Msvr310Spec",
        protocol="multispectral",
    ),
    "orbench": DatasetEntry(
        "ORBench: five modalities, queries of any combination", f"{_READERS}.orbench", "OrBenchSpec", protocol="omni"
    ),
    "folder": DatasetEntry(
        "your own data: images, and one CSV or Parquet file that describes them", f"{_READERS}.folder", "OwnSpec"
    ),
    "merged": DatasetEntry(
        "several data sets in folders, trained on as one and tested each by itself",
        "reid_lab.data.merged",
        "MergedSpec",
        "open_merged",
        has_val=True,
    ),
}


def open_dataset(spec: DataSpec, cache: Path) -> Dataset:
    """Opens the data set that a spec names. Raises `DataError`."""
    if spec.name not in DATASETS:
        raise DataError(unknown("data set", spec.name, DATASETS))
    return DATASETS[spec.name].open(spec, cache)
