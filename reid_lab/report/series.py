"""What a run's journal recorded over time: val metrics, losses, weights, diagnostics by step."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import final

from reid_lab.report.reading import Run
from reid_lab.tracking.records import encode, parse

KINDS = ("val", "loss", "weight", "lr", "schedule", "diag", "timing")
"""What a curve may be drawn of; a name begins with its kind."""

_NAMES = re.compile(rb'^\{"kind":"(?:%s)","name":"([^"\\]+)"' % "|".join(KINDS).encode(), re.MULTILINE)


@final
@dataclass(frozen=True)
class Series:
    """The curves of a run: name -> step -> value, steps ascending, and the names of all that were recorded.

    epoch: how many steps an epoch has; None where the run does not tell.
    """

    values: Mapping[str, Mapping[int, float]]
    names: tuple[str, ...]
    epoch: float | None


def series(run: Run, names: Collection[str]) -> Series:
    """The curves of these names, such as `val/mAP` or `loss/total`; a name that was not recorded is left out."""
    text = run.folder.journal.read_bytes()
    found: dict[str, dict[int, float]] = {}
    for name in names:
        begins = f'{{"kind":{encode(name.partition("/")[0])},"name":{encode(name)},'
        for match in re.finditer(rb"^%s.*\n" % re.escape(begins.encode()), text, re.MULTILINE):
            record = parse(match[0])
            found.setdefault(name, {})[record.step] = float(record.value)
    known = tuple(dict.fromkeys(name.decode() for name in _NAMES.findall(text)))
    return Series({name: dict(sorted(steps.items())) for name, steps in found.items()}, known, _epoch(run, text))


def _epoch(run: Run, text: bytes) -> float | None:
    """Steps of an epoch, from the first evaluation after the beginning, where those are counted in epochs."""
    every, whole = run.spec.get("eval.every.epochs"), run.spec.get("train.length.epochs")
    steps = {parse(m[0]).step for m in re.finditer(rb'^\{"kind":"val",.*\n', text, re.MULTILINE)} - {0}
    if not isinstance(every, int | float) or not steps:
        return None
    return min(steps) / (min(every, whole) if isinstance(whole, int | float) else every)
