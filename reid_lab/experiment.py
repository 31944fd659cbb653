"""The one path from a spec to a result: fit on train, select on val, look at test once.

`run` computes a spec for one seed in two stages. `fit` is handed a data set without its test items.
`test` evaluates the selected weights once; every later look (`evaluate_run`) is recorded, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from torch import Tensor

from reid_lab import console as shown
from reid_lab import measuring
from reid_lab.assembly import (
    Labels,
    Parts,
    Source,
    assemble,
    check_named,
    fit_plan,
    identify_run,
    init_file,
    open_source,
)
from reid_lab.contracts import RunResult
from reid_lab.data.items import left_out_in_words
from reid_lab.data.loader import TrainStream
from reid_lab.data.protocols import Retrieval
from reid_lab.data.splits import only
from reid_lab.engine.checkpoint import load_weights
from reid_lab.engine.evaluate import peak_memory
from reid_lab.engine.fit import fit
from reid_lab.engine.plan import FitPlan
from reid_lab.engine.runtime import Runtime
from reid_lab.engine.silent import Mute
from reid_lab.engine.terms import check_stages
from reid_lab.errors import DataError, Fault, Interrupted, RunError, UserError
from reid_lab.measuring import Found
from reid_lab.refit import refit
from reid_lab.reload import recorded, reloaded, respecified
from reid_lab.results import draw, keep, mark, report, result_of
from reid_lab.spec.identity import run_id
from reid_lab.spec.loader import Loaded
from reid_lab.spec.run import RunSpec
from reid_lab.spec.section import walk
from reid_lab.spec.show import resolved_yaml
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.mirror import Mirror, sync
from reid_lab.tracking.mlflow_store import Store
from reid_lab.tracking.provenance import environment, source
from reid_lab.tracking.records import seconds_spent
from reid_lab.tracking.replay import unsent
from reid_lab.tracking.runs import RunFolder, attempts, find, write_atomic


def run(
    loaded: Loaded,
    *,
    runs: Path,
    console: Console,
    fresh: bool = False,
    resume: bool = False,
    labels: Labels | None = None,
) -> RunResult:
    """Computes a run, goes on with an unfinished attempt, or prints a finished one.

    fresh: begins the next attempt. resume: refuses to begin one. labels: further labels of the
    training groups. Raises `UserError`s only, for all that the user can mend.
    """
    spec = loaded.spec
    runtime = Runtime.start(spec.runtime.device, spec.runtime.precision, spec.runtime.threads, spec.runtime.compile)
    try:
        runtime.main_only(lambda: check_named(spec, runs))
        whole = _opened_once(spec, labels, runtime)
        name, identity_parts = identify_run(spec, whole, runs)
        folder = runtime.main_only(lambda: _attempt(name, runs, fresh=fresh, resume=resume))
        if not runtime.main_only(lambda: folder.finished("test")):
            training = _prepared(spec, whole)
            sources = dict(whole.dataset.sources)
            facts = {"identity": name, **identity_parts, "facts": asdict(whole.facts), "sources": sources}
            with _opened(folder, loaded, runtime, facts) as book:
                _tell_left_out(whole, book, console)
                if not runtime.main_only(lambda: folder.finished("fit")):
                    _fit(training, folder, book, init_file(spec, runs), console)
                tested = training.parts
                if spec.train.fit_on == "train+val":
                    selected = runtime.main_only(folder.summary)["best_step"]
                    tested = refit(
                        training.parts,
                        whole,
                        steps_per_epoch=training.stream.steps_per_epoch,
                        selected=selected,
                        start=init_file(spec, runs),
                        folder=folder,
                        book=book,
                    )
                if not runtime.main_only(lambda: folder.finished("test")):
                    _test(tested.over(whole), folder, book)
        elif runtime.is_main:
            console.print(f"{folder.run_id} is finished already (--fresh computes it again)")
            _catch_up(folder, spec, console)
        return runtime.main_only(lambda: report(folder, console, spec))
    finally:
        runtime.close()


@dataclass(frozen=True)
class _Training:
    """What `fit` computes with; it holds no test items, unless the spec selects on them."""

    parts: Parts
    stream: TrainStream
    plan: FitPlan
    tasks: tuple[Retrieval, ...]


def _prepared(spec: RunSpec, whole: Source) -> _Training:
    """Everything that can be found wrong before the run's folder exists: a spec that cannot be built leaves nothing."""
    on_test = spec.eval.select_on == "test"
    parts = assemble(spec, whole if on_test else replace(whole, dataset=only(whole.dataset, ("train", "val"))))
    split = "test" if on_test else "val"
    asked = measuring.tasks(parts, split)
    if not asked and spec.eval.select_on != "last":
        raise DataError(f"eval.select_on: {spec.data.name} has no {split} split to select on; allowed here: last")
    stream = parts.stream()
    plan = fit_plan(spec, stream.steps_per_epoch)
    check_stages(parts.model, plan.stages)
    return _Training(parts, stream, plan, asked)


def _catch_up(folder: RunFolder, spec: RunSpec, console: Console) -> None:
    """Sends to MLflow what a process that was killed at the very end had not sent."""
    if spec.tracking.uri == "off" or not unsent(folder.path, Store.of(folder.path.parent, spec.tracking.uri)):
        return
    for sent in sync(folder.path.parent, [folder.run_id], spec.tracking.uri):
        if sent.problem is not None:
            console.print(f"mlflow does not hold all of it: {sent.problem}")


def _opened_once(spec: RunSpec, labels: Labels | None, runtime: Runtime) -> Source:
    """The data, rendered by the first rank before the others read it."""
    held: list[Source] = []
    runtime.main_only(lambda: held.append(open_source(spec.data, labels, trained=True)))
    return held[0] if held else open_source(spec.data, labels, trained=True)


def _attempt(name: str, runs: Path, *, fresh: bool, resume: bool) -> RunFolder:
    """The attempt at a run that is to be computed, or that is finished already."""
    there = next(p for p in (runs.absolute(), *runs.absolute().parents) if p.exists())
    if not there.is_dir():
        raise RunError(Fault(f"is no folder; runs cannot be kept in {runs}", str(there)))
    known = attempts(runs, name)
    if resume and (not known or known[-1].finished("test")):
        state = "is finished" if known else "was never begun"
        raise RunError(f"--resume: the run {name[:12]} {state}; leave --resume out, or give --fresh")
    latest = known[-1].attempt if known else 0
    return RunFolder(runs / run_id(name, latest + 1 if fresh or not known else latest))


@contextmanager
def _opened(folder: RunFolder, loaded: Loaded, runtime: Runtime, facts: dict[str, Any]) -> Iterator[Journal | None]:
    """The run's folder, locked, with its journal and mirror; on ranks other than the first, nothing."""
    if not runtime.is_main:
        yield None
        return
    spec = loaded.spec
    strict = runtime.device.type == "cpu"
    with RunLock(folder.path), Journal(folder.journal, strict=strict) as journal:
        mirror: Mirror | None = None
        try:
            _begin(folder, loaded, journal, runtime, facts)
            if spec.tracking.uri != "off":
                mirror = Mirror(journal, Store.of(folder.path.parent, spec.tracking.uri))
            yield journal
            journal.stop("finished")
        except (Interrupted, KeyboardInterrupt):
            journal.stop("interrupted")
            raise
        except BaseException as error:
            journal.stop("failed", " ".join(str(error).split())[:500] or type(error).__name__)
            raise
        finally:
            if mirror is not None:
                mirror.close(60.0)


def _begin(folder: RunFolder, loaded: Loaded, journal: Journal, runtime: Runtime, facts: dict[str, Any]) -> None:
    """Records what is going to be computed, and from what."""
    spec, code, device = loaded.spec, source(), str(runtime.device)
    changes = code.pop("diff", "")
    written = resolved_yaml(loaded)
    write_atomic(folder.path / "spec.yaml", written)
    facts = {**facts, "spec_file": hashlib.sha256(written.encode()).hexdigest()}
    write_atomic(folder.path / "identity.json", json.dumps(facts, indent=1))
    write_atomic(folder.path / "environment.json", json.dumps({**environment(device), **code}, indent=1))
    write_atomic(folder.path / "changes.diff", changes)
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
            journal.record("param", leaf.path, 0, _plain(leaf.value))
    journal.record("param", "world_size", 0, runtime.world)  # losses agree to 1e-5 only between different sizes
    for name, digest in {spec.data.name: facts["data"], **facts["sources"]}.items():
        journal.record("input", name, 0, {"digest": digest})
    for name in ("spec.yaml", "identity.json", "environment.json", "changes.diff"):
        if (folder.path / name).stat().st_size:
            journal.artifact(name, folder.path / name)
    journal.flush()


def _tell_left_out(whole: Source, book: Journal | None, console: Console) -> None:
    """Says and records which images a run does without."""
    told = left_out_in_words(whole.dataset)
    if told and book is not None:
        console.print(told, markup=False, soft_wrap=True)
        left = whole.dataset.left_out
        book.record("note", "left_out", 0, {"images": len(left), "first": list(left[:100])})


def _plain(value: Any) -> Any:
    """A field's value as plain data (stages are sections in a tuple)."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _fit(training: _Training, folder: RunFolder, book: Journal | None, start: Path | None, console: Console) -> None:
    """Stage one: trains and selects. `start`: the checkpoint to begin from."""
    parts, asked, spec = training.parts, training.tasks, training.parts.spec
    if start is not None:
        load_weights(start, parts.model)
    reporter = shown.reporter(console, "test" if spec.eval.select_on == "test" else "val")
    try:
        result = fit(
            parts.model,
            training.stream,
            training.plan,
            runtime=parts.runtime,
            prepare=parts.prepare_training,
            recorder=book or Mute(),
            folder=folder.checkpoints,
            evaluate=(lambda: measuring.metrics(parts, asked)) if asked else None,
            reporter=reporter,
        )
    finally:
        reporter.close()
        training.stream.close()
    if book is None:
        return
    learned = [p for p in parts.model.parameters() if p.requires_grad]
    summary = {
        "name": spec.name,
        "seed": spec.seed,
        "val": dict(result.best_metrics),
        "best_step": result.best_step,
        "last_step": result.last_step,
        "stopped_early": result.stopped_early,
        "seconds": seconds_spent(folder.journal),
        "weights_sha256": result.weights_sha256,
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        "trainable": sum(p.numel() for p in learned),
        "peak_memory": peak_memory(parts.runtime.device),
        "selected_on": spec.eval.select_on,
    }
    book.record("final", "final/weights", result.last_step, {"sha256": result.weights_sha256, "best": result.best_step})
    book.flush()
    folder.finish("fit", summary)


def _test(parts: Parts, folder: RunFolder, book: Journal | None) -> None:
    """Stage two: the selected weights, once on test."""
    if book is None:
        return
    load_weights(folder.selected, parts.model)
    asked = measuring.tasks(parts, "test")
    if not asked:
        folder.finish("test", {"test": None})
        return
    step = folder.summary()["best_step"]
    pictures = np.array_split(np.arange(parts.spec.tracking.images), len(asked))
    found = []
    for numbers, (one, queries, gallery) in zip(pictures, measuring.measured(parts, asked), strict=True):
        found.append(one)
        for number, path in draw(parts, folder, one.task, queries, gallery, numbers.tolist()):
            book.artifact(f"images/ranking_{number}.png", path, step)
    metrics = measuring.summary(parts, found)
    for name, value in metrics.items():
        book.record("test", f"test/{name}", step, value)
    spec = parts.spec
    about = {"protocol": spec.eval.protocol, "selected_on": spec.eval.select_on, "fitted_on": spec.train.fit_on}
    keep(folder, metrics, found, about)
    book.artifact("results/test.json", folder.results / "test.json", step)
    book.flush()
    folder.finish("test", {"test": metrics})


def evaluate_run(
    name: str,
    runs: Path,
    *,
    console: Console,
    sets: Sequence[str] = (),
    device: str | None = None,
    seen: Callable[[Parts, Found, Tensor, Tensor], None] | None = None,
) -> dict[str, float]:
    """Tests a finished run's selected weights again, on its own or on other data; the look is recorded.

    `seen` is told of every task with the embeddings of its queries (Q, D) and gallery (G, D).
    """
    folder = find(runs, name)
    facts = recorded(folder)
    result = result_of(folder)
    spec = respecified(folder, sets, device)
    whole = open_source(spec.data)
    parts = reloaded(folder, spec, whole, facts)
    asked = measuring.tasks(parts, "test")
    if not asked:
        raise UserError(f"{spec.data.name} has nothing to test with protocol {spec.eval.protocol}")
    found = []
    for one, queries, gallery in measuring.measured(parts, asked):
        found.append(one)
        if seen is not None:
            seen(parts, one, queries, gallery)
    metrics = measuring.summary(parts, found)
    with RunLock(folder.path), Journal(folder.journal, strict=False) as journal:
        look = {"metrics": metrics, "data": whole.dataset.digest, "protocol": spec.eval.protocol}
        journal.record("note", "look_at_test", result.best_step, look)
    console.print(shown.metrics_table({"test": metrics}, f"{folder.run_id} on {spec.data.name}{mark(result)}"))
    for told in measuring.sentences(measuring.facts(found)):
        console.print(told)
    return metrics
