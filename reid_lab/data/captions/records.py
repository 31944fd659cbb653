"""The rows of a side file, JSON or CSV, each with the line where it begins."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_lab.errors import DataError, Fault, unknown

COLUMNS = ("file_path", "caption_index", "id_caption", "cloth_caption")
_CELL = 1 << 24  # characters of one CSV cell
_SPACE = " \t\n\r"

Record = tuple[int, "Mapping[str, Any] | Fault"]
"""The line, and the row or what is wrong with it."""


def json_records(text: str, path: Path) -> Iterator[Record]:
    """The objects of a JSON list, each with the line where it begins. Raises `DataError` where there is no list."""
    at, line, counted = _skip(text, 0), 1, 0
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs)
    if text[at : at + 1] != "[":
        raise DataError(Fault("a list of objects is expected", str(path)))
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            record, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            yield error.lineno, Fault(f"no JSON ({error.msg})", f"{path}:{error.lineno}:{error.colno}")
            return
        except (ValueError, RecursionError) as error:
            yield line, Fault(f"no JSON ({error})", f"{path}:{line}")
            return
        yield line, _object(record, f"{path}:{line}")
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
            if text[at : at + 1] != "]":
                continue
        elif text[at : at + 1] == "]":
            break
        line += text.count("\n", counted, at)
        yield line, Fault("no JSON (an object, or ] after the last one, is expected)", f"{path}:{line}")
        return
    end = _skip(text, at + 1)
    if end != len(text):
        line += text.count("\n", counted, end)
        yield line, Fault("no JSON (something follows the list)", f"{path}:{line}")


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object; a key may stand there twice."""


def _object(value: Any, where: str) -> Mapping[str, Any] | Fault:
    if not isinstance(value, _Pairs):
        return Fault(f"an object is expected, not {kind_in_words(value)}", where)
    record = dict(value)
    if len(record) < len(value):
        keys = [key for key, _ in value]
        return Fault(f"{next(k for k in keys if keys.count(k) > 1)} stands twice in the object", where)
    return record


def _skip(text: str, at: int) -> int:
    """The place of the next character that is no white space."""
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def csv_records(text: str, path: Path) -> Iterator[Record]:
    """The rows of a CSV file below its header, each with its line. Raises `DataError` for a header that is wrong."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    before, line, header = csv.field_size_limit(_CELL), 1, None
    try:
        for cells in reader:
            if header is None:
                header = cells
                faults = list(_header_faults(header, f"{path}:1"))
                if faults:
                    raise DataError(*faults)
            elif cells:
                yield line, _cells(header, cells, f"{path}:{line}")
            line = reader.line_num + 1
    except csv.Error as error:
        yield line, Fault(f"no CSV ({error})", f"{path}:{line}")
    finally:
        csv.field_size_limit(before)
    if header is None:
        raise DataError(Fault(f"is empty; a header is expected: {','.join(COLUMNS)}", str(path)))


def _header_faults(header: Sequence[str], where: str) -> Iterator[Fault]:
    for name in dict.fromkeys(header):
        if name not in COLUMNS:
            yield Fault(unknown("column", name, COLUMNS), where)
        elif header.count(name) > 1:
            yield Fault(f"column {name} stands there twice", where)
    for name in COLUMNS:
        if name not in header:
            yield Fault(f"no column {name}", where)


def _cells(header: Sequence[str], cells: Sequence[str], where: str) -> Mapping[str, Any] | Fault:
    if len(cells) != len(header):
        return Fault(f"{len(cells)} cells, but the header has {len(header)}", where)
    record: dict[str, Any] = {name: cell or None for name, cell in zip(header, cells, strict=True)}
    index = record["caption_index"]
    if index is not None and re.fullmatch(r"-?[0-9]{1,18}", index.strip(_SPACE)):
        record["caption_index"] = int(index)
    return record


_WORDS = {str: "a string", list: "a list", int: "an integer", float: "a number", _Pairs: "an object"}


def kind_in_words(value: Any) -> str:
    """What a value of the file is, in words."""
    if isinstance(value, str):
        return f"{value[:40]!r}"
    return json.dumps(value) if value is None or isinstance(value, bool) else _WORDS[type(value)]
