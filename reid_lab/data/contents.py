"""What a data set consists of, part by part: by these digests a changed part is named, not the change of the whole.

They are provenance. A data set's own digest, which decides identities, knows a folder's files by path and size; their
bytes are read here, up to `READ` of them in all: more would cost seconds at the start of every run, and such files are
told apart by the time at which they were last written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid_lab.contracts import IMAGE_ROLES, TEXT_ROLES
from reid_lab.data.folders import Folder
from reid_lab.data.items import Dataset
from reid_lab.data.merged import Merged
from reid_lab.data.splits import View
from reid_lab.data.synthetic import GENERATOR_VERSION, Synthetic

READ = 2**28
WRITTEN = "written "
"""How the mark of a file begins whose bytes were not read: it tells when the file was last written."""


def contents(dataset: Dataset) -> dict[str, str]:
    """The parts of a data set: name -> value, sha256, or (`WRITTEN`) when it was last written."""
    if isinstance(dataset, View):
        return contents(dataset.base)
    if isinstance(dataset, Merged):
        parts = zip(dataset.sources, dataset.parts, strict=True)
        return {f"{name}/{key}": v for name, part in parts for key, v in contents(part).items()}
    if isinstance(dataset, Synthetic):
        return _drawn(dataset)
    return _filed(dataset) if isinstance(dataset, Folder) else {}


def stored(dataset: Dataset) -> Dataset:
    """The data set without the val split that a run may have carved from it: equal for runs that test on the same."""
    return stored(dataset.base) if isinstance(dataset, View) else dataset


def _drawn(dataset: Synthetic) -> dict[str, str]:
    """The embedded world: what it is drawn from, and what was drawn, which the versions of Pillow and numpy touch."""
    spec, items = dataset.spec, dataset.items
    found = {"generator version": str(GENERATOR_VERSION)}
    found |= {f"world.{name}": str(value) for name, value in dataset.world.plain().items()}
    found |= {"caption_drop": str(spec.wording.drop), "caption_error": str(spec.wording.error)}
    for split in items.splits():
        for role in spec.image_roles:
            found[f"pixels of {role} in {split}"] = dataset.pixel_hash(split, role)
    for role in TEXT_ROLES:
        if role in spec.roles:
            found[f"words of {role}"] = _digest("\n".join(items.caption[items.role == role].tolist()).encode())
    return found


def _filed(dataset: Folder) -> dict[str, str]:
    """A folder: its annotations, and every image."""
    items = dataset.items
    paths = sorted(set(items.path[[role in IMAGE_ROLES for role in items.role.tolist()]].tolist()))
    looks: Mapping[str, Any] = {path: (dataset.root / path).stat() for path in paths}
    whole = sum(look.st_size for look in looks.values()) <= READ
    found = {"annotations": _digest(dataset.reading.annotations)}
    for path, look in looks.items():
        found[path] = _digest_of(dataset.root / path) if whole else f"{WRITTEN}{look.st_mtime_ns}"
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
