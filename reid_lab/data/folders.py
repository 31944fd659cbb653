"""A data set that lies in a folder: what its reader found, checked against the files, and their pixels."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field, model_validator

from reid_lab.contracts import IMAGE_ROLES
from reid_lab.data.cache import CacheLimit, cache_limit
from reid_lab.data.files import ImageFiles, common_size
from reid_lab.data.items import ABSENT, Aliases, Dataset, kept
from reid_lab.data.reading import Faults, Reader, Reading
from reid_lab.errors import DataError, Fault
from reid_lab.spec.run import DataSpec
from reid_lab.spec.section import LOCAL, Misfit


class FolderSpec(DataSpec):
    """A data set in the folder `root`. Photographs differ in size: `image_size` is what they are resized to."""

    aliases: Aliases = {}
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    missing: Literal["error", "skip"] = "error"  # images that the annotations name and the folder lacks
    cache: Annotated[Annotated[float, Field(ge=0)] | Literal["auto", "all", "none"], LOCAL] = "auto"  # GiB, decoded
    decoder: Annotated[Literal["pillow", "simplejpeg"], LOCAL] = "pillow"  # the same pixels, in different time

    @model_validator(mode="after")
    def _rooted(self) -> FolderSpec:
        if self.root is None:
            raise Misfit("root", "missing: the folder of the data set, as its authors lay it out", because="name")
        return self


@dataclass(frozen=True)
class Pixels:
    """How the images of a folder are delivered. size: height and width; None: as stored, where all are equal."""

    size: tuple[int, int] | None = None
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    cache: CacheLimit = "auto"
    decoder: Literal["pillow", "simplejpeg"] = "pillow"


@final
class Folder(Dataset):
    """The items that a reader found, with their pixels.

    Items keep the reader's order. `left_out` holds the paths of images that were cited and missing.

    Raises:
        DataError: what is wrong with the annotations or the files, all of it.
    """

    def __init__(self, reader: Reader, root: Path, pixels: Pixels, missing: Literal["error", "skip"] = "error") -> None:
        if not os.path.isdir(root):
            what = "is no folder" if os.path.exists(root) else "no such folder"
            raise DataError(Fault(f"{what} (data.root)", str(root)))
        faults = Faults()
        try:
            reading = reader.read(root, faults)
        except DataError as error:
            faults.include("unreadable data set", error)
            faults.settle()
            raise
        found = inspect(reading, root, faults, tolerated=missing == "skip")
        faults.settle()
        reading, self.left_out = without(reading, found.missing), found.missing
        if not (reading.items.role[:, None] == np.array(IMAGE_ROLES)).any():
            raise DataError(Fault(f"no images in it; {reader.name} is a folder with {reader.layout}", str(root)))
        self.name, self.root, self.reading = reader.name, root, reading
        self.items, self.listed = reading.items, reading.listed
        self.digest = digest(reading, found.sizes)
        self.size = pixels.size or self._stored_size()
        self._files = ImageFiles(root, pixels.resize, pixels.cache, pixels.decoder)

    def _stored_size(self) -> tuple[int, int]:
        """Height and width of all images: of their windows, or of their files."""
        image, windows = np.isin(self.items.role, IMAGE_ROLES), self.reading.windows
        sizes = {windows[role][:1:-1] for role in np.unique(self.items.role[image]).tolist() if role in windows}
        if len(sizes) == 1 and np.isin(self.items.role[image], list(windows)).all():
            (height, width) = sizes.pop()
            return height, width
        return common_size(self.root, list(dict.fromkeys(self.items.path[image].tolist())))

    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels of image items.

        Args:
            index: (n,) item numbers.
            size: (height, width) to resize to; None: the data set's own.

        Returns:
            (n, C, height, width) uint8; C is 3 for the roles that the reader reads in colour, else 1.

        Raises:
            DataError: the items are captions or of several roles, or files cannot be read.
        """
        roles = np.unique(self.items.role[index]).tolist()
        if len(roles) != 1 or roles[0] not in IMAGE_ROLES:
            raise DataError(f"images(): the items must be images of one role, not {', '.join(roles) or 'none'}")
        mode: Literal["RGB", "L"] = "RGB" if roles[0] in self.reading.colour else "L"
        window = self.reading.windows.get(roles[0])
        return self._files.read(self.items.path[index].tolist(), mode, size or self.size, [window] * len(index))


def open_folder(reader: Reader, spec: FolderSpec) -> Folder:
    """Opens the folder `spec.root` with a reader; nothing is written. Raises `DataError`."""
    pixels = Pixels(spec.image_size, spec.resize, cache_limit(spec.cache), spec.decoder)
    return Folder(reader, Path(spec.root or "."), pixels, spec.missing)


@dataclass(frozen=True)
class Inspection:
    """What the files of a folder are like. sizes: path -> bytes of those that are there; missing: the others."""

    sizes: Mapping[str, int]
    missing: tuple[str, ...]


def inspect(reading: Reading, root: Path, faults: Faults, *, tolerated: bool = False) -> Inspection:
    """Looks for every image of the items, and for contradictions between items; no image is opened.

    Adds to `faults`: images that are missing (unless `tolerated`; one fault for all of the topmost folder that is
    not there), empty, unreadable (loops of links, say) or outside `root` (absolute paths, `..`, links that lead
    out); images that are listed twice in one role and side, identities in two splits, captions of no image.
    """
    base, inside, top = os.path.realpath(root), dict[str, bool](), str(root)
    sizes: dict[str, int] = {}
    missing: list[str] = []
    lost: Counter[Path] = Counter()  # folders that are not there
    for path in dict.fromkeys(path for path in reading.items.path.tolist() if path is not None):
        try:
            if path.startswith("/") or ".." in path.split("/") or not _within(f"{top}/{path}", base, inside):
                faults.add("outside the folder", f"the image lies outside {root}", path)
                continue
            found = os.stat(f"{top}/{path}")
            sizes[path] = found.st_size
            if not stat.S_ISREG(found.st_mode):
                faults.add("no file", "the image is no file", root / path)
            elif not found.st_size:
                faults.add("empty file", "the image is an empty file", root / path)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
            if os.path.isdir((root / path).parent):
                if not tolerated:
                    faults.add("missing image", "the image is missing", root / path)
            else:
                lost[_topmost((root / path).parent, root)] += 1
        except (OSError, ValueError) as error:  # a loop of links, a folder that may not be entered, a NUL
            what = getattr(error, "strerror", None) or str(error)
            faults.add("unreadable", f"the image cannot be read ({what})", root / path)
    if not tolerated:
        for folder, count in lost.items():
            images = "1 image" if count == 1 else f"{count} images"
            faults.add("missing folder", f"the folder is missing, and {images} with it", folder)
    _contradictions(reading, faults)
    return Inspection(sizes, tuple(missing))


def _topmost(folder: Path, root: Path) -> Path:
    """The first folder on the way from `root` that is not there."""
    while folder.parent != root and not os.path.isdir(folder.parent):
        folder = folder.parent
    return folder


def _contradictions(reading: Reading, faults: Faults) -> None:
    items = reading.items
    image = np.isin(items.role, IMAGE_ROLES)
    known = items.pid >= 0
    splits: dict[int, list[str]] = {}
    for split in items.splits():
        for pid in np.unique(items.pid[known & (items.split == split)]).tolist():
            splits.setdefault(pid, []).append(split)
    for pid, found in splits.items():
        if len(found) > 1:
            example = items.path[image & (items.pid == pid) & (items.split == found[-1])][:1].tolist()
            what = f"identity {pid + reading.first_id} stands in two splits: {', '.join(found)}"
            faults.add("identity in two splits", what, *example)
    seen = Counter(
        (str(items.role[row]), str(items.side[row]), str(PurePosixPath(items.path[row])))
        for row in np.flatnonzero(image).tolist()
    )
    for (role, _, path), count in seen.items():
        if count > 1:
            faults.add("duplicate image", f"the {role} image is listed {count} times", path)
    alone = ~image & (items.image_id != ABSENT) & ~np.isin(items.image_id, items.image_id[image])
    for text in items.caption[alone].tolist():
        faults.add("caption without image", f"no image belongs to the caption {text!r:.80}")


def _within(file: str, base: str, known: dict[str, bool]) -> bool:
    """Whether a file lies under `base` once symbolic links are followed; folders are looked up once."""
    if os.path.islink(file):
        return _under(file, base)
    folder = os.path.dirname(file)
    if folder not in known:
        known[folder] = _under(folder, base)
    return known[folder]


def _under(path: str, base: str) -> bool:
    try:
        found = os.path.realpath(path, strict=True)
    except FileNotFoundError:
        found = os.path.realpath(path)
    return found == base or found.startswith(base.rstrip("/") + "/")


def without(reading: Reading, missing: tuple[str, ...]) -> Reading:
    """The reading without the images of these paths, their captions, and the listed queries that need them."""
    if not missing:
        return reading
    items = reading.items
    image = np.isin(items.role, IMAGE_ROLES)
    gone = image & np.isin(items.path.astype(str), missing)
    left = items.image_id[image & ~gone]
    told = ~image & (items.image_id != ABSENT)
    gone |= told & np.isin(items.image_id, items.image_id[gone]) & ~np.isin(items.image_id, left)
    return replace(
        reading, items=items.take(np.flatnonzero(~gone)), listed=kept(reading.listed, np.flatnonzero(~gone), len(items))
    )


def digest(reading: Reading, sizes: Mapping[str, int]) -> str:
    """sha256 of the annotations' bytes and of every (path, size) in sorted order."""
    lines = "".join(f"{path}\t{size}\n" for path, size in sorted(sizes.items()))
    return hashlib.sha256(reading.annotations + lines.encode(errors="surrogatepass")).hexdigest()
