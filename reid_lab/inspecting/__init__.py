"""What a spec, a run or a file of weights is, looked at before anything is trained: `reid-lab inspect`.

A model is built as a run would build it and takes one step on made-up inputs (noise, and captions that say little), so
that no data are needed beyond what is known of them; where they are not there, `identities` people stand in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open

from reid_lab.assembly import architecture, open_source
from reid_lab.catalogue import load_spec
from reid_lab.contracts import ROLES, Architecture, Facts
from reid_lab.engine.checkpoint import load, load_weights
from reid_lab.engine.runtime import Runtime
from reid_lab.errors import DataError, UserError
from reid_lab.inspecting.model import examine
from reid_lab.parts.weights import read_tensors
from reid_lab.spec.run import RunSpec
from reid_lab.tracking.runs import RunFolder, find

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin")
EXPERIMENTS = (".yaml", ".yml")
STAND_IN = 100
"""Identities where the data are not there and no other number is given."""

__all__ = ["EXPERIMENTS", "STAND_IN", "WEIGHTS", "inspect"]


def inspect(
    target: str,
    runs: Path,
    *,
    sets: Sequence[str] = (),
    identities: int | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """All that there is to say of `target`, as plain data.

    Args:
        target: an experiment file, a run (its id, how it begins, or its folder), or a file of weights.
        runs: the folder of runs.
        sets: overrides of an experiment file.
        identities: how many people stand in for the data, which are then not opened; None: as many as the data have,
            `STAND_IN` where they are not there.

    Returns:
        `kind`: `weights` (with `tensors`, `facts`) or `model` (`inputs`, `modules`, `subsets`, `parameters`, `groups`,
        `terms`, `total`, `checks`; see `model.examine`), and what was looked at.

    Raises:
        UserError: a file that is not there or not readable, a spec with faults, an unknown run.
    """
    path = Path(target)
    if path.suffix in WEIGHTS:
        return _weights(path)
    if path.suffix in EXPERIMENTS:
        spec = load_spec(path, sets, device=device).spec
        facts, note = _facts(spec, identities)
        return _model(spec, facts, target, note, None)
    if sets or identities is not None:
        raise UserError("--set and --identities are for an experiment file: a run has its own spec and facts")
    folder = find(runs, target)
    spec = load_spec(folder.path / "spec.yaml", device=device).spec
    known = json.loads((folder.path / "identity.json").read_text(encoding="utf-8"))["facts"]
    known |= folder.summary().get("refit_facts", {})
    facts = Facts(**{**known, "image_size": tuple(known["image_size"]), "roles": tuple(known["roles"])})
    return _model(spec, facts, folder.run_id, "facts of the run", folder)


def _facts(spec: RunSpec, identities: int | None) -> tuple[Facts, str]:
    """What is known of the data, or of people who stand in for them."""
    note = f"{identities} identities stand in for the data, as asked"
    if identities is None:
        try:
            return open_source(spec.data).facts, f"facts of {spec.data.name}"
        except DataError as error:
            note = f"{STAND_IN} identities stand in for the data (--identities N): {error.faults[0]}"
    size = spec.data.image_size or Facts.image_size
    return Facts(identities or STAND_IN, cameras=1, roles=ROLES, image_size=size), note


def _model(spec: RunSpec, facts: Facts, target: str, note: str, folder: RunFolder | None) -> dict[str, Any]:
    runtime = Runtime.start(spec.runtime.device, "fp32", spec.runtime.threads)
    try:
        model: Architecture = architecture(spec).build(spec.model, facts, spec.seed)
        weights = "as a run of this seed begins"
        trained = folder is not None and folder.finished("fit")
        if folder is not None and trained:
            load_weights(folder.selected, model)
            weights = f"selected, {folder.selected.name}"
        about = {
            "kind": "model",
            "target": target,
            "architecture": spec.model.name,
            "weights": weights,
            "device": str(runtime.device),
            "facts": {**asdict(facts), "note": note},
        }
        return {**about, **examine(model.to(runtime.device), spec, facts, trained=trained)}
    finally:
        runtime.close()


def _weights(path: Path) -> dict[str, Any]:
    """Keys, shapes and types of a file, and the facts of our own checkpoints, whose every byte is verified."""
    facts: dict[str, Any] = {}
    if path.suffix == ".safetensors" and path.is_file() and _is_ours(path):
        found = load(path)
        tensors, facts = found.tensors, found.facts
    else:
        tensors = read_tensors(path)
    listed = [
        {"name": name, "shape": list(t.shape), "dtype": str(t.dtype).removeprefix("torch."), "elements": t.numel()}
        for name, t in tensors.items()
    ]
    checks = [
        {
            "name": "every tensor is finite",
            "passed": all(bool(t.isfinite().all()) for t in tensors.values()),
            "detail": ", ".join(name for name, t in tensors.items() if not bool(t.isfinite().all())),
        }
    ]
    elements = sum(t.numel() for t in tensors.values())
    return {
        "kind": "weights",
        "target": str(path),
        "facts": facts,
        "parameters": {"tensors": len(tensors), "elements": elements},
        "tensors": listed,
        "checks": checks,
    }


def _is_ours(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return "manifest" in (file.metadata() or {})
    except Exception:  # read_tensors says in one line what is wrong with it
        return False
