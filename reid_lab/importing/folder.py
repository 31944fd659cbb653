"""The folder of a run whose training happened elsewhere."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from torch import nn

from reid_lab.assembly import architecture
from reid_lab.contracts import Facts
from reid_lab.engine.checkpoint import BEST, MODEL, identify, save
from reid_lab.metrics.retrieval import METRICS_VERSION
from reid_lab.parts.weights import Report
from reid_lab.spec.identity import identity
from reid_lab.spec.loader import Loaded
from reid_lab.spec.run import RunSpec
from reid_lab.spec.section import walk
from reid_lab.spec.show import resolved_yaml
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.provenance import environment, source
from reid_lab.tracking.runs import RunFolder, write_atomic


def write(
    folder: RunFolder, loaded: Loaded, model: nn.Module, facts: Facts, origin: dict[str, str], report: Report
) -> RunFolder:
    """The folder of a run whose training happened elsewhere; `summary.json`, which makes it count, comes last."""
    spec = loaded.spec
    parts = {
        "imported": origin,
        "metrics": METRICS_VERSION,
        "versions": {"architecture": architecture(spec).result_version},
    }
    known = identity(spec, parts)
    with RunLock(folder.path), Journal(folder.journal, strict=False) as journal:
        text = resolved_yaml(loaded)
        written = {"spec_file": hashlib.sha256(text.encode()).hexdigest()}
        about = {"identity": known, **parts, **written, "facts": asdict(facts)}
        code = source()
        code.pop("diff", None)
        write_atomic(folder.path / "spec.yaml", text)
        write_atomic(folder.path / "identity.json", json.dumps(about, indent=1))
        write_atomic(folder.path / "environment.json", json.dumps({**environment("cpu"), **code}, indent=1))
        write_atomic(folder.path / "import.json", json.dumps({**origin, "keys": asdict(report)}, indent=1))
        weights = {f"{MODEL}{key}": value for key, value in model.state_dict().items()}
        save(folder.checkpoints / BEST, weights, {"step": 0, "metrics": {}, "imported": origin})
        _journal(journal, folder, spec, known, origin)
        _, digest = identify(folder.checkpoints / BEST)
        journal.record("final", "final/weights", 0, {"sha256": digest, "best": 0})
        journal.flush()
        folder.finish("fit", _summary(spec, model, digest, origin, len(report.reinitialised)))
        journal.stop("finished")
    return folder


def _journal(journal: Journal, folder: RunFolder, spec: RunSpec, known: str, origin: dict[str, str]) -> None:
    journal.start(
        run_id=folder.run_id,
        experiment=spec.tracking.experiment or spec.name,
        run_name=f"{spec.name}: {origin['file']}",
        tags={"reid_lab.identity": known, "reid_lab.imported": origin["source"], "reid_lab.file": origin["sha256"]},
        description=spec.description,
    )
    for leaf in walk(spec.model, "model."):
        if not leaf.local:
            journal.record("param", leaf.path, 0, _plain(leaf.value))
    for name in ("spec.yaml", "identity.json", "environment.json", "import.json"):
        journal.artifact(name, folder.path / name)


def _plain(value: object) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _summary(spec: RunSpec, model: nn.Module, digest: str, origin: dict[str, str], fresh: int) -> dict[str, object]:
    """As of a finished training; `fitted_on` is what every table says of weights that were not trained here.

    fresh: how many tensors the file did not have, so that they are untrained.
    """
    untrained = f", {fresh} tensors untrained" if fresh else ""
    return {
        "name": spec.name,
        "seed": spec.seed,
        "val": {},
        "best_step": 0,
        "last_step": 0,
        "stopped_early": False,
        "seconds": 0.0,
        "weights_sha256": digest,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "peak_memory": 0,
        "selected_on": "unknown",
        "fitted_on": f"unknown data: imported from {origin['source']}{untrained}",
        "imported": origin,
    }
