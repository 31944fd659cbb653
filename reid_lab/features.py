"""Exact metrics for the features of anybody's own code: two npz files in, a run like any other out.

Each file holds `features` (n, D) and `pids` (n,), negative where unknown; and, if known, `camids`, `scenes`,
`clothes` and `image_ids` (n,), integers, and `names` or `paths` (n,), strings, for rankings.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from reid_lab import console as shown
from reid_lab import measuring, rankings
from reid_lab.catalogue import registries
from reid_lab.data.items import ABSENT, Groups
from reid_lab.data.protocols import PROTOCOLS, Retrieval
from reid_lab.engine.runtime import Runtime
from reid_lab.errors import DataError, Fault, RunError, SpecError, nearest, unknown
from reid_lab.metrics.retrieval import METRICS_VERSION
from reid_lab.results import keep
from reid_lab.spec.identity import identifying, identity, run_id
from reid_lab.spec.loader import load_section
from reid_lab.spec.run import EvalSpec, TrackingSpec
from reid_lab.spec.section import LOCAL, Section
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.mirror import Mirror
from reid_lab.tracking.mlflow_store import Store
from reid_lab.tracking.provenance import environment, source
from reid_lab.tracking.runs import RunFolder, attempts, write_atomic
from reid_lab.tracking.ui import run_link

Metric = Literal["cosine", "inner"]
LABELS = ("pids", "camids", "scenes", "clothes", "image_ids")
NAMES = ("names", "paths")
KEYS = ("features", *LABELS, *NAMES)
_ROWS = 1 << 15  # that are normalised at a time
_DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)


class AskedSpec(Section):
    """What overrides may ask of features: `--set eval.…`, `--set tracking.…`."""

    eval: EvalSpec = EvalSpec()
    tracking: Annotated[TrackingSpec, LOCAL] = TrackingSpec()


class FeaturesSpec(AskedSpec):
    """Everything that is asked of features."""

    name: Annotated[str, LOCAL]
    metric: Metric


@dataclass(frozen=True)
class Side:
    """The queries or the gallery: features (n, D) float32, groups, names; the sha256 of the file's arrays."""

    features: np.ndarray
    groups: Groups
    names: list[str]
    digest: str


def evaluate_features(
    files: tuple[Path, Path],
    runs: Path,
    *,
    console: Console,
    protocol: str | None = None,
    name: str | None = None,
    metric: Metric = "cosine",
    sets: Sequence[str] = (),
    device: str | None = None,
    ranked: Path | None = None,
    top: int = 100,
) -> dict[str, float]:
    """Measures features, journals the run and prints it; the same command prints the finished run.

    Args:
        files: of queries and gallery.
        protocol: a name of `PROTOCOLS`; None: `image_to_image` where both files know cameras, else `text_to_image`.
        name: what the run is called; None: the query file's name.
        metric: `cosine` normalises the features, `inner` takes them as they are.
        sets: overrides of `eval` and `tracking`.
        ranked: where to write the first `top` gallery ids of every query. Queries without any label are ranked
            and not measured.

    Raises:
        UserError: whatever is wrong with the files, all of it; an option that is unknown; a protocol that the
            labels do not serve.
    """
    if ranked is not None:
        rankings.check(ranked)
    queries, gallery = _both(files, metric)
    spec = _spec(name or files[0].stem, metric, protocol or _fitting(queries, gallery), sets, protocol)
    assert spec.eval.protocol is not None
    judge = PROTOCOLS[spec.eval.protocol]
    asked = judge.given(queries.groups, gallery.groups, measuring.options(spec.eval, {}))
    runtime = Runtime.start(device or "auto", threads=torch.get_num_threads())
    how = measuring.scoring(spec.eval, runtime.device)
    vectors = torch.from_numpy(queries.features), torch.from_numpy(gallery.features)
    metrics: dict[str, float] = {}
    if bool((queries.groups.pids >= 0).any()):
        metrics = _measured(spec, (queries, gallery), asked, vectors, how, runs, console)
    elif ranked is None:
        raise DataError(
            Fault("no query is labelled (all pids are negative); --rankings FILE ranks them", str(files[0]))
        )
    else:
        console.print("no query is labelled: they are ranked, and nothing is measured")
    if ranked is not None:
        names = queries.names, gallery.names
        rankings.write(ranked, [rankings.ranked(task, *vectors, how, top=top, names=names) for task in asked])
        console.print(f"rankings {ranked}")
    return metrics


def _measured(
    spec: FeaturesSpec,
    sides: tuple[Side, Side],
    asked: Sequence[Retrieval],
    vectors: tuple[Tensor, Tensor],
    how: measuring.Scoring,
    runs: Path,
    console: Console,
) -> dict[str, float]:
    """The metrics, from a finished run or computed and kept as one."""
    assert spec.eval.protocol is not None
    parts = {"features": [side.digest for side in sides], "metrics": METRICS_VERSION}
    known = identity(spec, parts)
    earlier = attempts(runs, known)
    folder = earlier[-1] if earlier else RunFolder(runs / run_id(known, 1))
    if folder.finished("test"):
        console.print(f"{folder.run_id} is finished already")
    else:
        if runs.exists() and not runs.is_dir():
            raise RunError(Fault("is no folder; runs cannot be kept in it", str(runs)))
        found = [measuring.score(task, *vectors, how) for task in asked]
        metrics = PROTOCOLS[spec.eval.protocol].summary({one.task.name: one.metrics for one in found})
        _journal(folder, spec, {"identity": known, **parts}, sides, found, metrics, how)
        for told in measuring.sentences(measuring.facts(found)):
            console.print(told)
    result: dict[str, float] = folder.summary()["test"]
    console.print(
        shown.metrics_table({"test": result}, f"{folder.summary()['name']}, {spec.eval.protocol}, {spec.metric}")
    )
    console.print(f"run      {folder.run_id}")
    console.print(f"folder   {folder.path}")
    if spec.tracking.uri != "off" and (link := run_link(runs, folder.run_id, spec.tracking.uri)):
        console.print(f"mlflow   {link}")
    return result


def _journal(
    folder: RunFolder,
    spec: FeaturesSpec,
    facts: Mapping[str, object],
    sides: tuple[Side, Side],
    found: Sequence[measuring.Found],
    metrics: Mapping[str, float],
    how: measuring.Scoring,
) -> None:
    """The run's folder: what was measured, from what, and what came out."""
    code = source()
    code.pop("diff", None)
    with RunLock(folder.path), Journal(folder.journal, strict=False) as journal:
        write_atomic(folder.path / "identity.json", json.dumps(facts, indent=1))
        write_atomic(folder.path / "environment.json", json.dumps({**environment(str(how.device)), **code}, indent=1))
        journal.start(
            run_id=folder.run_id,
            experiment=spec.tracking.experiment or spec.name,
            run_name=spec.name,
            tags={"reid_lab.identity": str(facts["identity"]), "reid_lab.features": "true"},
        )
        mirror = None
        try:
            if spec.tracking.uri != "off":
                mirror = Mirror(journal, Store.of(folder.path.parent, spec.tracking.uri))
            fields = identifying(spec)
            options = {f"eval.{key}": value for key, value in fields.pop("eval").items() if key in _ASKED}
            for key, value in {"metric": fields["metric"], **options}.items():
                journal.record("param", key, 0, value)
            for which, side in zip(("queries", "gallery"), sides, strict=True):
                journal.record("input", which, 0, {"digest": side.digest})
            for key, value in metrics.items():
                journal.record("test", f"test/{key}", 0, value)
            keep(folder, metrics, found, {"protocol": spec.eval.protocol, "metric": spec.metric})
            for artifact in ("identity.json", "environment.json", "results/test.json", "results/test.npz"):
                journal.artifact(artifact, folder.path / artifact)
            journal.flush()
            folder.finish("test", {"name": spec.name, "seed": "", "features": True, "test": dict(metrics)})
            journal.stop("finished")
        except BaseException as error:
            journal.stop("failed", " ".join(str(error).split())[:500] or type(error).__name__)
            raise
        finally:
            if mirror is not None:
                mirror.close(60.0)


_ASKED = ("protocol", "removed", "no_match", "ap", "gallery", "expansion", "rerank")


def _fitting(queries: Side, gallery: Side) -> str:
    """The protocol of images where both sides know cameras, else that of texts."""
    cameras = all((side.groups.camids != ABSENT).any() for side in (queries, gallery))
    return "image_to_image" if cameras else "text_to_image"


def _spec(name: str, metric: Metric, default: str, sets: Sequence[str], protocol: str | None) -> FeaturesSpec:
    """The options from overrides. Raises `SpecError` with every fault."""
    named = [f"eval.protocol={json.dumps(protocol)}"] if protocol is not None else []
    built = load_section(AskedSpec, [f"eval.protocol={json.dumps(default)}", *sets, *named])
    if built.eval.protocol is None:
        raise SpecError("eval.protocol is null: features are measured by a protocol")
    if built.eval.protocol not in registries().protocols:
        raise SpecError(unknown("protocol", built.eval.protocol, PROTOCOLS))
    return FeaturesSpec(name=name, metric=metric, eval=built.eval, tracking=built.tracking)


def _both(files: tuple[Path, Path], metric: Metric) -> tuple[Side, Side]:
    """Both files. Raises `DataError` with everything that is wrong with either."""
    faults: list[Fault] = []
    read = [_side(file, metric, faults) for file in files]
    first, second = read
    if first is not None and second is not None and first.features.shape[1] != second.features.shape[1]:
        widths = first.features.shape[1], second.features.shape[1]
        faults.append(Fault(f"features are {widths[1]} wide, those of {files[0]} are {widths[0]}", str(files[1])))
    if faults or first is None or second is None:
        raise DataError(*faults)
    return first, second


def _side(file: Path, metric: Metric, faults: list[Fault]) -> Side | None:
    """One file; what is wrong with it is added to `faults`."""
    before = len(faults)
    arrays = _arrays(file, faults)
    if arrays is None:
        return None

    def fault(what: str) -> None:
        faults.append(Fault(what, str(file)))

    others = [key for key in arrays if key not in KEYS]
    for key in ("features", "pids"):
        if key not in arrays and not any(f"'{key}' holds" in told.what for told in faults[before:]):
            near = nearest(key, others)
            fault(f"no key '{key}' in it" + (f"; is '{near}' meant?" if near else f" (it has {', '.join(arrays)})"))
    for key in others:
        near = nearest(key, [k for k in KEYS if k not in arrays and k not in ("features", "pids")])
        if near is not None:
            fault(f"unknown key '{key}'; did you mean '{near}'?")
    features = arrays.get("features")
    count = None
    if features is not None:
        count = _check_features(features, metric, fault)
    for key in (*LABELS, *NAMES):
        if key in arrays:
            _check_label(key, arrays[key], count, fault)
    if len(faults) > before or features is None:
        return None
    n = len(features)
    label = {key: arrays.get(key, np.full(n, ABSENT)).astype(np.int64) for key in LABELS}
    more: dict[str, np.ndarray] = {key: label[key] for key in LABELS if key in arrays and key in ("scenes", "clothes")}
    named = next((arrays[key].astype(str).tolist() for key in NAMES if key in arrays), None)
    groups = Groups({}, label["pids"], label["camids"], label["image_ids"], more)
    return Side(_normalised(features, metric), groups, named or [str(k) for k in range(n)], _digest(arrays))


def _arrays(file: Path, faults: list[Fault]) -> dict[str, np.ndarray] | None:
    """The arrays of an npz file, those with Python objects left out as faults."""
    arrays: dict[str, np.ndarray] = {}
    try:
        opened = np.load(file, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise ValueError("a single array")
        with opened as held:
            for key in held.files:
                try:
                    arrays[key] = held[key]
                except ValueError:
                    if key in KEYS:
                        faults.append(
                            Fault(f"'{key}' holds Python objects, which are not read; save numbers", str(file))
                        )
    except FileNotFoundError:
        faults.append(Fault("no such file", str(file)))
        return None
    except _DAMAGED as error:
        what = getattr(error, "strerror", None) or "no npz file: numpy.savez writes one"
        faults.append(Fault(f"cannot be read ({what})", str(file)))
        return None
    return arrays


def _check_features(features: np.ndarray, metric: Metric, fault: Callable[[str], None]) -> int | None:
    """The number of features (n, D), None where it is not known."""
    if features.dtype.kind not in "fiu":
        fault(f"'features' must be numbers, not {features.dtype}")
        return None
    if features.ndim != 2 or 0 in features.shape:
        fault(f"'features' must be (n, D), both above 0, not {features.shape}")
        return len(features) if features.ndim else None
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        fault(f"{int((~finite).sum())} of {len(features)} features are not finite, the first is row {finite.argmin()}")
    elif metric == "cosine" and not (some := features.any(axis=1)).all():
        bad = f"{int((~some).sum())} of {len(features)} features are zero, the first is row {some.argmin()}"
        fault(f"{bad}; they have no direction (--metric inner takes them)")
    return len(features)


def _check_label(key: str, column: np.ndarray, count: int | None, fault: Callable[[str], None]) -> None:
    if key in NAMES and column.dtype.kind not in "USiu":
        fault(f"'{key}' must be strings, not {column.dtype}")
    if key in LABELS and column.dtype.kind not in "iu":
        fault(f"'{key}' must be integers, not {column.dtype}")
    if column.ndim != 1 or (count is not None and len(column) != count):
        fault(f"'{key}' must be ({'n' if count is None else count},), one for each of the features, not {column.shape}")


def _normalised(features: np.ndarray, metric: Metric) -> np.ndarray:
    """Features as float32; for `cosine` divided by their length, which is computed in float64."""
    if metric == "inner":
        return np.ascontiguousarray(features, dtype=np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    made = np.empty(features.shape, dtype=np.float32)
    for start in range(0, len(features), _ROWS):
        rows = slice(start, start + _ROWS)
        made[rows] = features[rows] / lengths[rows, None]
    return made


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The sha256 of all arrays that decide the metrics."""
    digest = hashlib.sha256()
    for key in ("features", *LABELS):
        if key in arrays:
            array = np.ascontiguousarray(arrays[key])
            digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.data)
    return digest.hexdigest()
