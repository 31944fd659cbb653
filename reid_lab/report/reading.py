"""A run as a table reads it: what its journal recorded, and what it cost.

The journal is the truth: metrics, spec and data digests are read from it. `summary.json` tells the cost only.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from reid_lab.errors import Fault, RunError
from reid_lab.tracking.records import parse, sha256
from reid_lab.tracking.runs import RunFolder

RESULT = "results/test.json"
COSTS = ("seconds", "parameters", "trainable", "peak_memory", "gflops_image", "gflops_caption", "latency")
"""Seconds in all, numbers, bytes, GFLOPs per embedded image and caption, seconds an embedding; each where recorded."""

# A journal's lines are mostly losses, so only those of these kinds are parsed; a line begins with its kind.
_WANTED = re.compile(rb'^\{"kind":"(?:param|input|start|val|test|select|artifact)",.*\n', re.MULTILINE)


@final
@dataclass(frozen=True)
class Run:
    """One attempt of one run.

    name: of the spec; experiment: under which it is tracked, the name unless the spec says otherwise.
    seed: None for a run that has none (imported weights). spec: dotted path -> value, the seed and what does not take
    part in the identity left out. metrics: `test/mAP`, `val/mAP` (at the selected step), … in percent.
    digests: data set -> digest. finished: whether its test is.
    """

    folder: RunFolder
    name: str
    experiment: str
    seed: int | None
    spec: Mapping[str, Any]
    metrics: Mapping[str, float]
    digests: Mapping[str, str]
    finished: bool

    @property
    def run_id(self) -> str:
        """`<identity[:12]>-<attempt>`."""
        return self.folder.run_id

    @functools.cached_property
    def facts(self) -> Mapping[str, Any]:
        """What the identity is made of (`identity.json`)."""
        return _json(self.folder.path / "identity.json")

    @property
    def identity(self) -> str:
        """The whole identity."""
        return str(self.facts.get("identity", ""))

    @property
    def metrics_version(self) -> Any:
        """The version of the metrics' code that measured the run."""
        return self.facts.get("metrics")

    @functools.cached_property
    def environment(self) -> Mapping[str, Any]:
        """Commit, versions, machine."""
        return _json(self.folder.path / "environment.json")

    @functools.cached_property
    def inputs(self) -> Mapping[str, Any]:
        """Digests of the code and of the data's parts (`inputs.json`); empty for runs of earlier versions."""
        return _json(self.folder.path / "inputs.json")

    @functools.cached_property
    def cost(self) -> Mapping[str, float]:
        """Of `COSTS`, what the run recorded."""
        summary = _json(self.folder.path / "summary.json")
        return {name: float(summary[name]) for name in COSTS if isinstance(summary.get(name), int | float)}

    def metric(self, name: str) -> float:
        """A metric; `mAP` is `test/mAP`. Raises `RunError` where it is missing or no number."""
        full = full_name(name)
        if full not in self.metrics:
            known = ", ".join(sorted(self.metrics))
            raise RunError(Fault(f"has no metric '{name}'; it has {known or 'none'}", self.run_id))
        value = self.metrics[full]
        if not math.isfinite(value):
            raise RunError(Fault(f"{full} is {value}; a table of it would say nothing", self.run_id))
        return value


def full_name(metric: str) -> str:
    """`mAP` -> `test/mAP`; a name that begins with `val/` or `test/` stays."""
    return metric if metric.startswith(("val/", "test/")) else f"test/{metric}"


def read_run(folder: RunFolder) -> Run:
    """What a run's journal tells. Raises `RunError` on a damaged record."""
    spec: dict[str, Any] = {}
    digests: dict[str, str] = {}
    validations: dict[int, dict[str, float]] = {}
    metrics: dict[str, float] = {}
    name, experiment, best, finished = "", "", -1, False
    try:
        text = folder.journal.read_bytes()
    except FileNotFoundError:
        raise RunError(Fault("has no journal", str(folder.path))) from None
    for line in _WANTED.finditer(text):
        try:
            record = parse(line[0])
        except ValueError:
            what = f"the record that ends at byte {line.end()} is damaged"
            raise RunError(Fault(what, str(folder.journal))) from None
        if record.kind == "param":
            spec[record.name] = record.value
        elif record.kind == "input":
            digests[record.name] = record.value["digest"]
        elif record.kind == "val":
            validations.setdefault(record.step, {})[record.name] = record.value
        elif record.kind == "test":
            metrics[record.name] = record.value
        elif record.kind == "start":
            experiment = str(record.value.get("experiment", ""))
            name = str(record.value.get("run_name", "")).rpartition(" seed ")[0] or experiment
        elif record.kind == "select" and record.name == "select/best_step":
            best = int(record.value)
        elif record.kind == "artifact" and record.name == RESULT:
            finished = True
    seed = spec.pop("seed", None)
    return Run(folder, name, experiment, seed, spec, {**validations.get(best, {}), **metrics}, digests, finished)


def tampered(run: Run) -> str:
    """Why the run's `results/test.json` is not what the journal recorded; empty where it is, or was not kept."""
    path = run.folder.path / RESULT
    if not path.is_file():
        return ""
    recorded = ""
    for line in _WANTED.finditer(run.folder.journal.read_bytes()):
        record = parse(line[0])
        if record.kind == "artifact" and record.name == RESULT:
            recorded = str(record.value["sha256"])
    return "" if sha256(path) == recorded else f"{RESULT} is not the file that the journal recorded"


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise RunError(Fault("is no JSON", str(path))) from None
    return found
