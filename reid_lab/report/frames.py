"""What runs left, as data frames; pandas is imported by whoever asks for one."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_lab.errors import Fault, RunError
from reid_lab.report.comparison import Comparison
from reid_lab.report.groups import shown
from reid_lab.report.listing import state_of
from reid_lab.report.queries import kept, tasks_of
from reid_lab.report.reading import COSTS, Run, read_run
from reid_lab.report.trials import knobs, trial_of, trials_of, tried
from reid_lab.tracking.runs import RunFolder, folders

RUN_COLUMNS = ("run", "experiment", "architecture", "data", "seed", "status")


def all_runs(runs: Path) -> list[Run]:
    """Every run of a folder, the latest first. Raises `RunError` where there is no such folder."""
    if not runs.is_dir():
        raise RunError(Fault("no such folder of runs", str(runs)))
    return [read_run(folder) for folder in folders(runs)]


def runs_frame(found: Iterable[Run]) -> pd.DataFrame:
    """A row for each run: `RUN_COLUMNS`, metrics, costs, paths of the spec."""
    rows = list(found)
    metrics = sorted(dict.fromkeys(name for run in rows for name in run.metrics), key=_place)
    costs = [name for name in COSTS if any(name in run.cost for run in rows)]
    paths = dict.fromkeys(path for run in rows for path in run.spec)
    told = [
        {
            **_about(run),
            **{name: run.metrics.get(name, np.nan) for name in metrics},
            **{name: run.cost.get(name, np.nan) for name in costs},
            **{path: _cell(run.spec.get(path)) for path in paths},
        }
        for run in rows
    ]
    frame = pd.DataFrame(told, columns=[*RUN_COLUMNS, *metrics, *costs, *paths])
    return frame.astype({"seed": "Int64"})


def _about(run: Run) -> dict[str, Any]:
    return {
        "run": run.run_id,
        "experiment": run.name,
        "architecture": run.spec.get("model.name", ""),
        "data": run.spec.get("data.name", ""),
        "seed": run.seed,
        "status": state_of(run.folder),
    }


def _cell(value: Any) -> Any:
    """A value as a frame holds it: lists and mappings as text, so that columns can be grouped."""
    return shown(value) if isinstance(value, list | Mapping) else value


def _place(metric: str) -> tuple[bool, int]:
    """Test before val, the bare metrics before those of tasks; else as they were recorded."""
    return metric.startswith("val/"), metric.count("/")


def compared_frame(found: Comparison) -> pd.DataFrame:
    """A row for each group, in full precision; NaN where nothing can be said (of the baseline's difference, say).

    Of each metric `M`: `M`, `M deviation`, and of its difference from the baseline `M difference`, `M low`, `M high`,
    `M effect`, `M p` (adjusted); over queries `M trained p`, `M trained low`, `M trained high`.
    """
    rows = []
    for line in found.lines:
        row: dict[str, Any] = {"group": line.group.name, **line.group.levels, "seeds": len(line.group.runs)}
        for metric in found.metrics:
            one = line.against.get(metric)
            row |= {metric: line.mean(metric), f"{metric} deviation": line.deviation(metric)}
            row |= {f"{metric} {name}": getattr(one, of, np.nan) for name, of in _AGAINST.items()}
            told = (np.nan,) * 3 if one is None else one.trained
            row |= {f"{metric} trained {name}": told[k] for k, name in enumerate(("p", "low", "high"))}
        rows.append({**row, **line.cost, "differs": ", ".join(line.differs)})
    frame = pd.DataFrame(rows)
    return frame.drop(columns=[name for name in frame if " trained " in name and frame[name].isna().all()])


_AGAINST = {"difference": "difference", "low": "low", "high": "high", "effect": "effect", "p": "adjusted"}


def queries_frame(folder: RunFolder) -> pd.DataFrame:
    """A row for each task, draw and query of a run's test. Raises `RunError` where the run kept none."""
    columns = kept(folder)
    if columns is None:
        raise RunError(Fault("was not tested: it kept no queries", folder.run_id))
    parts = []
    for task in tasks_of(columns):
        prefix = f"{task}/" if task else ""
        found = {name: columns[prefix + name] for name in ("ap", "inp", "first_hit", "valid")}
        draws = np.atleast_2d(found["ap"])
        count = draws.shape[1]
        about = {"pid": columns[f"{prefix}pids"], "image_id": columns[f"{prefix}image_ids"]}
        parts += [
            pd.DataFrame(
                {"task": task, "draw": draw, "query": np.arange(count), **about}
                | {name: np.atleast_2d(column)[draw] for name, column in found.items()}
            )
            for draw in range(len(draws))
        ]
    return pd.concat(parts, ignore_index=True)


def arms_frame(state: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each arm of a study's state."""
    rows = []
    for arm in state["arms"]:
        trials, best = arm["trials"], arm["best"]
        cells = [cell for cell in arm["cells"].values() if cell is not None]
        rows.append(
            {
                "arm": arm["name"],
                "changes": ", ".join(f"{path}: {shown(value)}" for path, value in arm["patch"].items()),
                **{key: trials[key] for key in ("complete", "pruned", "failed")},
                "best trial": best["trial"] if best else None,
                "lucky best": best["scores"][0] if best else np.nan,
                "seeds": len(cells),
                **_means(cells),
            }
        )
    return pd.DataFrame(rows).astype({"best trial": "Int64"})


def _means(cells: list[Mapping[str, Any]]) -> dict[str, float]:
    """The mean over the seeds of each bare metric that all of them have."""
    found = [_measured(cell) for cell in cells]
    names = [name for name in (found[0] if found else ()) if all(name in one for one in found)]
    return {name: statistics.fmean(one[name] for one in found) for name in names if name.count("/") == 1}


def _measured(cell: Mapping[str, Any]) -> dict[str, float]:
    return {f"{split}/{name}": value for split in ("test", "val") for name, value in (cell[split] or {}).items()}


def cells_frame(state: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each cell of a study that is measured."""
    rows = [
        {"arm": arm["name"], "seed": int(seed), "run": cell["run"], **_measured(cell), "seconds": cell["seconds"]}
        for arm in state["arms"]
        for seed, cell in arm["cells"].items()
        if cell is not None
    ]
    return pd.DataFrame(rows, columns=None if rows else ["arm", "seed", "run"])


def trials_frame(study: str, runs: Path) -> pd.DataFrame:
    """A row for each trial of a study that was complete or pruned: its metrics on val, and what it tried."""
    groups, _, _ = trials_of((study,), runs)
    found = [trial for group in groups for trial in map(trial_of, group.runs) if trial is not None]
    paths = dict.fromkeys(path for group in groups for path in knobs(group.runs))
    return pd.DataFrame(
        {
            "arm": trial.arm,
            "trial": trial.number,
            "state": "pruned" if trial.pruned else "complete",
            "run": trial.run.run_id,
            **{name: value for name, value in trial.run.metrics.items() if name.startswith("val/")},
            **{path: _cell(tried(trial.run, path)) for path in paths},
        }
        for trial in found
    )
