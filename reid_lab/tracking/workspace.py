"""The workspace file of a runs folder: descriptions and saved views of experiments in mlflow."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from reid_lab.errors import Fault, UserError, unknown
from reid_lab.tracking.mlflow_store import Store

WORKSPACE = "experiments.yaml"


def share_key(view: str) -> str:
    """The key under which mlflow keeps the saved view of this name, and by which a link opens it."""
    return hashlib.sha256(view.encode()).hexdigest()


def saved_view(columns: Iterable[str], order: str, ascending: bool, search: str) -> dict[str, Any]:
    """The state of mlflow's table of runs. Internal to mlflow 3.17: a later one may ignore it."""
    return {
        "searchFilter": search,
        "orderByKey": order,
        "orderByAsc": ascending,
        "selectedColumns": list(columns),
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
    }


def apply_workspace(store: Store, file: Path) -> list[str]:
    """Create the experiments of an `experiments.yaml` with their descriptions and saved views; their names.

    Nothing happens without the file. Raises `UserError` on a malformed one.
    """
    if not file.is_file():
        return []
    experiments = _workspace(file)
    for name, entry in experiments.items():
        tags = {"mlflow.note.content": str(entry.get("description", ""))}
        for view, fields in entry.get("views", {}).items():
            tags[f"mlflow.sharedViewState.{share_key(view)}"] = _packed(view, fields)
        store.experiment(name, tags)
    return list(experiments)


def _packed(name: str, fields: Mapping[str, Any]) -> str:
    state = saved_view(
        fields.get("columns", ()),
        fields.get("order", "attributes.start_time"),
        bool(fields.get("ascending", False)),
        fields.get("search", ""),
    )
    packed = base64.b64encode(zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 9)).decode()
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
