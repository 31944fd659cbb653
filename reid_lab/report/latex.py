"""A grid as a LaTeX table: the best bold, the second underlined, differences that are not significant marked.

It compiles without packages; `booktabs`, `amssymb` and `graphicx` (a table too wide is made to fit) are used where the
document loads them.
"""

from __future__ import annotations

from collections.abc import Sequence

from reid_lab.report.table import Cell, Column, Grid

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "×": r"$\times$",
    "✓": r"\checkmark{}",
    "–": "--",
}
_PROVIDED = (
    r"\providecommand{\toprule}{\hline}",
    r"\providecommand{\midrule}{\hline}",
    r"\providecommand{\bottomrule}{\hline}",
    r"\providecommand{\checkmark}{\ensuremath{\surd}}",
    r"\providecommand{\resizebox}[3]{#3}",
)
_STYLES = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "weak": r"%s$^{\mathrm{ns}}$"}
LEGEND = "bold: the best mean; underlined: the second; ns: p not below 0.05, or nothing known"


def latex(found: Grid) -> str:
    """A `table` environment, the notes in small print below."""
    shape = "".join("r" if column.numeric else "l" for column in found.columns)
    rows = [_line([_cell(cell, column) for cell, column in zip(row, found.columns, strict=True)]) for row in found.rows]
    told = [rf"\par {escaped(note)}" for note in (*found.notes, LEGEND)]
    lines = [
        *_PROVIDED,
        r"\begin{table}",
        r"\centering",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{shape}}}",
        r"\toprule",
        _line([escaped(column.title) for column in found.columns]),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\begin{flushleft}\footnotesize",
        *told,
        r"\end{flushleft}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def _line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _cell(cell: Cell, column: Column) -> str:
    parts = [_signed(escaped(part)) if column.numeric else escaped(part) for part in cell.parts]
    if not parts:
        return ""
    if cell.style:
        parts[0] = _STYLES[cell.style] % parts[0]
    return escaped(cell.shape).replace(r"\{\}", "{}").format(*parts)


def _signed(number: str) -> str:
    return f"$-${number[1:]}" if number.startswith("-") else number
