"""A finished run's model again: its spec, the facts that it was built with, its selected weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reid_lab.assembly import Parts, Source, assemble
from reid_lab.catalogue import load_spec
from reid_lab.contracts import Facts
from reid_lab.data.gallery import Loose
from reid_lab.engine.checkpoint import load_weights
from reid_lab.errors import Fault, RunError
from reid_lab.spec.identity import identity
from reid_lab.spec.run import RunSpec
from reid_lab.tracking.runs import RunFolder


def recorded(folder: RunFolder) -> Facts:
    """What the run's model was built to know of its data.

    Raises `RunError` where there are no weights to test (a run of features has no model), and where the spec was
    edited after the run was begun.
    """
    if folder.summary().get("features"):
        raise RunError(f"{folder.run_id} measured features of other code; there is no model in it")
    if folder.finished("pruned") or folder.dropped:
        raise RunError(f"{folder.run_id} has no weights to use ({folder.dropped or 'it was pruned'})")
    if not folder.finished("fit"):
        raise RunError(f"{folder.run_id} is not finished; the command that began it goes on with it")
    kept: dict[str, Any] = json.loads((folder.path / "identity.json").read_text(encoding="utf-8"))
    known, facts, file = kept.pop("identity"), kept.pop("facts"), folder.path / "spec.yaml"
    kept.pop("sources", None)
    written = kept.pop("spec_file", None)
    # The file itself is compared: its identity may be another one under a later version with further fields.
    same = identity(load_spec(file).spec, kept) == known if written is None else written == _sha256(file)
    if not same:
        raise RunError(Fault("does not belong to this run any more: it was edited", str(file)))
    facts |= folder.summary().get("refit_facts", {})
    return Facts(**{**facts, "image_size": tuple(facts["image_size"]), "roles": tuple(facts["roles"])})


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def respecified(folder: RunFolder, sets: Sequence[str] = (), device: str | None = None) -> RunSpec:
    """The run's spec with other fields overridden. Raises `SpecError`."""
    return load_spec(folder.path / "spec.yaml", sets, device=device).spec


def reloaded(folder: RunFolder, spec: RunSpec, source: Source, facts: Facts) -> Parts:
    """The model with its selected weights, over any data. Raises `CheckpointError` for a file that does not fit."""
    parts = assemble(spec, source, facts, training=False)
    load_weights(folder.selected, parts.model)
    return parts


def alone(folder: RunFolder, device: str | None = None) -> Parts:
    """The run's model with its selected weights, over no data yet. Raises as `recorded` and `reloaded`."""
    facts = recorded(folder)
    nothing = Source(Loose([], Path(), facts.image_size), facts, None)
    return reloaded(folder, respecified(folder, device=device), nothing, facts)
