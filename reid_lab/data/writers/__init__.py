"""The embedded world written as real files, in the layout of each data set: what `reid-lab data make` does."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from reid_lab.errors import DataError, unknown

if TYPE_CHECKING:
    from reid_lab.data.writers.base import Writer

NAMES = (
    "cuhk_pedes",
    "icfg_pedes",
    "rstpreid",
    "market1501",
    "msmt17",
    "prcc",
    "ltcc",
    "rgbnt201",
    "rgbnt100",
    "msvr310",
    "orbench",
    "folder",
)
"""The layouts that can be written."""


def writer(name: str) -> Writer:
    """The writer of a layout. Raises `DataError` for an unknown name, with the nearest."""
    if name not in NAMES:
        raise DataError(unknown("layout", name, NAMES))
    return cast("Writer", import_module(f"{__name__}.{name}").WRITER)
