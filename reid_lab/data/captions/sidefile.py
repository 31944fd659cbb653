"""The side file: the identity part and the clothes part of every caption of a data set, as JSON or CSV.

JSON is a list of objects, CSV has a header; both with the columns `file_path`, `caption_index` (from 0, among
the captions of that image), `id_caption` and `cloth_caption`. A part that is null, absent or an empty cell is
missing. Both are UTF-8.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from reid_lab.data.captions.records import COLUMNS, csv_records, json_records, kind_in_words
from reid_lab.errors import DataError, Fault, unknown

_KEYS, _PARTS = COLUMNS[:2], COLUMNS[2:]
_LARGEST_INDEX = 2**31 - 1
_NO_TEXT = re.compile("[\ud800-\udfff]")


class PartsRow(NamedTuple):
    """The parts of one caption; None is a part that is missing."""

    file_path: str
    caption_index: int
    id_caption: str | None
    cloth_caption: str | None


@dataclass(frozen=True)
class PartsTable:
    """A side file that was read: (file_path, caption index) -> (identity, clothes); `digest` is its bytes' sha256."""

    path: Path
    parts: Mapping[tuple[str, int], tuple[str | None, str | None]]
    digest: str

    def __len__(self) -> int:
        return len(self.parts)

    def lookup(self, file_path: str, caption_index: int) -> tuple[str | None, str | None]:
        """The identity part and the clothes part of a caption; (None, None) where the file does not name it."""
        return self.parts.get((file_path, caption_index), (None, None))

    def unmatched(self, known: Collection[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
        """The rows, in the file's order, that cite no caption of `known`."""
        have = known if isinstance(known, (set, frozenset, dict)) else set(known)
        return tuple(key for key in self.parts if key not in have)


def read_parts(path: Path) -> PartsTable:
    """Reads a side file, JSON or CSV by its suffix.

    Raises:
        DataError: the file cannot be read or has another suffix; or every fault in it, with its line: columns that
            are unknown (each once) or missing, values of the wrong type, negative indices, rows that stand there
            twice, text that is not valid Unicode.
    """
    kind = _kind_of(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(Fault("no such file", str(path))) from None
    except OSError as error:
        raise DataError(Fault(f"cannot be read ({error.strerror or error})", str(path))) from None
    text = _decoded(raw, path)
    records = json_records(text, path) if kind == "json" else csv_records(text, path)
    faults: list[Fault] = []
    parts: dict[tuple[str, int], tuple[str | None, str | None]] = {}
    first: dict[tuple[str, int], int] = {}
    strange: set[str] = set()
    for line, record in records:
        where = f"{path}:{line}"
        if isinstance(record, Fault):
            faults.append(record)
            continue
        news = [name for name in record if name not in COLUMNS and name not in strange]
        strange.update(news)
        found = [Fault(unknown("column", name, COLUMNS), where) for name in news]
        found += [Fault(what, where) for what in _faults(record)]
        faults += found
        if found:
            continue
        key = (record["file_path"], record["caption_index"])
        if key in parts:
            faults.append(Fault(f"caption {key[1]} of {key[0]} stands in line {first[key]} already", where))
            continue
        first[key] = line
        parts[key] = (_part(record.get("id_caption")), _part(record.get("cloth_caption")))
    if faults:
        raise DataError(*faults)
    return PartsTable(path, parts, hashlib.sha256(raw).hexdigest())


def write_parts(path: Path, rows: Iterable[PartsRow], overwrite: bool = False) -> str:
    """Writes a side file, JSON or CSV by its suffix, whole or not at all; what `read_parts` reads back is equal.

    Returns:
        The sha256 of its bytes.

    Raises:
        DataError: another suffix; a row that `read_parts` would refuse; the file exists and `overwrite` is
            False; it cannot be written.
    """
    kind = _kind_of(path)
    rows = list(rows)
    _refuse_rows(rows, path)
    content = (_json_text(rows) if kind == "json" else _csv_text(rows)).encode()
    part: str | None = None
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o666 & ~_umask())
        if overwrite:
            os.replace(part, path)
        else:
            _place_new(part, path)
    except FileExistsError:
        raise DataError(Fault("exists already; name a new file or ask to overwrite it", str(path))) from None
    except OSError as error:
        raise DataError(Fault(f"cannot be written ({error.strerror or error})", str(path))) from None
    finally:
        if part and os.path.exists(part):
            os.unlink(part)
    return hashlib.sha256(content).hexdigest()


def _place_new(part: str, path: Path) -> None:
    """Gives a file its name, unless the name is taken; a link cannot replace what somebody wrote meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists() or path.is_symlink():
            raise FileExistsError(path) from None
        os.replace(part, path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _kind_of(path: Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("json", "csv"):
        raise DataError(Fault(unknown("suffix", path.suffix, (".json", ".csv")), str(path)))
    return kind


def _decoded(raw: bytes, path: Path) -> str:
    """The text, without a byte order mark. Raises a fault for every line that is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        faults = []
        for number, line in enumerate(raw.split(b"\n"), 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                faults.append(Fault(f"byte {error.start + 1} of the line is not valid UTF-8", f"{path}:{number}"))
        raise DataError(*(faults or [Fault("is not valid UTF-8", str(path))])) from None


def _faults(record: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one row."""
    for name in _KEYS:
        if record.get(name) is None:
            yield f"no {name}"
    path, index = record.get("file_path"), record.get("caption_index")
    if path is not None and not isinstance(path, str):
        yield f"file_path must be a string, not {kind_in_words(path)}"
    elif path is not None and (not path or "\0" in path or _NO_TEXT.search(path)):
        yield f"file_path {path!r} is no path"
    if index is not None and (not isinstance(index, int) or isinstance(index, bool)):
        yield f"caption_index must be an integer, not {kind_in_words(index)}"
    elif index is not None and not 0 <= index <= _LARGEST_INDEX:
        yield f"caption_index must lie between 0 and {_LARGEST_INDEX}, not {index}"
    for name in _PARTS:
        value = record.get(name)
        if value is not None and not isinstance(value, str):
            yield f"{name} must be a string or null, not {kind_in_words(value)}"
        elif value is not None and _NO_TEXT.search(value):
            yield f"{name} is not valid Unicode"


def _part(value: str | None) -> str | None:
    """A part; one of nothing but white space is missing."""
    return value if value and not value.isspace() else None


def _refuse_rows(rows: Sequence[PartsRow], path: Path) -> None:
    faults, seen = [], set()
    for number, row in enumerate(rows):
        faults += [Fault(f"row {number}: {what}", str(path)) for what in _faults(row._asdict())]
        if row[:2] in seen:
            faults.append(
                Fault(f"row {number}: caption {row.caption_index} of {row.file_path} stands twice", str(path))
            )
        seen.add(row[:2])
    if faults:
        raise DataError(*faults)


def _json_text(rows: Sequence[PartsRow]) -> str:
    """One object a line, so that a fault has its line and two files can be compared."""
    lines = (json.dumps({**row._asdict(), **_missing(row)}, ensure_ascii=False) for row in rows)
    return "[\n" + ",\n".join(lines) + "\n]\n" if rows else "[]\n"


def _csv_text(rows: Sequence[PartsRow]) -> str:
    out = io.StringIO()
    # Cells that hold a character of the line's end are quoted: with \r\n, as RFC 4180 has it, a lone \r is, too.
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([row.file_path, row.caption_index, *(p or "" for p in _missing(row).values())] for row in rows)
    return out.getvalue()


def _missing(row: PartsRow) -> dict[str, str | None]:
    return {"id_caption": _part(row.id_caption), "cloth_caption": _part(row.cloth_caption)}
