"""A search over a made-up objective, driven as a study's driver does it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reid_lab.study.search import Asked, Search, Storage, Told
from reid_lab.study.space import Dimension, Space

SPACE = Space(
    (
        Dimension("weight", "float", low=1e-3, high=10.0, log=True),
        Dimension("layers", "int", low=1, high=8),
        Dimension("adapter", "choice", values=(None, {"kind": "lora"}, ("a", 1))),
        Dimension("rank", "int", low=1, high=16, log=True, when={"adapter": ({"kind": "lora"},)}),
    )
)
EVALUATIONS = 9
STEPS = tuple(range(10, 10 * EVALUATIONS + 1, 10))


def opened(path: Path | Storage, name: str = "arm", **settings: Any) -> Search:
    """A search with TPE and Hyperband over `SPACE`."""
    storage = path if isinstance(path, Storage) else Storage.open(path, wait=5)
    given = {"sampler": "tpe", "pruner": "hyperband", "seed": 1, "evaluations": EVALUATIONS}
    return Search(storage, name, settings.pop("about", {"key": "0123"}), SPACE, **{**given, **settings})


def quality(values: Mapping[str, Any]) -> float:
    """What training with the values comes to in the end."""
    good = -((math.log10(values["weight"]) - 0.3) ** 2) - 0.05 * abs(values["layers"] - 6)
    return good + 0.02 * values.get("rank", 0)


def curve(asked: Asked) -> list[tuple[int, float]]:
    """What a trial reports: it comes near to its quality, with noise of its seed."""
    noise = random.Random(asked.seed)
    return [(step, quality(asked.values) - 3 / step + 0.05 * noise.random()) for step in STEPS]


def run(search: Search, asked: Asked, began: Callable[[Asked], None] = lambda _: None) -> None:
    """One trial from its first report to its end; every seventh seed fails."""
    began(asked)
    if asked.seed % 7 == 0:
        search.tell(asked.number, "failed", note={"cause": "a seed that fails"})
        return
    for step, value in curve(asked):
        if search.report(asked.number, step, value):
            search.tell(asked.number, "pruned", note={"run": f"run-{asked.number}"})
            return
    search.tell(asked.number, "complete", [value], {"run": f"run-{asked.number}"})


def batch_of(search: Search, wanted: int) -> list[Asked]:
    """The next trials: those that were interrupted, filled up to a batch."""
    asked = search.unfinished()
    while len(asked) < wanted and (not asked or search.open_batch):
        asked.append(search.ask())
    return asked


def missing(search: Search, trials: int) -> int:
    """How many trials are not yet complete or pruned."""
    return trials - sum(told.state != "failed" for told in search.told())


def drive(search: Search, trials: int, shuffle: random.Random | None = None) -> list[Told]:
    """Trials until so many are complete or pruned; in a batch in the order asked, or a drawn one."""
    while (wanted := missing(search, trials)) > 0:
        asked = batch_of(search, wanted)
        if shuffle is not None:
            shuffle.shuffle(asked)
        for one in asked:
            run(search, one)
    return search.told()
