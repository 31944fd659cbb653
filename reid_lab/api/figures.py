"""Figures of finished runs, as the command draws them."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from reid_lab.api.given import PathLike, folder, words

if TYPE_CHECKING:
    from pandas import DataFrame

    from reid_lab.report.figures.style import Drawn


def figure(
    kind: str,
    *selection: str,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    by: Sequence[str] = (),
    runs: PathLike | None = None,
    **options: Any,
) -> Figure:
    """Draws a figure of finished runs: `reid-lab figure`. docs/figures.md shows the kinds.

    Args:
        kind: such as `cmc`, `forest`, `learning`; `map`, `similarity`, `sheet` and others read weights and data, of val
            unless `part="test"` is given.
        *selection: as of `compare`; of a study, for kinds that show trials.
        metrics, baseline, by: as of `compare`.
        **options: of the kind.

    Raises:
        UserError: an unknown kind or option, a selection that chooses nothing or lacks what the kind needs.
    """
    from reid_lab.looking import kind_named
    from reid_lab.report.figures import making

    chosen = kind_named(kind)
    given = {name: value if isinstance(value, str) else _text(value) for name, value in options.items()}
    asked = making.ask(
        chosen,
        words(selection),
        folder(runs),
        metrics=words(metrics),
        baseline=baseline,
        by=words(by),
        options=given,
    )
    told = ", ".join([*map(repr, (kind, *selection)), *(f"{name}={value!r}" for name, value in options.items())])
    drawn, facts = making.made(kind, chosen, asked, f"reid_lab.figure({told})")
    return Figure(drawn, facts)


def _text(value: Any) -> str:
    """An option as the command line writes it: lists with commas."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@final
class Figure:
    """A drawn figure; a notebook shows it."""

    def __init__(self, drawn: Drawn, facts: Mapping[str, Any]) -> None:
        self._drawn, self._facts = drawn, facts

    @property
    def caption(self) -> str:
        """What is seen: seeds, numbers, the claim."""
        return self._drawn.caption

    @property
    def figure(self) -> Any:
        """The `matplotlib.figure.Figure`."""
        return self._drawn.figure

    @functools.cached_property
    def frame(self) -> DataFrame:
        """The data shown, in full precision."""
        from pandas import DataFrame

        return DataFrame(list(self._drawn.rows))

    def write(self, place: PathLike) -> tuple[Path, ...]:
        """Writes PNG, PDF and CSV to a folder, or under the name of a file; `reid-lab verify` checks the CSV.

        Raises `UserError` where nothing can be written.
        """
        from reid_lab.report.figures.kind import ENDINGS
        from reid_lab.report.figures.style import written

        path = Path(place)
        named = path.suffix.lower() in ENDINGS
        drawn = replace(self._drawn, name=path.stem) if named else self._drawn
        return written(drawn, path.parent if named else path, self._facts)

    def _repr_png_(self) -> bytes:
        from reid_lab.report.figures.style import styled

        out = io.BytesIO()
        with styled():
            self._drawn.figure.savefig(out, format="png", dpi=120)
        return out.getvalue()

    def __repr__(self) -> str:
        return f"<figure {self._drawn.name}: {self.caption}>"
