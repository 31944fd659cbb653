"""The data room while a model is fitted: nothing in the process opens a data set or reads test items.

A run hands `fit` train and val items alone. The seal refuses the ways around that: an architecture that opens
its data set by itself, or that kept one from elsewhere. It holds for the whole process, because images are read in
threads, which a context variable does not reach. It is a guard against mistakes, not against malice.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from reid_lab.errors import DataError

if TYPE_CHECKING:
    from reid_lab.data.items import Dataset

OPEN = ("train", "val")
_OUTSIDE = frozenset(("images", "name", "digest"))  # of a data set with test items, these can be asked for
_fitted: list[str] = []  # who is being fitted
_reading = threading.local()  # depth: inside `images`, whose items were looked at


@contextmanager
def sealed(who: str) -> Iterator[None]:
    """Test items are out of reach inside; `who` is fitted, and named by the `DataError` of whoever asks for them."""
    _fitted.append(who)
    try:
        yield
    finally:
        _fitted.remove(who)


@contextmanager
def lifted() -> Iterator[None]:
    """Inside, there is no seal: for the callers of a run, who are told of an evaluation while it is fitted."""
    held = _fitted.copy()
    _fitted.clear()
    try:
        yield
    finally:
        _fitted.extend(held)


def refuse_opening(name: str) -> None:
    """Raises `DataError` while something is fitted."""
    if _fitted:
        raise DataError(
            f"{_fitted[-1]} opens the data set '{name}' while it is fitted: "
            "it learns from the train and val items that it is handed, and test stays closed until then"
        )


def refuse_attribute(dataset: Dataset, attribute: str) -> None:
    """Raises `DataError` while something is fitted and the data set holds test items, except for what is harmless."""
    if not _fitted or attribute in _OUTSIDE or attribute.startswith("__") or getattr(_reading, "depth", 0) > 0:
        return
    plainly = functools.partial(object.__getattribute__, dataset)
    try:
        items = plainly("items")
    except AttributeError:  # it is being opened, which is refused by itself
        return
    held = plainly("__dict__")
    known = held.get("_open_only")
    if known is None or known[0] is not items:
        known = held["_open_only"] = (items, bool(np.isin(items.split, OPEN).all()))
    if not known[1]:
        raise DataError(_asks(plainly("name"), f"'{attribute}'"))


def guarded(images: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """`Dataset.images` that looks first whether the items that are asked for are open."""

    @functools.wraps(images)
    def looked_at(self: Dataset, index: np.ndarray, *more: Any, **named: Any) -> np.ndarray:
        if not _fitted:
            return images(self, index, *more, **named)
        _reading.depth = getattr(_reading, "depth", 0) + 1
        try:
            if not np.isin(self.items.split[index], OPEN).all():
                raise DataError(_asks(self.name, "images of test"))
            return images(self, index, *more, **named)
        finally:
            _reading.depth -= 1

    return looked_at


def _asks(name: str, what: str) -> str:
    return f"{_fitted[-1]} asks for {what} of the data set '{name}', which holds test items, while it is fitted"
