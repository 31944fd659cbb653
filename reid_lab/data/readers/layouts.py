"""Where a layout begins: people name the folder that they unpacked, the one above it, or the one inside."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

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
        if any((root / below / name).exists() for name in names):
            return f"{below}/" if below else ""
    above = Path(os.path.abspath(root)).parent
    hint = f"; is the folder above it meant ({above})?" if all((above / name).exists() for name in names) else ""
    raise DataError(Fault(f"data.root must hold {layout}{hint}", str(root)))
