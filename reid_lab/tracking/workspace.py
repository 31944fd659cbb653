"""The workspace file of a runs folder: descriptions and saved views of experiments in mlflow."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reid_lab.errors import Fault, UserError, unknown
from reid_lab.tracking.mlflow_store import Store

WORKSPACE = "experiments.yaml"
_VIEWS = "mlflow.sharedViewState."


def share_key(view: str) -> str:
    """The key under which mlflow keeps the saved view of this name, and by which a link opens it."""
    return hashlib.sha256(view.encode()).hexdigest()


@dataclass(frozen=True)
class View:
    """A saved state of mlflow's table of runs.

    columns: such as "metrics.`val/mAP`". order: the column it is sorted by; children are folded below their parents
    only while that is the time of their start. search: mlflow's filter.
    """

    columns: Sequence[str] = ()
    order: str = "attributes.start_time"
    ascending: bool = False
    search: str = ""

    def state(self) -> dict[str, Any]:
        """As mlflow's pages keep it. Internal to mlflow 3.17: a later one may ignore it."""
        return {
            "searchFilter": self.search,
            "orderByKey": self.order,
            "orderByAsc": self.ascending,
            "selectedColumns": list(self.columns),
            "runsHiddenMode": "SHOW_ALL",
            "hideEmptyCharts": True,
        }


def save_view(store: Store, experiment_id: str, name: str, view: View) -> None:
    """Keep a view with an experiment, under its name; what is held already is not written again."""
    client = store.client()
    tag, value = f"{_VIEWS}{share_key(name)}", _packed(name, view)
    if client.get_experiment(experiment_id).tags.get(tag) != value:
        client.set_experiment_tag(experiment_id, tag, value)


def apply_workspace(store: Store, file: Path) -> dict[str, list[str]]:
    """Create the experiments of an `experiments.yaml` with their descriptions; the saved views of each, by name.

    Nothing happens without the file. Raises `UserError` on a malformed one.
    """
    if not file.is_file():
        return {}
    experiments = _workspace(file)
    for name, entry in experiments.items():
        tags = {"mlflow.note.content": str(entry.get("description", ""))}
        for view, fields in entry.get("views", {}).items():
            tags[f"{_VIEWS}{share_key(view)}"] = _packed(view, View(**fields))
        store.experiment(name, tags)
    return {name: list(entry.get("views", ())) for name, entry in experiments.items()}


def _packed(name: str, view: View) -> str:
    state = json.dumps(view.state(), separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(state.encode(), 9)).decode()
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})


def _workspace(file: Path) -> dict[str, dict[str, Any]]:
    """The file's content: experiment -> description and views, checked."""
    try:
        content = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise UserError(Fault(" ".join(str(error).split()), str(file))) from error
    faults = list(_faults(content))
    if faults:
        raise UserError(*(Fault(what, str(file)) for what in faults))
    return dict(content)


def _faults(content: Any) -> Iterator[str]:
    shape = {"description": str, "views": dict}
    view_shape = {"columns": list, "order": str, "ascending": bool, "search": str}
    if not isinstance(content, dict):
        yield "must map the names of experiments to their description and views"
        return
    for name, entry in content.items():
        yield from _misfits(str(name), entry, shape)
        views = entry.get("views") if isinstance(entry, dict) else None
        for view, fields in views.items() if isinstance(views, dict) else ():
            yield from _misfits(f"{name}.views.{view}", fields, view_shape)


def _misfits(where: str, entry: Any, shape: Mapping[str, type]) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{where}: must be a mapping"
        return
    for field, value in entry.items():
        if field not in shape:
            yield f"{where}: {unknown('field', str(field), shape)}"
        elif not isinstance(value, shape[field]):
            yield f"{where}.{field}: must be a {shape[field].__name__}"
