"""What a run was computed from, as it recorded it, against what there is: all that differs, before any training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid_lab.architectures import ARCHITECTURES
from reid_lab.assembly import Source, identify_run, open_source
from reid_lab.data.contents import WRITTEN, contents
from reid_lab.engine.runtime import Runtime, computing
from reid_lab.errors import UserError
from reid_lab.reproducing import code
from reid_lab.reproducing.differences import Difference, Findings, few
from reid_lab.spec.identity import identifying
from reid_lab.spec.loader import Loaded
from reid_lab.spec.section import Section, is_unused, walk
from reid_lab.tracking.opening import INPUTS, plain
from reid_lab.tracking.provenance import environment
from reid_lab.tracking.records import Record, read, sha256
from reid_lab.tracking.runs import RunFolder

DECIDING = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pillow")
"""Packages that compute; the others are told, and cannot change a bit."""


def findings(folder: RunFolder, loaded: Loaded, runtime: Runtime, runs: Path) -> Findings:
    """Everything that is not as the run recorded it.

    loaded: the run's spec, read from its folder. runtime: started as the spec says. runs: where `train.init_from` is
    looked for.
    """
    found = Findings()
    held = [record for record, _ in read(folder.journal)]
    surroundings = _json(folder.path / "environment.json")
    inputs = _json(folder.path / INPUTS)
    _files(found, folder, held)
    _spec(found, folder, loaded, held)
    source = _data(found, folder, loaded, inputs)
    if source is not None:
        _identity(found, folder, loaded, source, runs)
    _versions(found, surroundings)
    _machine(found, surroundings, runtime, _param(held, "world_size"))
    _code(found, folder, loaded, surroundings, inputs)
    commits = {str(r.value["tags"].get("mlflow.source.git.commit", ""))[:12] for r in held if r.kind == "start"}
    if len(commits) > 1:
        found.notes.append(f"the run was resumed with other code: commits {', '.join(sorted(commits))}")
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _param(held: list[Record], name: str) -> Any:
    return next((record.value for record in held if record.kind == "param" and record.name == name), None)


def _files(found: Findings, folder: RunFolder, held: list[Record]) -> None:
    """The run's own files that are not those that its journal recorded; one that is gone says nothing."""
    digests: dict[str, str] = {}
    for record in held:
        if record.kind == "artifact" or (record.kind == "checkpoint" and not record.name.endswith("last")):
            digests[record.value["path"]] = record.value["sha256"]
    for path, digest in digests.items():
        file = folder.path / path
        if path != "spec.yaml" and file.is_file() and sha256(file) != digest:
            found.differences.append(Difference("record", f"{path} is not the file that the journal recorded"))
    summary = folder.summary()
    for record in held:
        if record.kind == "test":
            name = record.name.removeprefix("test/")
            found.compare("record", f"summary.json, test {name}", record.value, (summary.get("test") or {}).get(name))


def _spec(found: Findings, folder: RunFolder, loaded: Loaded, held: list[Record]) -> None:
    """Fields of the spec that are not as the journal has them."""
    recorded = {r.name: r.value for r in held if r.kind == "param" and r.name != "world_size"}
    leaves = {leaf.path: leaf for leaf in walk(loaded.spec) if not leaf.local}
    before = len(found.differences)
    seed = leaves.pop("seed")
    found.compare("seed", "seed", recorded.pop("seed", None), seed.value)
    for path in dict.fromkeys((*recorded, *leaves)):
        leaf = leaves.get(path)
        if leaf is None:
            found.differences.append(Difference("spec", path, recorded[path], "nothing"))
        elif path in recorded:
            _field(found, path, recorded[path], plain(leaf.value), _lean(leaf.value))
        elif not is_unused(leaf.field, leaf.value):
            found.differences.append(Difference("spec", path, "nothing", plain(leaf.value)))
    written = _json(folder.path / "identity.json").get("spec_file")
    edited = written and hashlib.sha256((folder.path / "spec.yaml").read_bytes()).hexdigest() != written
    if edited and len(found.differences) == before:
        what = "spec.yaml was edited after the run began, in fields that take no part in its identity"
        found.differences.append(Difference("spec", what))


def _lean(value: Any) -> Any:
    """A field's value without what came into being later and has its default."""
    if isinstance(value, Section):
        return identifying(value)
    return [_lean(v) for v in value] if isinstance(value, tuple | list) else value


def _field(found: Findings, path: str, recorded: Any, now: Any, lean: Any) -> None:
    """Compares what stands in a field, down to the values; lean: `now` without what may be missing in `recorded`."""
    if isinstance(recorded, dict) and isinstance(now, dict) and isinstance(lean, dict):
        for key in dict.fromkeys((*recorded, *now)):
            if key in recorded or key in lean:
                inner = now.get(key, "nothing")
                _field(found, f"{path}.{key}", recorded.get(key, "nothing"), inner, lean.get(key, inner))
    elif isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        for place, (one, other, rest) in enumerate(zip(recorded, now, lean, strict=True)):
            _field(found, f"{path}.{place}", one, other, rest)
    else:
        found.compare("spec", path, recorded, now)


def _data(found: Findings, folder: RunFolder, loaded: Loaded, inputs: Mapping[str, Any]) -> Source | None:
    """The data and what differs of it; None where it cannot be opened."""
    try:
        source = open_source(loaded.spec.data, trained=True)
    except UserError as error:
        found.differences += [Difference("data", str(fault), fatal=True) for fault in error.faults]
        return None
    recorded, now = dict(inputs.get("data", {})), contents(source.dataset)
    written = [name for name in recorded.keys() & now.keys() if WRITTEN in recorded[name] + now[name]]
    late = sorted(name for name in written if recorded[name] != now[name])
    if late:
        what = f"{len(late)} of {len(written)} images were written since; too many to be read: {few(late)}"
        found.differences.append(Difference("data", what))
    before = len(found.differences)
    if recorded:
        for name in written:
            recorded.pop(name), now.pop(name)
        found.compare_all("data", recorded, now)
    else:
        found.notes.append("not recorded: the parts of the data; their digest alone is compared")
    digest = _json(folder.path / "identity.json").get("data")
    if len(found.differences) == before:
        found.compare("data", "digest", digest, source.dataset.digest)
    return source


def _identity(found: Findings, folder: RunFolder, loaded: Loaded, source: Source, runs: Path) -> None:
    """Weights that training begins from, and the versions that are raised when results change."""
    held = _json(folder.path / "identity.json")
    try:
        _, now = identify_run(loaded.spec, source, runs)
    except UserError as error:
        found.differences += [Difference("weights", str(fault), fatal=True) for fault in error.faults]
        return
    found.compare_all("weights", held.get("weights", {}), now["weights"], "model.")
    found.compare("weights", "train.init_from", held.get("init_from"), now["init_from"])
    found.compare_all("version", held.get("versions", {}), now["versions"], "result version of ")
    found.compare("version", "metrics version", held.get("metrics"), now["metrics"])


def _versions(found: Findings, surroundings: Mapping[str, Any]) -> None:
    now = environment("cpu")
    recorded = {"python": surroundings.get("python", "nothing"), **surroundings.get("packages", {})}
    installed = {"python": now["python"], **now["packages"]}
    for name, version in recorded.items():
        there = installed.get(name, "nothing")
        if name in (*DECIDING, "python"):
            found.compare("dependency", name, version, there)
        elif version != there:
            found.notes.append(f"{name} was {version} and is {there}, which computes nothing")


def _machine(found: Findings, surroundings: Mapping[str, Any], runtime: Runtime, world: Any) -> None:
    here, known = environment(str(runtime.device)), surroundings.get("computing")
    names = ["cpu", "device"] + [name for name in ("cpu_model", "settings") if name in surroundings]
    for name in names:
        found.compare("machine", name, surroundings.get(name), here[name])
    found.compare("machine", "world size (processes of torchrun)", world or 1, runtime.world)
    if known:
        found.compare_all("machine", known, computing(runtime.device))
    else:
        found.notes.append("not recorded: threads and libraries of torch; threads are those of the spec")
    if surroundings.get("platform") != here["platform"]:
        found.notes.append(f"the system was {surroundings.get('platform')} and is {here['platform']}")


def _code(
    found: Findings, folder: RunFolder, loaded: Loaded, surroundings: Mapping[str, Any], inputs: Mapping[str, Any]
) -> None:
    diff = folder.path / "changes.diff"
    changes = diff.read_bytes().decode(errors="replace") if diff.is_file() else ""
    checkout = code.Checkout(str(surroundings.get("commit", "")), changes)
    starts = ("reid_lab.experiment", ARCHITECTURES[loaded.spec.model.name].module)
    code.compare(found, inputs.get("code", {}), checkout, starts)
