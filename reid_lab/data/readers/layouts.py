"""Where a layout begins, and what its folders hold.

People name the folder that they unpacked, the one above it, or the one inside.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from reid_lab.data.reading import Faults, entries
from reid_lab.errors import DataError, Fault


def base_of(root: Path, names: Sequence[str], inner: Sequence[str], layout: str) -> str:
    """The folder below `root` that holds the layout, as the beginning of its paths: `""` or `RGBNT201/`.

    Args:
        root: what the user named.
        names: folders or files of which the layout has at least one.
        inner: folders below `root` in which it may lie instead, likeliest first.
        layout: what the folder should hold, for the message.

    Raises:
        DataError: it lies nowhere there; when `root` is itself a part of the layout, that is said.
    """
    for below in ("", *inner):
        if any(os.path.exists(root / below / name) for name in names):
            return f"{below}/" if below else ""
    above = Path(os.path.abspath(root)).parent
    hint = f"; is the folder above it meant ({above})?" if all(os.path.exists(above / name) for name in names) else ""
    raise DataError(Fault(f"data.root must hold {layout}{hint}", str(root)))


def listing(folder: Path, kind: Literal["folders", "images"], faults: Faults, empty: str = "") -> list[str]:
    """The names in a folder in sorted order. A folder that cannot be read is a fault; an empty one if `empty` says so.

    Args:
        folder: need not be there.
        kind: of the entries that count.
        faults: where faults go.
        empty: what is wrong when there is none; nothing is by default.
    """
    try:
        names = entries(folder, kind)
    except DataError as error:
        for fault in error.faults:
            faults.add("unreadable", fault.what, fault.where)
        return []
    if empty and not names:
        faults.add("missing folder", empty, folder)
    return names
