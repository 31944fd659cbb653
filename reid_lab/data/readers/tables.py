"""CSV and Parquet files as lines of text cells, with the place of each for messages."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lab.data.reading import Faults
from reid_lab.errors import DataError, Fault


@dataclass(frozen=True)
class Line:
    """One row. cells: column -> text, empty where nothing is told; place: `line 7`; where: `items.csv:7`."""

    cells: Mapping[str, str]
    place: str
    where: str


def csv_lines(raw: bytes, path: Path, faults: Faults) -> tuple[list[str], list[Line]]:
    """Column names and rows of a CSV file in UTF-8; blank lines are left out.

    Rows with more or fewer cells than the header are faults.

    Raises:
        DataError: it is not UTF-8, empty, or no CSV.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        what = f"byte {column} of the line is not valid UTF-8; save the file as UTF-8"
        raise DataError(Fault(what, f"{path}:{line}")) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    lines: list[Line] = []
    start = 1
    try:
        for cells in reader:
            if not header:
                header = [cell.strip() for cell in cells]
            elif cells and len(cells) != len(header):
                faults.add("row", f"{len(cells)} cells, but the header has {len(header)}", f"{path}:{start}")
            elif any(cell.strip() for cell in cells):
                row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
                lines.append(Line(row, f"line {start}", f"{path}:{start}"))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(Fault(f"no CSV ({error})", f"{path}:{start}")) from None
    if not header:
        raise DataError(Fault("is empty; a header with the names of the columns is expected", str(path)))
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise DataError(Fault("columns must be separated by commas", f"{path}:1"))
    return header, lines


def parquet_lines(raw: bytes, path: Path, faults: Faults) -> tuple[list[str], list[Line]]:
    """Column names and rows (counted from 0) of a Parquet file; whole numbers lose their decimals.

    Raises:
        DataError: pandas has no engine to read it with, or it is no Parquet file.
    """
    import pandas

    try:
        frame = pandas.read_parquet(io.BytesIO(raw)).astype(object)
    except ImportError:
        what = "Parquet files are read with pyarrow (pip install pyarrow); a CSV file does without"
        raise DataError(Fault(what, str(path))) from None
    except (ValueError, OSError, KeyError) as error:
        raise DataError(Fault(f"no Parquet file ({str(error).splitlines()[0]})", str(path))) from None
    frame = frame.where(frame.notna(), None)
    columns = [str(name) for name in frame.columns]
    values = [[_cell(value) for value in frame.iloc[:, place].tolist()] for place in range(len(columns))]
    lines = []
    for number, cells in enumerate(zip(*values, strict=True)):
        lines.append(Line(dict(zip(columns, cells, strict=True)), f"row {number}", f"{path}: row {number}"))
    return columns, lines


def _cell(value: Any) -> str:
    """A cell as text."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
