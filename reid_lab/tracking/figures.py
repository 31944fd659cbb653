"""Figures and their data in MLflow: with the run or the arm that they show, else with a run that stands for several.

figures/<name>.png  figures/<name>.pdf  figures/<name>.csv
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from reid_lab.tracking.members import members
from reid_lab.tracking.mlflow_store import RUN_TAG, Chunk, Location, Store
from reid_lab.tracking.records import FILE
from reid_lab.tracking.replay import Progress
from reid_lab.tracking.runs import STUDIES

FOLDER = "figures"
KIND = "comparison"
"""The tag `reid_lab.kind` of a run that stands for several."""


def keep(
    files: Sequence[Path],
    runs: Path,
    run_ids: Sequence[str],
    *,
    experiment: str,
    selection: str,
    uri: str | None = None,
) -> str:
    """Logs files to the one run that they show, the arm that all runs are of, or a comparison; why not, or nothing.

    experiment: the one in which a comparison is kept. selection: what it is called. The same figure of the same runs
    takes the place of the former one. Never raises for a store that is absent, broken or slow.
    """
    store = Store.of(runs, uri)
    if store.uri.startswith("sqlite") and not Path(store.uri.removeprefix("sqlite:///")).is_file():
        return f"not logged: there is no MLflow store at {store.shown_uri}"
    try:
        if len(run_ids) == 1:
            at = _of_run(store, runs, run_ids[0])
        else:
            at = _of_arm(store, runs, run_ids) or _of_comparison(store, run_ids, experiment, selection)
        if at is None:
            return f"not logged: MLflow does not know {run_ids[0]}; `reid-lab sync {run_ids[0]}` sends it"
        for file in files:
            store.artifact(at, file, f"{FOLDER}/{file.name}")
    except Exception as error:  # mlflow's are of many kinds; a figure that is written is not lost
        return (
            f"not logged to MLflow at {store.shown_uri}: {' '.join(str(error).split())[:200] or type(error).__name__}"
        )
    return ""


def _of_run(store: Store, runs: Path, run_id: str) -> Location | None:
    known = Progress(runs / run_id, store).at
    if known is not None:
        return known
    experiments = list(store.experiments().values())
    found = store.client().search_runs(experiments, filter_string=f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1)
    return Location(found[0].info.experiment_id, found[0].info.run_id) if found else None


def _of_arm(store: Store, runs: Path, run_ids: Sequence[str]) -> Location | None:
    """The run of the study's arm that all these runs belong to; None where there is none, or it was not sent."""
    shared: set[str] | None = None
    for run_id in run_ids:
        own = {member.parent for member in members(runs / run_id / FILE)}
        shared = own if shared is None else shared & own
    for parent in sorted(shared or ()):
        at = Progress(runs / STUDIES / parent, store).at
        if at is not None:
            return at
    return None


def _of_comparison(store: Store, run_ids: Sequence[str], experiment: str, selection: str) -> Location:
    ids = sorted(run_ids)
    ident = f"{KIND}/{hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:12]}"
    now = time.time_ns() // 1_000_000
    at = store.run(ident, experiment=experiment, name=f"{KIND}: {selection}"[:200], time=now)
    tags = {"reid_lab.kind": KIND, "reid_lab.runs": ", ".join(ids)}
    described = {"mlflow.note.content": f"Figures of {len(ids)} runs: {selection}"}
    store.log(at, Chunk(tags={**tags, **described}))
    store.status(at, "finished", now)
    return at
