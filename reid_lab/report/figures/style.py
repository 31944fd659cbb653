"""How a figure looks, and how it is written: PNG, PDF and its data as CSV with a manifest.

The same figure gives the same bytes: no date, no random marks. There is no `pyplot`, hence no window and no state that
one figure leaves to the next. Colours are those of Okabe and Ito (2008), Color universal design, which people with any
kind of colour vision tell apart; lines and marks differ, too, since papers are printed in grey.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from reid_lab.errors import Fault, UserError
from reid_lab.report import manifest

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of groups, in order. The yellow of the palette is left out: it cannot be seen on white."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SEQUENTIAL, DIVERGING = "cividis", "PuOr"
"""Colour maps: of values, and of differences around zero."""
GREY = "#7F7F7F"
DPI = 200

_STYLE: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",  # matplotlib brings it along: the same on every machine
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "image.cmap": SEQUENTIAL,
    "figure.dpi": float(DPI),  # canvases write as many dots as the figure has
    "text.usetex": False,
    "axes.unicode_minus": True,
    "pdf.fonttype": 42,  # TrueType, as publishers ask
    "svg.hashsalt": "reid-lab",
    "path.simplify": True,
}


@final
@dataclass(frozen=True)
class Drawn:
    """A drawn figure and its data.

    name: file stem, e.g. "cmc". rows: the data shown, one mapping a CSV line, all with the same keys.
    caption: what is seen, seeds, n, what it claims.
    """

    name: str
    figure: Figure
    rows: Sequence[Mapping[str, object]]
    caption: str


def styled() -> AbstractContextManager[None]:
    """The one style, for as long as the context lasts: everything of a figure is drawn inside of it."""
    style: AbstractContextManager[None] = matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE})
    return style


def sheet(rows: int = 1, columns: int = 1, *, width: float = 6.4, height: float = 4.0) -> tuple[Figure, list[Axes]]:
    """An empty figure of `width` × `height` inches that lays itself out, and its axes, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def look(place: int) -> dict[str, Any]:
    """Colour, line and mark of the group at this place, as arguments of `Axes.plot`."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": DASHES[place // len(COLOURS) % len(DASHES)],
        "marker": MARKERS[(place + place // len(COLOURS)) % len(MARKERS)],
    }


def legend(*panels: Axes, place: str = "best", above: bool = False) -> None:
    """Names the groups of all panels once: inside of the first, or above all; a single group needs no name."""
    named: dict[str, Any] = {}
    for axes in panels:
        handles, names = axes.get_legend_handles_labels()
        named |= {name: handle for name, handle in zip(names, handles, strict=True) if name not in named}
    if len(named) < 2:
        return
    if not above and len(named) <= 6:
        panels[0].legend(named.values(), named.keys(), loc=place)
        return
    figure = panels[0].figure
    assert isinstance(figure, Figure)
    columns = int(figure.get_figwidth() * 14 / (max(map(len, named)) + 6))
    columns = max(1, min(len(named), columns))
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=columns)
    _grow(figure, 0.17 * (-(-len(named) // columns) - 1))


def captioned(figure: Figure, *parts: str) -> str:
    """Sets the caption in small grey letters below the figure, as wide as the figure is, and returns it."""
    caption = " ".join(part for part in parts if part)
    lines = textwrap.wrap(caption, int(figure.get_figwidth() * 20))
    figure.supxlabel("\n".join(lines), fontsize=6.5, color="#555555", x=0.01, ha="left")
    _grow(figure, 0.12 * (len(lines) - 2))
    return caption


def _grow(figure: Figure, inches: float) -> None:
    """Makes a figure taller, so that many names or a long caption leave the panels as they are."""
    figure.set_figheight(figure.get_figheight() + max(0.0, inches))


def written(drawn: Drawn, folder: Path, facts: Mapping[str, Any]) -> tuple[Path, ...]:
    """Writes PNG, PDF and CSV, each whole or not at all, and returns their paths.

    facts: what the figure was made from; stands sealed in the CSV, below the data. Raises `UserError` where nothing can
    be written.
    """
    data = table(drawn.rows)
    told = {"version": manifest.VERSION, **facts, "name": drawn.name, "caption": drawn.caption, "data": digest(data)}
    with styled():
        drawn.figure.draw_without_rendering()
        drawn.figure.set_layout_engine("none")  # laid out now, once for both formats
        files = {
            ".png": _png(drawn),
            ".pdf": _pdf(drawn),
            ".csv": manifest.framed(data, told, "csv").encode(),
        }
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, content in files.items():
            paths.append(_replace(folder / f"{drawn.name}{ending}", content))
    except OSError as error:
        what = f"cannot be written: {(error.strerror or str(error)).lower()}"
        raise UserError(Fault(what, str(error.filename or folder))) from None
    return tuple(paths)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """The data as CSV: floats read back to the same bits, what is missing or no number is empty."""
    out = io.StringIO()
    keys = list(rows[0]) if rows else []
    writer = csv.DictWriter(out, keys, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: text(row[key]) for key in keys})
    return out.getvalue()


def digest(data: str) -> str:
    """By which a change of the data is found."""
    return hashlib.sha256(data.encode()).hexdigest()


def text(value: object) -> str:
    """A value as a CSV holds it."""
    if value is None:
        return ""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _png(drawn: Drawn) -> bytes:
    out = io.BytesIO()
    FigureCanvasAgg(drawn.figure).print_png(out, metadata={"Software": "reid-lab", "Description": drawn.caption})
    return out.getvalue()


def _pdf(drawn: Drawn) -> bytes:
    out = io.BytesIO()
    told = {"Creator": "reid-lab", "Producer": None, "CreationDate": None, "Subject": drawn.caption}
    FigureCanvasPdf(drawn.figure).print_pdf(out, metadata=told)
    return out.getvalue()


def _replace(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
