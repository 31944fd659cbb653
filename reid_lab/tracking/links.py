"""Links into mlflow's pages.

A first visit of a page without `workflowType=machine_learning` hides the runs, so every link has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from reid_lab.tracking.mlflow_store import Location, Store
from reid_lab.tracking.replay import Progress
from reid_lab.tracking.workspace import share_key

PORT = 5000
_TYPE = "workflowType=machine_learning"


def home_link(base: str) -> str:
    """The list of experiments."""
    return f"{base}/#/experiments?{_TYPE}"


def experiment_link(base: str, experiment_id: str, view: str | None = None) -> str:
    """The table of an experiment's runs, in a saved view if one is named."""
    saved = f"&viewStateShareKey={share_key(view)}" if view else ""
    return f"{base}/#/experiments/{quote(experiment_id, safe='')}/runs?{_TYPE}{saved}"


def link(base: str, at: Location) -> str:
    """The page of one run."""
    return f"{base}/#/experiments/{quote(at.experiment, safe='')}/runs/{quote(at.run, safe='')}?{_TYPE}"


def files_link(base: str, at: Location) -> str:
    """The files of one run; its ranked lists lie in `images`."""
    return link(base, at).replace("?", "/artifacts?")


def only(at: Iterable[Location]) -> str:
    """mlflow's filter for these runs."""
    return "attributes.run_id IN ({})".format(",".join(f"'{a.run}'" for a in at))


def charts_link(base: str, at: Sequence[Location]) -> str:
    """The charts of the chosen runs side by side, also across experiments."""
    charts = f"{_TYPE}&compareRunsMode=CHART&searchFilter={quote(only(at), safe='')}"
    experiments = sorted({a.experiment for a in at})
    if len(experiments) == 1:
        return f"{base}/#/experiments/{quote(experiments[0], safe='')}/runs?{charts}"
    return f"{base}/#/compare-experiments/s?experiments={_listed(experiments)}&{charts}"


def compare_link(base: str, at: Sequence[Location]) -> str:
    """The page that compares the chosen runs: parallel coordinates, and what differs."""
    experiments = sorted({a.experiment for a in at})
    runs = _listed(a.run for a in at)
    return f"{base}/#/compare-runs?runs={runs}&experiments={_listed(experiments)}&{_TYPE}"


def _listed(names: Iterable[str]) -> str:
    return quote(json.dumps(list(names), separators=(",", ":")), safe="")


def base_url(store: Store, port: int = PORT) -> str:
    """Where the pages of a store are: the server itself, or the one that `open_ui` starts on loopback."""
    return store.shown_uri if store.is_server else f"http://127.0.0.1:{port}"


def run_link(runs: Path, run_id: str, uri: str | None = None, port: int = PORT) -> str | None:
    """The page of one run, without asking mlflow; None while the run is not mirrored."""
    store = Store.of(runs, uri)
    at = Progress(runs / run_id, store).at
    return link(base_url(store, port), at) if at else None
