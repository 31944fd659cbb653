"""What every writer of a layout shares: images as files, a folder that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from PIL import Image

from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.errors import DataError, Fault

Format = Literal["jpeg", "png"]


@dataclass(frozen=True)
class Writer:
    """How the embedded world is written in one layout.

    write: (world, target) -> None. roles: what the world must be drawn with. knobs: further fields of the
    world's spec that the layout needs to make sense, e.g. `outfits: 2` where clothes change; a user's own win.
    """

    name: str
    write: Callable[[Synthetic, Target], None]
    roles: tuple[str, ...]
    knobs: Mapping[str, Any]


@final
class Target:
    """The folder that is being written.

    suffix: of the image files that a layout does not fix, `.jpg` or `.png`. JPEG has quality 95 without
    chroma subsampling; PNG keeps the pixels bit by bit. A layout that cites `.jpg` names keeps them even
    where the bytes are PNG: readers go by content.
    """

    def __init__(self, root: Path, pixels: Format = "jpeg") -> None:
        self.root, self.pixels = root, pixels
        self.suffix = ".jpg" if pixels == "jpeg" else ".png"

    def image(self, relative: str, pixels: np.ndarray) -> None:
        """Writes (C, H, W) uint8, C 1 or 3, to a path relative to the root; folders are made."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        plane = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        options = {"quality": 95, "subsampling": 0} if self.pixels == "jpeg" else {}
        Image.fromarray(np.ascontiguousarray(plane)).save(path, format=self.pixels, **options)

    def text(self, relative: str, content: str) -> None:
        """Writes a text file as UTF-8 with plain line ends."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n")


def refuse(root: Path) -> None:
    """Raises `DataError` where a data set cannot be written: a file, a folder that holds something, the current one."""
    try:
        there = root.exists()
        if there and (not root.is_dir() or any(root.iterdir())):
            raise DataError(Fault("is not empty; name a new folder" if root.is_dir() else "is no folder", str(root)))
        if there and root.samefile("."):
            raise DataError(Fault("is the current folder; name a new one in it", str(root)))
    except OSError as error:
        raise _unwritten(root, error) from error


def _unwritten(root: Path, error: OSError) -> DataError:
    return DataError(Fault(f"cannot write the data set ({error.strerror or error})", str(root)))


def write(writer: Writer, world: Synthetic, root: Path, pixels: Format = "jpeg") -> None:
    """Writes the world in a layout; `root` appears only when all of it is written.

    Raises:
        DataError: a role is missing, or `root` is `refuse`d or cannot be written.
    """
    missing = [role for role in writer.roles if role not in world.spec.roles]
    if missing:
        raise DataError(f"{writer.name} needs the roles {', '.join(writer.roles)}; not among roles: {missing[0]}")
    refuse(root)
    whole = Path(os.path.abspath(root))  # a name such as `x/..` has no neighbour
    partial = whole.with_name(f".{whole.name}.part")
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        writer.write(world, Target(partial, pixels))
        if whole.exists():
            whole.rmdir()
        partial.rename(whole)
    except OSError as error:
        raise _unwritten(root, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
