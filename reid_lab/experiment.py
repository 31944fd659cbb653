"""The one path from a spec to a result: fit on train, select on val, look at test once.

`run` computes a spec for one seed in two stages. `fit` is handed a data set without its test items.
`test` evaluates the selected weights once; every later look (`evaluate_run`) is recorded, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

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
    identify_spec,
    init_file,
    open_source,
)
from reid_lab.contracts import RunResult
from reid_lab.costing import embedding_cost
from reid_lab.data.contents import contents, stored
from reid_lab.data.items import left_out_in_words
from reid_lab.data.loader import TrainStream
from reid_lab.data.protocols import Retrieval
from reid_lab.data.seal import lifted, sealed
from reid_lab.data.splits import only
from reid_lab.engine.checkpoint import drop_state, load_weights, saved_step
from reid_lab.engine.evaluate import peak_memory
from reid_lab.engine.fit import fit
from reid_lab.engine.plan import FitPlan
from reid_lab.engine.runtime import Runtime, computing
from reid_lab.engine.silent import Mute
from reid_lab.engine.terms import check_stages
from reid_lab.errors import DataError, UserError
from reid_lab.measuring import Found
from reid_lab.metrics.retrieval import METRICS_VERSION
from reid_lab.refit import refit
from reid_lab.reload import recorded, reloaded, respecified
from reid_lab.results import draw, keep, mark, report, result_of, spread
from reid_lab.spec.identity import canonical
from reid_lab.spec.loader import Loaded
from reid_lab.spec.run import RunSpec
from reid_lab.spec.section import walk
from reid_lab.tracking.attempts import OnEval, Stage, catch_up, chosen, ended, pruned, tell
from reid_lab.tracking.attempts import found as found
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.members import Member as Member
from reid_lab.tracking.members import claim
from reid_lab.tracking.opening import opened, plain
from reid_lab.tracking.records import seconds_spent
from reid_lab.tracking.runs import RunFolder, find


def run(
    loaded: Loaded,
    *,
    runs: Path,
    console: Console,
    fresh: bool = False,
    resume: bool = False,
    labels: Labels | None = None,
    until: Stage = "test",
    on_eval: OnEval | None = None,
    member: Member | None = None,
) -> RunResult:
    """Computes a run, goes on with an unfinished attempt, or prints a finished one.

    fresh: begins the next attempt. resume: refuses to begin one. labels: further labels of the
    training groups. until: the last stage; after `fit`, the same call with `test` goes on. member: its place in a
    study, which is recorded.

    on_eval(step, metrics) is told of every evaluation on val, in order: before anything is computed, of those that
    an earlier process has left behind, so that a caller that was killed learns what it missed. It may raise
    `Pruned`, which ends the run for good: the same call raises it again, with nothing computed. When such a run is
    wanted with its test, or one whose weights were dropped, it begins anew as the next attempt.

    Raises `UserError`s, for all that the user can mend, and what `on_eval` raises.
    """
    spec = loaded.spec
    runtime = Runtime.start(spec.runtime.device, spec.runtime.precision, spec.runtime.threads, spec.runtime.compile)
    try:
        runtime.main_only(lambda: check_named(spec, runs))
        whole = _opened_once(spec, labels, runtime)
        name, identity_parts = identify_run(spec, whole, runs)
        folder = runtime.main_only(lambda: chosen(name, runs, until, fresh=fresh, resume=resume))
        if runtime.main_only(lambda: ended(folder, until)):
            runtime.main_only(lambda: _again(folder, spec, console, on_eval, member))
        else:
            training = _prepared(spec, whole)
            sources = dict(whole.dataset.sources)
            facts = {"identity": name, **identity_parts, "facts": asdict(whole.facts), "sources": sources}
            with _opened(folder, loaded, runtime, facts, member, whole) as book:
                _tell_left_out(whole, book, console)
                if runtime.main_only(lambda: folder.finished("fit")):
                    runtime.main_only(lambda: tell(folder, on_eval))
                else:
                    _fit(training, folder, book, init_file(spec, runs), console, on_eval)
                if book is not None:
                    drop_state(folder.checkpoints)
                if until == "test":
                    _on_to_test(training, whole, folder, book, init_file(spec, runs))
        result = runtime.main_only(lambda: report(folder, console, spec))
        return replace(result, test=None) if until == "fit" else result
    finally:
        runtime.close()


def identified(spec: RunSpec, runs: Path) -> str:
    """The identity of a spec's run, without computing it.

    A data set is opened once in a process for each section `data`. Raises as `run`, for what is named and not there.
    """
    section = canonical(spec.data.model_dump(mode="json"))
    if section not in _digests:
        _digests[section] = open_source(spec.data, trained=True).dataset.digest
    return identify_spec(spec, _digests[section], runs)[0]


_digests: dict[str, str] = {}


def _again(folder: RunFolder, spec: RunSpec, console: Console, on_eval: OnEval | None, member: Member | None) -> None:
    """A run that is asked for again, and has ended."""
    if member is not None:
        claim(folder, member)
    catch_up(folder, spec.tracking.uri, console.print)
    tell(folder, on_eval)
    if folder.finished("pruned"):
        raise pruned(folder)
    console.print(f"{folder.run_id} is finished already (--fresh computes it again)")


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
    learned_from = whole if on_test else replace(whole, dataset=only(whole.dataset, ("train", "val")))
    with _sealed(spec):
        parts = assemble(spec, learned_from)
    split = "test" if on_test else "val"
    asked = measuring.tasks(parts, split)
    if not asked and spec.eval.select_on != "last":
        raise DataError(f"eval.select_on: {spec.data.name} has no {split} split to select on; allowed here: last")
    stream = parts.stream()
    plan = fit_plan(spec, stream.steps_per_epoch)
    check_stages(parts.model, plan.stages)
    return _Training(parts, stream, plan, asked)


def _sealed(spec: RunSpec) -> AbstractContextManager[None]:
    """Keeps test items from what is fitted, unless the spec selects on them, which marks the run."""
    return nullcontext() if spec.eval.select_on == "test" else sealed(spec.model.name)


def _opened_once(spec: RunSpec, labels: Labels | None, runtime: Runtime) -> Source:
    """The data, rendered by the first rank before the others read it."""
    held: list[Source] = []
    runtime.main_only(lambda: held.append(open_source(spec.data, labels, trained=True)))
    return held[0] if held else open_source(spec.data, labels, trained=True)


@contextmanager
def _opened(
    folder: RunFolder, loaded: Loaded, runtime: Runtime, facts: dict[str, Any], member: Member | None, whole: Source
) -> Iterator[Journal | None]:
    """The run's folder, as `tracking.opening.opened`; on ranks other than the first, nothing."""
    if not runtime.is_main:
        yield None
        return
    with opened(
        folder,
        loaded,
        facts,
        device=str(runtime.device),
        world=runtime.world,
        member=member,
        computing=computing(runtime.device),
        inputs={"data": contents(whole.dataset), "tested": stored(whole.dataset).digest},
    ) as journal:
        yield journal


def _tell_left_out(whole: Source, book: Journal | None, console: Console) -> None:
    """Says and records which images a run does without."""
    told = left_out_in_words(whole.dataset)
    if told and book is not None:
        console.print(told, markup=False, soft_wrap=True)
        left = whole.dataset.left_out
        book.record("note", "left_out", 0, {"images": len(left), "first": list(left[:100])})


def _fit(
    training: _Training,
    folder: RunFolder,
    book: Journal | None,
    start: Path | None,
    console: Console,
    on_eval: OnEval | None,
) -> None:
    """Stage one: trains and selects. `start`: the checkpoint to begin from."""
    parts, asked, spec = training.parts, training.tasks, training.parts.spec
    if start is not None:
        load_weights(start, parts.model)
    parts.runtime.main_only(lambda: tell(folder, on_eval, saved_step(folder.checkpoints)))

    def evaluated(step: int, metrics: Mapping[str, float]) -> None:
        if on_eval is not None:
            with lifted():
                on_eval(step, metrics)

    reporter = shown.reporter(console, "test" if spec.eval.select_on == "test" else "val")
    try:
        with _sealed(spec):
            result = fit(
                parts.model,
                training.stream,
                training.plan,
                runtime=parts.runtime,
                prepare=parts.prepare_training,
                recorder=book or Mute(),
                folder=folder.checkpoints,
                evaluate=(lambda: measuring.metrics(parts, asked)) if asked else None,
                on_eval=evaluated,
                reporter=reporter,
            )
    finally:
        reporter.close()
        training.stream.close()
    if book is None:
        return
    learned = [p for p in parts.model.parameters() if p.requires_grad]
    summary: dict[str, Any] = {
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
    summary |= _cost(parts, book)
    book.record("final", "final/weights", result.last_step, {"sha256": result.weights_sha256, "best": result.best_step})
    book.flush()
    folder.finish("fit", summary)


def _cost(parts: Parts, book: Journal) -> Mapping[str, Any]:
    """What an embedding costs; a model that cannot be asked for one has been trained all the same."""
    try:
        return embedding_cost(parts.model, parts.source.facts, parts.runtime)
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        book.record("note", "cost", 0, f"the cost of an embedding is not known: {type(error).__name__}: {why}")
        return {}


def _on_to_test(
    training: _Training, whole: Source, folder: RunFolder, book: Journal | None, start: Path | None
) -> None:
    """From a finished `fit` to a finished `test`, by way of the second training that the spec may ask for."""
    main_only, tested = training.parts.runtime.main_only, training.parts
    if tested.spec.train.fit_on == "train+val":
        tested = refit(
            training.parts,
            whole,
            steps_per_epoch=training.stream.steps_per_epoch,
            selected=main_only(folder.summary)["best_step"],
            start=start,
            folder=folder,
            book=book,
        )
    if not main_only(lambda: folder.finished("test")):
        _test(tested.over(whole), folder, book)


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
    pictures = spread(parts.spec.tracking.images, len(asked))
    found = []
    for numbers, (one, queries, gallery) in zip(pictures, measuring.measured(parts, asked), strict=True):
        found.append(one)
        for number, path in draw(parts, folder, one.task, queries, gallery, numbers):
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
        look = {
            "metrics": metrics,
            "name": spec.data.name,
            "data": whole.dataset.digest,
            "tested": stored(whole.dataset).digest,
            "protocol": spec.eval.protocol,
            "metrics_version": METRICS_VERSION,
            "spec": {leaf.path: plain(leaf.value) for leaf in walk(spec.eval, "eval.") if not leaf.local},
        }
        journal.record("note", "look_at_test", result.best_step, look)
    console.print(shown.metrics_table({"test": metrics}, f"{folder.run_id} on {spec.data.name}{mark(result)}"))
    for told in measuring.sentences(measuring.facts(found)):
        console.print(told)
    return metrics
