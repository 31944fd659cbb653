"""What a journal's lines hold: kinds, values that read back to the same bits, reading by offset.

One line is one record: what kind, which name, at which step, the value, and when (integer
milliseconds since 1970, fixed when it is recorded). `(kind, name, step)` is its key.

Result kinds are compared bit for bit: an interrupted run that redoes a step records it again, and
the journal checks that it came out as before instead of writing it twice. Values per kind:

* `param` (name: dotted path in the spec, step 0), any plain value; only what the run's identity covers;
* `loss`, `weight`, `lr`, `schedule`, `diag`, `val`, `test`: a number; the name may begin with its kind (`loss/sdm`);
* `absent` (name: the loss): True, the term had no valid rows at this step;
* `select`, `final`: a number or a mapping;
* `input` (name: the data set, step 0): a mapping with `digest`;
* `checkpoint` (name: `best`, `last`, …): a mapping with `path` (relative to the run folder) and `sha256`.

`timing` and `system` are measurements: numbers, the first of a key is kept and nothing is compared.
`start`, `stop`, `artifact` and `note` are events: each is appended, `Journal.start`, `stop` and
`artifact` write them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reid_lab.errors import Fault, RunError

FILE = "journal.jsonl"
SERIES = frozenset(("loss", "weight", "lr", "schedule", "diag", "val", "test", "absent"))
RESULTS = SERIES | {"param", "input", "select", "checkpoint", "final"}
MEASUREMENTS = frozenset(("timing", "system"))
EVENTS = frozenset(("start", "stop", "artifact", "note"))
NUMBERS = SERIES | MEASUREMENTS
KINDS = RESULTS | MEASUREMENTS | EVENTS

# The one text of a value: keys sorted, floats by repr.
encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


class Record(NamedTuple):
    """One line of the journal; `time` in milliseconds since 1970."""

    kind: str
    name: str
    step: int
    value: Any
    time: int


def packed(value: Any) -> Any:
    """`value` as JSON holds it: NaN and infinities become {"float": "nan"}, array scalars Python numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(float(value))}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(k): packed(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [packed(v) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        return packed(value.item())
    raise TypeError(f"a journal holds plain values, not {type(value).__name__}")


def unpacked(value: Any) -> Any:
    """The inverse of `packed`, apart from tuples, which become lists."""
    if isinstance(value, dict):
        if value.keys() == {"float"}:
            return float(value["float"])
        return {k: unpacked(v) for k, v in value.items()}
    return [unpacked(v) for v in value] if isinstance(value, list) else value


def parse(line: bytes) -> Record:
    """The record of one line; ValueError when it is not one."""
    try:
        fields = json.loads(line)
        record = Record(fields["kind"], fields["name"], fields["step"], fields["value"], fields["time"])
    except (KeyError, TypeError) as error:
        raise ValueError("not a record") from error
    return record._replace(value=unpacked(record.value)) if isinstance(record.value, (dict, list)) else record


def read(path: Path, start: int = 0, stop: int | None = None) -> Iterator[tuple[Record, int]]:
    """The records between two byte offsets of a journal, each with the offset after it.

    A line without its end (being written, or torn) ends the reading. Raises `RunError` on a whole
    line that is not a record.
    """
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        while stop is None or offset < stop:
            line = file.readline()
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                yield parse(line), offset
            except ValueError:
                raise RunError(Fault(f"the record that ends at byte {offset} is damaged", str(path))) from None


def durable_offset(path: Path) -> int:
    """How many bytes of a journal are known to be on disk; a mirror reads no further.

    A journal without a marker (copied without it) counts whole.
    """
    size = path.stat().st_size
    try:
        return min(size, int(marker(path).read_bytes()))
    except (FileNotFoundError, ValueError):
        return size


def seconds_spent(path: Path) -> float:
    """What all processes together spent on a run: from each start to the last record before the next one."""
    spent = begin = last = 0
    for record, _ in read(path):
        if record.kind == "start":
            spent += last - begin
            begin = record.time
        last = record.time
    return (spent + last - begin) / 1000


def curve(path: Path) -> dict[int, dict[str, float]]:
    """What every evaluation during training found, in order: step -> metrics without their group (`mAP`)."""
    found: dict[int, dict[str, float]] = {}
    for record, _ in read(path):
        if record.kind == "val":
            found.setdefault(record.step, {})[record.name.partition("/")[2]] = record.value
    return dict(sorted(found.items()))


def marker(path: Path) -> Path:
    """The file beside a journal that holds its number of durable bytes."""
    return path.with_suffix(".durable")


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
