"""Where a study stands, in rows; read from its `state.json`, without torch and without Optuna."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

from reid_lab.study.words import duration, left, sparkline

COLUMNS = ("arm", "trials", "lucky best", "seeds", "val mAP", "test mAP", "test R1", "")
"""A tuned arm's number is that of its seeds; the best trial's own is shown beside it and called what it is."""


def rows(state: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each arm, then one for each cell that cannot be."""
    for arm in state["arms"]:
        trials, best = arm["trials"], arm["best"]
        cells = [cell for cell in arm["cells"].values() if cell is not None]
        counted = f"{trials['complete'] + trials['pruned']}/{trials['target']}" if trials["target"] else ""
        if trials["pruned"]:
            counted += f" ({trials['pruned']} pruned)"
        if trials["failed"]:
            counted += f" ({trials['failed']} failed)"
        yield (
            arm["name"],
            counted,
            f"{best['scores'][0]:.2f} (trial {best['trial']})" if best else "",
            f"{len(cells)}/{len(state['seeds'])}",
            *(_mean([cell[split] or {} for cell in cells], name) for split, name in _SHOWN),
            _remark(arm),
        )
    for name, reason in state["rejected"].items():
        yield name, "", "", "", "", "", "", f"cannot be: {reason}"


_SHOWN = (("val", "mAP"), ("test", "mAP"), ("test", "R1"))


def _remark(arm: Mapping[str, Any]) -> str:
    told = [f"stopped: {arm['stopped']}"] if arm["stopped"] else []
    deviations = {cell["deviation"]: seed for seed, cell in arm["cells"].items() if cell and cell["deviation"]}
    told += [f"seed {seed}: {deviation}" for deviation, seed in deviations.items()]
    told += [f"has no {', '.join(arm['lacking'])}"] if arm["lacking"] else []
    return "; ".join(told)


def _mean(found: list[Mapping[str, float]], name: str) -> str:
    values = [metrics[name] for metrics in found if name in metrics]
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"


def lines(state: Mapping[str, Any], *, driven: bool) -> Iterator[str]:
    """What stands below the table: how far it is, what runs, why it ended."""
    done, total = left(state)
    yield f"{done} of {total} done; {duration(state['spent_seconds'])} spent"
    if driven:
        for name, curve in state["running"].items():
            yield f"running  {name}  {sparkline(curve)}" + (f"  {curve[-1]:.2f}" if curve else "")
    elif state["running"]:
        yield "interrupted; the same command goes on"
    if state["ended_because"]:
        yield state["ended_because"]
    yield f"as of {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(state['updated']))}"
