"""CUHK-PEDES (Li et al., "Person Search with Natural Language Description", CVPR 2017), as its authors lay it out.

A folder with `reid_raw.json`, a list of {split, captions, file_path, processed_tokens, id}, and `imgs/`,
to which every `file_path` is relative. ids count from 1; cameras are not told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, final

import numpy as np
from pydantic import Field, model_validator

from reid_lab.data.files import CACHE_BYTES, ImageFiles, common_size, measure
from reid_lab.data.items import ABSENT, SPLITS, Dataset, Items
from reid_lab.errors import DataError, Fault, nearest
from reid_lab.spec.run import DataSpec
from reid_lab.spec.section import LOCAL, Misfit

ANNOTATIONS, IMAGES = "reid_raw.json", "imgs"
_KEYS: dict[str, type] = {"split": str, "captions": list, "file_path": str, "id": int}
_SHOWN = 5  # faults that are listed; the others are counted


class CuhkPedesSpec(DataSpec):
    """CUHK-PEDES in the folder `root`. Photographs differ in size: `image_size` is what they are resized to."""

    name: Literal["cuhk_pedes"] = "cuhk_pedes"
    resize: Literal["bilinear", "bicubic"] = "bilinear"  # IRRA's is bilinear
    cache_gb: Annotated[Annotated[float, Field(ge=0)], LOCAL] = 8.0  # memory for decoded images

    @model_validator(mode="after")
    def _rooted(self) -> CuhkPedesSpec:
        if self.root is None:
            raise Misfit("root", f"missing: the folder that holds {ANNOTATIONS} and {IMAGES}/", because="name")
        return self


@final
class CuhkPedes(Dataset):
    """Items stand in the order of the records: each image, then its captions.

    root: the folder. size: height and width of the images that are delivered; None: as stored, where all
    are equally large. resize: Pillow's filter. cache_bytes: memory for decoded images.
    """

    name = "cuhk_pedes"

    def __init__(
        self,
        root: Path,
        size: tuple[int, int] | None = None,
        resize: Literal["bilinear", "bicubic"] = "bilinear",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        raw = _bytes(root / ANNOTATIONS)
        records = _records(raw, root / ANNOTATIONS)
        paths = [record["file_path"] for record in records]
        lines = "".join(f"{path}\t{size}\n" for path, size in sorted(measure(root, IMAGES, paths).items()))
        self.digest = hashlib.sha256(raw + lines.encode()).hexdigest()
        self.items = _items(records)
        self.size = size or common_size(root / IMAGES, paths)
        self._files = ImageFiles(root / IMAGES, resize, cache_bytes)

    def images(self, index: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels of image items.

        Args:
            index: (n,) item numbers.
            size: (height, width) to resize to; None: the data set's own.

        Returns:
            (n, 3, height, width) uint8.

        Raises:
            DataError: a caption among the items, or files that cannot be read.
        """
        paths = self.items.path[index].tolist()
        if None in paths:
            raise DataError("images(): captions are among the items")
        return self._files.read(paths, "RGB", size or self.size)


def open_cuhk_pedes(spec: CuhkPedesSpec, cache: Path) -> CuhkPedes:
    """Opens the folder `spec.root`; nothing is written.

    Raises:
        DataError: the faults of the annotations, or the images that are missing.
    """
    return CuhkPedes(Path(spec.root or "."), spec.image_size, spec.resize, int(spec.cache_gb * 2**30))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(Fault(f"no such file; data.root must hold {ANNOTATIONS} and {IMAGES}/", str(path))) from None
    except OSError as error:
        raise DataError(Fault(f"cannot be read ({error.strerror or error})", str(path))) from None


def _records(raw: bytes, path: Path) -> list[dict[str, Any]]:
    """The records, checked."""
    try:
        records = json.loads(raw)
    except ValueError as error:
        raise DataError(Fault(f"no JSON ({error})", str(path))) from None
    if not isinstance(records, list) or not records:
        raise DataError(Fault("a list of records is expected", str(path)))
    _refuse(f"{path}: record {number}: {what}" for number, record in enumerate(records) for what in _faults(record))
    split_of: dict[int, str] = {}
    shared = [r["id"] for r in records if split_of.setdefault(r["id"], r["split"]) != r["split"]]
    _refuse(f"{path}: id {pid} stands in two splits" for pid in dict.fromkeys(shared))
    return records


def _faults(record: Any) -> Iterator[str]:
    """What is wrong with one record."""
    if not isinstance(record, dict):
        yield f"an object is expected, not {type(record).__name__}"
        return
    for key, kind in _KEYS.items():
        if key not in record:
            near = nearest(key, [k for k in record if k not in _KEYS])
            yield f"no key '{key}'" + (f"; is '{near}' meant?" if near else "")
        elif not isinstance(record[key], kind) or isinstance(record[key], bool):
            yield f"{key} must be {kind.__name__}, not {type(record[key]).__name__}"
        elif key == "split" and record[key] not in SPLITS:
            yield f"split '{record[key]}'; allowed: {', '.join(SPLITS)}"
        elif key == "captions":
            strange = [c for c in record[key] if not isinstance(c, str)]
            if strange:
                yield f"a caption must be text, not {type(strange[0]).__name__}"
        elif key == "file_path" and ("\0" in record[key] or not record[key]):
            yield f"{key} {record[key]!r} is no path"


def _refuse(whats: Iterable[str]) -> None:
    """Raises the first faults and the number of the others, if there are any."""
    faults = list(whats)
    if faults:
        rest = [f"… and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise DataError(*faults[:_SHOWN], *rest)


def _items(records: Sequence[dict[str, Any]]) -> Items:
    rows: list[tuple[str, str, int, int, str | None, str | None]] = []
    for number, record in enumerate(records):
        split, pid = record["split"], record["id"] - 1
        rows.append((split, "rgb", pid, number, record["file_path"], None))
        rows += [(split, "caption", pid, number, None, caption) for caption in record["captions"]]
    split, role, pid, moment, path, caption = zip(*rows, strict=True)
    unknown = np.full(len(rows), ABSENT, dtype=np.int64)
    return Items(
        split=np.array(split),
        role=np.array(role),
        pid=np.array(pid, dtype=np.int64),
        camid=unknown,
        scene=unknown,
        clothes=unknown,
        image_id=np.array(moment, dtype=np.int64),
        path=np.array(path, dtype=object),
        caption=np.array(caption, dtype=object),
    )
