"""Checkpoints of other projects as runs: `reid-lab import SOURCE FILE --out DIR`.

What comes out is the folder of a run that was trained elsewhere: a spec, the facts that the tensors tell, the weights
under our names and a journal that says where they come from. `evaluate`, `search` and `inspect` work on it as on
any other. Its summary marks it as imported, and so does every table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from reid_lab.assembly import architecture
from reid_lab.catalogue import load_spec
from reid_lab.contracts import Facts
from reid_lab.engine.checkpoint import BEST, MODEL, file_sha256, identify, save
from reid_lab.errors import CheckpointError, Fault, SpecError, UserError, unknown
from reid_lab.interop.layout import Layout, Tensors
from reid_lab.interop.layouts import LAYOUTS
from reid_lab.metrics.retrieval import METRICS_VERSION
from reid_lab.parts.weights import Report, load, read_tensors
from reid_lab.spec.identity import identity
from reid_lab.spec.loader import Loaded
from reid_lab.spec.run import RunSpec
from reid_lab.spec.section import walk
from reid_lab.spec.show import resolved_yaml
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.provenance import environment, source
from reid_lab.tracking.runs import RunFolder, write_atomic

EXPERIMENTS = Path(__file__).parent / "interop" / "experiments"
_TOLD = 12  # faults that are told before the rest is counted


@dataclass(frozen=True)
class Imported:
    """The folder that was written, and what became of every key."""

    folder: RunFolder
    report: Report
    notes: tuple[str, ...]


def import_checkpoint(
    name: str,
    file: Path,
    out: Path,
    *,
    experiment: Path | None = None,
    sets: Sequence[str] = (),
    allow_unused: bool = False,
) -> Imported:
    """Reads a checkpoint of the project `name` and writes it as the folder of a run.

    Args:
        name: one of `LAYOUTS`.
        file: a safetensors or torch file, read as plain data; `model`, `state_dict` and `module.` are unwrapped.
        out: the folder to write; nothing is written unless every tensor has found its place.
        experiment: the spec to evaluate with; None: that of the source. What the tensors tell stands above it.
        sets: overrides of the spec, above everything else.
        allow_unused: keys that the model does not know are reported, and are no error.

    Raises:
        UserError: an unknown source, a folder that is there already, a file that is no file of plain tensors or of
            another layout, a missing, surplus or misshapen key.
    """
    if name not in LAYOUTS:
        raise UserError(unknown("source", name, LAYOUTS))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(Fault("exists already; --out names a folder that does not", str(out)))
    layout = LAYOUTS[name]
    tensors = layout.renamed(read_tensors(file))
    try:
        told = layout.told(tensors)
    except CheckpointError as error:
        raise CheckpointError(*(Fault(fault.what, str(file)) for fault in error.faults)) from error
    loaded = load_spec(experiment or EXPERIMENTS / f"{name}.yaml", [*told.sets, *sets])
    spec = loaded.spec
    if spec.model.name != layout.architecture:
        raise SpecError(f"a checkpoint of {name} fills {layout.architecture}; the experiment has {spec.model.name}")
    size = spec.data.image_size or layout.image_size
    facts = Facts(max(1, told.identities), roles=layout.roles, image_size=size)
    model = architecture(spec).build(spec.model, facts, spec.seed)
    report = _fill(model, layout, tensors, allow_unused, str(file))
    origin = {"source": name, "file": file.name, "sha256": file_sha256(file)}
    folder = _write(RunFolder(out), loaded, model, facts, origin, report)
    return Imported(folder, report, told.sets)


def _fill(model: nn.Module, layout: Layout, tensors: Tensors, allow_unused: bool, where: str) -> Report:
    try:
        return load(
            model,
            tensors,
            layout.table(model, tensors),
            positions=layout.positions(model, tensors),
            may_differ=layout.fresh(model),
            ignore=(".*",) if allow_unused else layout.ignore,
            where=where,
        )
    except CheckpointError as error:
        faults = [
            replace(fault, what=f"{fault.what} (--allow-unused leaves it out)")
            if "surplus key" in fault.what
            else fault
            for fault in error.faults
        ]
        rest = len(faults) - _TOLD
        more = [Fault(f"{where}: and {rest} more such keys")] if rest > 0 else []
        raise CheckpointError(*faults[:_TOLD], *more) from error


def _write(
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
        about = {"identity": known, **parts, "facts": asdict(facts)}
        code = source()
        code.pop("diff", None)
        write_atomic(folder.path / "spec.yaml", resolved_yaml(loaded))
        write_atomic(folder.path / "identity.json", json.dumps(about, indent=1))
        write_atomic(folder.path / "environment.json", json.dumps({**environment("cpu"), **code}, indent=1))
        write_atomic(folder.path / "import.json", json.dumps({**origin, "keys": asdict(report)}, indent=1))
        weights = {f"{MODEL}{key}": value for key, value in model.state_dict().items()}
        save(folder.checkpoints / BEST, weights, {"step": 0, "metrics": {}, "imported": origin})
        _journal(journal, folder, spec, known, origin)
        _, digest = identify(folder.checkpoints / BEST)
        journal.record("final", "final/weights", 0, {"sha256": digest, "best": 0})
        journal.flush()
        folder.finish("fit", _summary(spec, model, digest, origin))
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


def _summary(spec: RunSpec, model: nn.Module, digest: str, origin: dict[str, str]) -> dict[str, object]:
    """As of a finished training; `fitted_on` is what every table says of weights that were not trained here."""
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
        "fitted_on": f"unknown data: imported from {origin['source']}",
        "imported": origin,
    }
