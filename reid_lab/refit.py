"""`train.fit_on: train+val`: train anew on all training identities, for the length that val has selected.

What was selected is the moment at which training ended, as a number of epochs: the second training has more
data, hence more steps in as many epochs, and its schedules keep the planned horizon. Its last weights are
tested, once; nothing is selected and val is not measured again. Records carry `refit` in their names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, final

from reid_lab import console as shown
from reid_lab.assembly import Parts, Source, assemble, fit_plan
from reid_lab.contracts import Recorder
from reid_lab.data.items import facts as data_facts
from reid_lab.data.seal import sealed
from reid_lab.data.splits import View, merge_val, only
from reid_lab.engine.checkpoint import drop_state, load_weights
from reid_lab.engine.fit import fit
from reid_lab.engine.silent import Mute
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.runs import RunFolder


@final
class Renamed:
    """Hands records on under names of their own: `loss/sdm` becomes `loss/refit/sdm`, `best` becomes `refit_best`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def record(self, kind: str, name: str, step: int, value: Any) -> None:
        """As in `Recorder`."""
        group, slash, rest = name.partition("/")
        self._recorder.record(kind, f"{group}/refit/{rest}" if slash else f"refit_{name}", step, value)

    def flush(self) -> None:
        """As in `Recorder`."""
        self._recorder.flush()


def merged(source: Source) -> Source:
    """Train and val as one training split, without test."""
    dataset = only(source.dataset, ("train", "val"))
    items = merge_val(dataset.items)
    view = View(dataset.base, items, dataset.keep, dataset.digest)
    found = data_facts(items, source.facts.roles)
    labels = source.facts.labels if source.labels else found.labels
    facts = replace(source.facts, identities=found.identities, labels=labels)
    return replace(source, dataset=view, facts=facts)


def refit(
    parts: Parts,
    whole: Source,
    *,
    steps_per_epoch: int,
    selected: int,
    start: Path | None,
    folder: RunFolder,
    book: Journal | None,
) -> Parts:
    """The parts with a model that was trained on train and val; goes on with a training that was interrupted.

    Args:
        parts: those of the first training.
        whole: the data.
        steps_per_epoch: of the first training.
        selected: the step that val selected there.
        start: the checkpoint to begin from (`train.init_from`).
        folder: of the run.
        book: its journal; None on ranks other than the first.
    """
    spec, runtime = parts.spec, parts.runtime
    learned_from = merged(whole)
    with sealed(spec.model.name):
        again = assemble(spec, learned_from)
    if not runtime.main_only(lambda: folder.finished("refit")):
        stream = again.stream()
        plan = fit_plan(spec, stream.steps_per_epoch)
        length = min(max(round(selected / steps_per_epoch * stream.steps_per_epoch), 1), plan.total_steps)
        plan = replace(plan, select_on="last", patience=None, eval_every=None, stop_after=length)
        if start is not None:
            load_weights(start, again.model)
        reporter = shown.reporter(shown.stdout(), "val")
        try:
            with sealed(spec.model.name):
                result = fit(
                    again.model,
                    stream,
                    plan,
                    runtime=runtime,
                    prepare=again.prepare_training,
                    recorder=Renamed(book or Mute()),
                    folder=folder.refit,
                    reporter=reporter,
                )
        finally:
            reporter.close()
            stream.close()
        if book is not None:
            value = {"sha256": result.weights_sha256, "step": result.last_step}
            book.record("final", "final/refit_weights", result.last_step, value)
            book.flush()
            facts = {"identities": again.source.facts.identities, "labels": dict(again.source.facts.labels)}
            folder.finish("refit", {"fitted_on": "train+val", "refit_steps": length, "refit_facts": facts})
            drop_state(folder.refit)
    return again
