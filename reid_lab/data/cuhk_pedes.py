"""CUHK-PEDES (Li et al., "Person Search with Natural Language Description", CVPR 2017), as its authors lay it out.

A folder with `reid_raw.json`, a list of {split, captions, file_path, processed_tokens, id}, and `imgs/`,
to which every `file_path` is relative. ids count from 1; cameras are not told. Data of your own in this
layout may name the `modality` of a record's image; without it, the image is rgb.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, final

import numpy as np
from pydantic import Field, model_validator

from reid_lab.contracts import IMAGE_ROLES
from reid_lab.data.files import CACHE_BYTES, ImageFiles, common_size, measure
from reid_lab.data.items import ABSENT, SPLITS, Aliases, Dataset, Items, resolve_modality
from reid_lab.errors import DataError, Fault, nearest, unknown
from reid_lab.spec.run import DataSpec
from reid_lab.spec.section import LOCAL, Misfit

ANNOTATIONS, IMAGES = "reid_raw.json", "imgs"
_KEYS: dict[str, type] = {"split": str, "captions": list, "file_path": str, "id": int}
_LARGEST_ID = 2**31
_SHOWN = 5  # faults that are listed; the others are counted


class CuhkPedesSpec(DataSpec):
    """CUHK-PEDES in the folder `root`. Photographs differ in size: `image_size` is what they are resized to."""

    name: Literal["cuhk_pedes"] = "cuhk_pedes"
    aliases: Aliases = {}
    resize: Literal["bilinear", "bicubic"] = "bilinear"  # IRRA's is bilinear
    cache_gb: Annotated[Annotated[float, Field(ge=0)], LOCAL] = 2.0  # memory for decoded images

    @model_validator(mode="after")
    def _rooted(self) -> CuhkPedesSpec:
        if self.root is None:
            raise Misfit("root", f"missing: the folder that holds {ANNOTATIONS} and {IMAGES}/", because="name")
        return self


@final
class CuhkPedes(Dataset):
    """Items stand in the order of the records: each image, then its captions.

    `scene` numbers the folders of the images (cam_a, CUHK01, …) in sorted order.

    root: the folder. size: height and width of the images that are delivered; None: as stored, where all
    are equally large. resize: Pillow's filter. cache_bytes: memory for decoded images. aliases: further
    names of modalities.
    """

    name = "cuhk_pedes"

    def __init__(
        self,
        root: Path,
        size: tuple[int, int] | None = None,
        resize: Literal["bilinear", "bicubic"] = "bilinear",
        cache_bytes: int = CACHE_BYTES,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        raw = _bytes(root / ANNOTATIONS)
        records = _records(raw, root / ANNOTATIONS, aliases or {})
        paths = [record["file_path"] for record in records]
        lines = "".join(f"{path}\t{size}\n" for path, size in sorted(measure(root, IMAGES, paths).items()))
        self.digest = hashlib.sha256(raw + lines.encode()).hexdigest()
        self.items = _items(records, aliases or {})
        self.size = size or common_size(root / IMAGES, paths)
        self._files = ImageFiles(root / IMAGES, resize, cache_bytes)

    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels of image items.

        Args:
            index: (n,) item numbers.
            size: (height, width) to resize to; None: the data set's own.

        Returns:
            (n, C, height, width) uint8; C is 3 for rgb and cpencil, 1 for nir, tir and sketch.

        Raises:
            DataError: the items are captions or of several roles, or files cannot be read.
        """
        roles = np.unique(self.items.role[index]).tolist()
        if len(roles) != 1 or roles[0] not in IMAGE_ROLES:
            raise DataError(f"images(): the items must be images of one role, not {', '.join(roles) or 'none'}")
        mode: Literal["RGB", "L"] = "RGB" if roles[0] in ("rgb", "cpencil") else "L"
        return self._files.read(self.items.path[index].tolist(), mode, size or self.size)


def open_cuhk_pedes(spec: CuhkPedesSpec, cache: Path) -> CuhkPedes:
    """Opens the folder `spec.root`; nothing is written.

    Raises:
        DataError: the faults of the annotations, or the images that are missing.
    """
    root = Path(spec.root or ".")
    if not root.is_dir():
        raise DataError(Fault("no such folder (data.root)", str(root)))
    return CuhkPedes(root, spec.image_size, spec.resize, int(spec.cache_gb * 2**30), spec.aliases)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(Fault(f"no such file; data.root must hold {ANNOTATIONS} and {IMAGES}/", str(path))) from None
    except OSError as error:
        raise DataError(Fault(f"cannot be read ({error.strerror or error})", str(path))) from None


def _records(raw: bytes, path: Path, aliases: Mapping[str, str]) -> list[dict[str, Any]]:
    """The records, checked."""
    try:
        records = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(Fault(f"no JSON ({error})", str(path))) from None
    if not isinstance(records, list) or not records:
        raise DataError(Fault("a list of records is expected", str(path)))
    _refuse(
        f"{path}: record {number}: {what}" for number, record in enumerate(records) for what in _faults(record, aliases)
    )
    split_of: dict[int, str] = {}
    shared = [r["id"] for r in records if split_of.setdefault(r["id"], r["split"]) != r["split"]]
    _refuse(f"{path}: id {pid} stands in two splits" for pid in dict.fromkeys(shared))
    return records


def _faults(record: Any, aliases: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with one record."""
    if not isinstance(record, dict):
        yield f"an object is expected, not {_kind(record)}"
        return
    for key, kind in _KEYS.items():
        if key not in record:
            near = nearest(key, [k for k in record if k not in _KEYS])
            yield f"no key '{key}'" + (f"; is '{near}' meant?" if near else "")
        elif not isinstance(record[key], kind) or isinstance(record[key], bool):
            yield f"{key} must be {_WORDS[kind]}, not {_kind(record[key])}"
        else:
            yield from _CHECKS[key](record[key])
    try:
        if resolve_modality(str(record.get("modality", "rgb")), aliases) not in IMAGE_ROLES:
            yield f"modality '{record['modality']}' is no image"
    except DataError as error:
        yield str(error)


def _split_faults(split: str) -> Iterator[str]:
    if split not in SPLITS:
        yield unknown("split", split, SPLITS)


def _caption_faults(captions: list[Any]) -> Iterator[str]:
    for number, caption in enumerate(captions):
        if not isinstance(caption, str):
            yield f"captions[{number}] must be a string, not {_kind(caption)}"
        elif not _encodes(caption):
            yield f"captions[{number}] is not valid Unicode"


def _path_faults(path: str) -> Iterator[str]:
    if not path or "\0" in path or not _encodes(path):
        yield f"file_path {path!r} is no path"


def _id_faults(number: int) -> Iterator[str]:
    if not 1 <= number <= _LARGEST_ID:
        yield f"id must lie between 1 and {_LARGEST_ID}, not {number}"


_CHECKS: dict[str, Callable[[Any], Iterator[str]]] = {
    "split": _split_faults,
    "captions": _caption_faults,
    "file_path": _path_faults,
    "id": _id_faults,
}
_WORDS = {str: "a string", list: "a list", int: "an integer", float: "a number", dict: "an object"}


def _kind(value: Any) -> str:
    """What a value of a JSON file is, in words."""
    return json.dumps(value) if value is None or isinstance(value, bool) else _WORDS[type(value)]


def _encodes(text: str) -> bool:
    """Whether a string is valid Unicode: JSON may hold halves of surrogate pairs."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _refuse(whats: Iterable[str]) -> None:
    """Raises the first faults and the number of the others, if there are any."""
    faults = list(whats)
    if faults:
        rest = [f"… and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise DataError(*faults[:_SHOWN], *rest)


def _items(records: Sequence[dict[str, Any]], aliases: Mapping[str, str]) -> Items:
    folders = [str(PurePosixPath(record["file_path"]).parent) for record in records]
    scenes = np.unique(folders, return_inverse=True)[1].tolist()
    rows: list[tuple[str, str, int, int, int, str | None, str | None]] = []
    for number, (record, place) in enumerate(zip(records, scenes, strict=True)):
        split, pid = record["split"], record["id"] - 1
        role = resolve_modality(record.get("modality", "rgb"), aliases)
        rows.append((split, role, pid, place, number, record["file_path"], None))
        rows += [(split, "caption", pid, place, number, None, caption) for caption in record["captions"]]
    splits, roles, pids, scene, moment, path, caption = zip(*rows, strict=True)
    nowhere = np.full(len(rows), ABSENT, dtype=np.int64)
    return Items(
        split=np.array(splits),
        role=np.array(roles),
        pid=np.array(pids, dtype=np.int64),
        camid=nowhere,
        scene=np.array(scene, dtype=np.int64),
        clothes=nowhere,
        image_id=np.array(moment, dtype=np.int64),
        path=np.array(path, dtype=object),
        caption=np.array(caption, dtype=object),
    )
