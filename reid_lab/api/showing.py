"""Functions that show what an experiment, a model or a data set is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid_lab.api.given import PathLike, folder, name_of, overrides

if TYPE_CHECKING:
    from pandas import DataFrame

    from reid_lab.data.items import Items


def show(spec: PathLike, *, sets: Sequence[str] = (), **values: Any) -> str:
    """The resolved spec as YAML, each field with the place that its value comes from: `reid-lab show`.

    Raises `UserError` with every mistake.
    """
    from reid_lab.catalogue import load_spec
    from reid_lab.spec.show import resolved_yaml

    return resolved_yaml(load_spec(Path(spec), overrides(sets, values)))


def inspect(
    target: Any,
    *,
    identities: int | None = None,
    device: str | None = None,
    sets: Sequence[str] = (),
    runs: PathLike | None = None,
    **values: Any,
) -> dict[str, Any]:
    """What a model is made of, as plain data: `reid-lab inspect --format json`.

    Args:
        target: an experiment file, a run, or a file of weights.
        identities: so many people stand in for the data, which are not opened.
        **values: overrides of an experiment file.

    Raises:
        UserError: what is not there or not readable, a spec with faults.
    """
    from reid_lab.inspecting import inspect as look

    asked = overrides(sets, values)
    return look(name_of(target), folder(runs), sets=asked, identities=identities, device=device)


def items(data: str = "synthetic", *, split: str | None = None, sets: Sequence[str] = (), **values: Any) -> DataFrame:
    """The items of a data set, an image or a caption a row: what `reid-lab data stats` counts.

    Args:
        data: a registered data set.
        split: only of train, val or test.
        **values: fields of its section: `preset="smoke"`, `root="/data/CUHK-PEDES"`.

    Returns:
        Columns `split`, `role`, `side`, `pid`, `camid`, `scene`, `clothes`, `image_id`, `number`, `path`, `caption`,
        as docs/data.md has them; -1 where a number is unknown.

    Raises:
        UserError: an unknown data set, and whatever is wrong with its folder.
    """
    _check(split)
    from reid_lab.datasets import open_data

    return table(open_data(data, overrides(sets, values)).items, split)


def table(items: Items, split: str | None = None) -> DataFrame:
    """A table of items as a frame. Raises `UserError` for an unknown split."""
    from dataclasses import fields

    from pandas import DataFrame

    _check(split)
    frame = DataFrame({column.name: getattr(items, column.name) for column in fields(items)})
    return frame if split is None else frame[frame.split == split].reset_index(drop=True)


def _check(split: str | None) -> None:
    """Refuses an unknown split, before any data are drawn or read."""
    from reid_lab.data.items import SPLITS
    from reid_lab.errors import UserError, unknown

    if split is not None and split not in SPLITS:
        raise UserError(unknown("split", split, SPLITS))
