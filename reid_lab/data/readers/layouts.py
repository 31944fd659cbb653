"""Where a layout begins, and what its folders hold.

People name the folder that they unpacked, the one above it, or the one inside.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from reid_lab.data.reading import Faults, entries, valid_text
from reid_lab.errors import DataError, Fault, nearest


def home(root: Path, parts: Sequence[str], inside: Sequence[str], layout: str) -> str:
    """The folder below `root` that holds a layout, as the beginning of its paths: `""` or `RGBNT201/`.

    It is the place that holds most of the parts; of places that hold as many, the first.

    Args:
        root: what the user named.
        parts: names of the layout's files and folders.
        inside: folders below `root` in which it may lie instead, likeliest first.
        layout: what the folder should hold, for the message.

    Raises:
        DataError: no part is anywhere there; the message names a folder above or below `root` that has most of them.
    """
    place = _fullest(root, parts, inside)
    if place is not None:
        return f"{place}/" if place else ""
    base = Path(os.path.abspath(root))
    above = [up for up in list(base.parents)[:3] if 2 * _held(up, parts) > len(parts)]
    below = [root / name for name in entries(root, "folders") if _fullest(root / name, parts, inside) is not None]
    near = [*above, *below]
    hint = f"; is {near[0]} meant?" if near else ""
    raise DataError(Fault(f"data.root must hold {layout}; nothing of it is there{hint}", str(root)))


def _fullest(root: Path, parts: Sequence[str], inside: Sequence[str]) -> str | None:
    held = {place: _held(root / place, parts) for place in ("", *inside)}
    best = max(held, key=lambda place: held[place])
    return best if held[best] else None


def _held(folder: Path, parts: Sequence[str]) -> int:
    return sum(os.path.exists(folder / part) for part in parts)


def present(folder: Path, names: Sequence[str], faults: Faults, layout: str) -> list[str]:
    """Those of the named subfolders that are there; the others are faults, with the nearest name that is there."""
    there = [name for name in names if os.path.isdir(folder / name)]
    for name in names:
        if name not in there:
            near = nearest(name, [other for other in entries(folder, "folders") if other not in names])
            hint = f"; is '{near}' meant?" if near else ""
            faults.add("missing folder", f"no such folder; data.root must hold {layout}{hint}", folder / name)
    return there


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
        faults.include("unreadable", error)
        return []
    if empty and not names:
        faults.add("missing folder", empty, folder)
    return names


def named(
    root: Path, folder: str, pattern: re.Pattern[str], example: str, faults: Faults
) -> Iterator[tuple[str, re.Match[str]]]:
    """The images in `root/folder` in sorted order: path relative to `root`, and what `pattern` found in the name.

    Other files are passed over. A name that does not fit (`example` is one that does) is a fault, and so is a
    folder without images, or one that cannot be read.
    """
    for name in listing(root / folder, "images", faults, "there are no images in it"):
        match = _fitting(name, pattern, example, root / folder, faults)
        if match:
            yield (Path(folder) / name).as_posix(), match


def in_spectra(
    root: Path, folder: str, spectra: Mapping[str, str], pattern: re.Pattern[str], example: str, faults: Faults
) -> Iterator[tuple[dict[str, str], re.Match[str]]]:
    """The moments in `root/folder`, whose images have one name in a subfolder for each spectrum, in sorted order.

    The published sets are complete, so a name that one spectrum has is expected of all: the paths are those of all
    spectra, and what is not there is told as a missing image, like one that an annotation cites. A name that
    does not fit is a fault, and so are subfolders without any images.

    Args:
        root: of the data set.
        folder: relative to it.
        spectra: role -> name of the subfolder.
        pattern: of names.
        example: a name that fits, and what it tells.
        faults: where faults go.

    Yields:
        role -> path relative to `root`, and what `pattern` found in the name.
    """
    held: dict[str, Path] = {}
    before = len(faults.found)
    for spectrum in spectra.values():
        inside = root / folder / spectrum
        held |= {name: inside for name in listing(inside, "images", faults) if name not in held}
    if not held and len(faults.found) == before:
        faults.add("missing folder", f"no images in its folders {', '.join(spectra.values())}", root / folder)
    for name in sorted(held):
        match = _fitting(name, pattern, example, held[name], faults)
        if match:
            yield {role: f"{folder}/{spectrum}/{name}" for role, spectrum in spectra.items()}, match


def _fitting(name: str, pattern: re.Pattern[str], example: str, folder: Path, faults: Faults) -> re.Match[str] | None:
    match = pattern.fullmatch(name) if valid_text(name) else None
    if not match:
        shown = str(folder / name).encode(errors="backslashreplace").decode()
        faults.add("file name", f"the name must look like {example}", shown)
    return match
