"""A run's folder while it is computed: locked, with what is computed written down, its journal and its mirror."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from reid_lab.errors import Interrupted, Pruned, UserError
from reid_lab.spec.loader import Loaded
from reid_lab.spec.section import walk
from reid_lab.spec.show import resolved_yaml
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.members import Member, enter
from reid_lab.tracking.mirror import Mirror
from reid_lab.tracking.mlflow_store import Store
from reid_lab.tracking.provenance import environment, source, sources
from reid_lab.tracking.records import curve, seconds_spent
from reid_lab.tracking.runs import RunFolder, write_atomic

INPUTS = "inputs.json"
"""Digests: `code` of every file, `data` of the data's parts, for a replay to name which of them differ; `tested` of the
data without a val split that was carved from it, by which tests on the same items are known."""

FAILURE = "failure.txt"
"""The traceback of a run that failed, where it was no mistake of the user."""


@contextmanager
def opened(
    folder: RunFolder,
    loaded: Loaded,
    facts: Mapping[str, Any],
    *,
    device: str,
    world: int = 1,
    member: Member | None = None,
    computing: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> Iterator[Journal]:
    """The journal of a run that is computed inside; how that ends is recorded.

    facts: what the identity is made of (`identity.json`). device, world: where, in how many processes. computing:
    what torch computes with there. inputs: digests of the data (`INPUTS`).
    Raises `RunError` when another process works on the run, and whatever is raised inside.
    """
    spec = loaded.spec
    with RunLock(folder.path), Journal(folder.journal, strict=device == "cpu") as journal:
        mirror: Mirror | None = None
        try:
            _keep_inputs(folder, inputs or {})
            _begin(folder, loaded, journal, facts, {**environment(device), "computing": dict(computing or {})}, world)
            if member is not None:
                enter(journal, member)
            if spec.tracking.uri != "off":
                mirror = Mirror(journal, Store.of(folder.path.parent, spec.tracking.uri))
            yield journal
            journal.stop("finished")
        except (Interrupted, KeyboardInterrupt):
            journal.stop("interrupted")
            raise
        except Pruned as error:
            error.run_id = folder.run_id
            journal.stop("pruned", _told(error))
            folder.finish("pruned", _pruned(folder, loaded, _told(error)))
            raise
        except BaseException as error:
            if not isinstance(error, UserError):
                write_atomic(folder.path / FAILURE, traceback.format_exc())
                journal.artifact(FAILURE, folder.path / FAILURE)
            journal.stop("failed", _told(error))
            raise
        finally:
            if mirror is not None:
                mirror.close(60.0)


def _told(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _pruned(folder: RunFolder, loaded: Loaded, reason: str) -> dict[str, Any]:
    """What a pruned run leaves; written after its last record, so that a kill in between prunes it again."""
    spec, found = loaded.spec, curve(folder.journal)
    return {
        "name": spec.name,
        "seed": spec.seed,
        "val": found[max(found)] if found else {},
        "last_step": max(found, default=0),
        "curve": {str(step): metrics for step, metrics in found.items()},
        "pruned": reason,
        "seconds": seconds_spent(folder.journal),
        "selected_on": spec.eval.select_on,
    }


def _keep_inputs(folder: RunFolder, inputs: Mapping[str, Any]) -> None:
    """Writes down what a replay compares with: the digest of every file of the code, and those of the data."""
    write_atomic(folder.path / INPUTS, json.dumps({"code": sources(), **inputs}, indent=0))


def _begin(
    folder: RunFolder,
    loaded: Loaded,
    journal: Journal,
    facts: Mapping[str, Any],
    surroundings: Mapping[str, Any],
    world: int,
) -> None:
    """Records what is going to be computed, from what, and in which surroundings."""
    spec, code = loaded.spec, source()
    changes = code.pop("diff", "")
    written = resolved_yaml(loaded)
    write_atomic(folder.path / "spec.yaml", written)
    facts = {**facts, "spec_file": hashlib.sha256(written.encode()).hexdigest()}
    write_atomic(folder.path / "identity.json", json.dumps(facts, indent=1))
    write_atomic(folder.path / "environment.json", json.dumps({**surroundings, **code}, indent=1))
    write_atomic(folder.path / "changes.diff", changes)
    device = str(surroundings["device"])
    tags = {"reid_lab.seed": str(spec.seed), "reid_lab.identity": facts["identity"], "reid_lab.device": device}
    if code:
        tags |= {"mlflow.source.git.commit": code["commit"], "mlflow.source.git.branch": code.get("branch", "")}
    if spec.eval.select_on == "test":
        tags["reid_lab.select_on_test"] = "true"
    if spec.train.fit_on != "train":
        tags["reid_lab.fit_on"] = spec.train.fit_on
    experiment = spec.tracking.experiment or spec.name
    journal.start(
        run_id=folder.run_id,
        experiment=experiment,
        run_name=f"{spec.name} seed {spec.seed}",
        tags=tags,
        description=spec.description,
    )
    for leaf in walk(spec):
        if not leaf.local:
            journal.record("param", leaf.path, 0, plain(leaf.value))
    journal.record("param", "world_size", 0, world)  # losses agree to 1e-5 only between different sizes
    for name, digest in {spec.data.name: facts["data"], **facts["sources"]}.items():
        journal.record("input", name, 0, {"digest": digest})
    for name in ("spec.yaml", "identity.json", "environment.json", "changes.diff"):
        if (folder.path / name).stat().st_size:
            journal.artifact(name, folder.path / name)
    journal.flush()


def plain(value: Any) -> Any:
    """A field's value as a journal holds it (stages are sections in a tuple)."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value
