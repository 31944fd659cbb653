"""`reid-lab replay`: a run computed again from its recorded spec and seed, in a folder of its own, and compared.

The run itself is only read. What a replay computes lies outside of the folders that selections, studies and `gc` look
into, so that it is never taken for another attempt.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from rich.console import Console

from reid_lab import experiment
from reid_lab.architectures import ARCHITECTURES
from reid_lab.assembly import init_file
from reid_lab.catalogue import load_spec
from reid_lab.engine.runtime import Runtime
from reid_lab.errors import Fault, Pruned, RunError, UserError
from reid_lab.reproducing import records
from reid_lab.reproducing.differences import Difference, Findings
from reid_lab.reproducing.inputs import findings
from reid_lab.reproducing.records import Verdict
from reid_lab.spec.loader import Loaded
from reid_lab.tracking.attempts import Stage
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.runs import RunFolder, find, write_atomic

KEPT = "replays"
"""Where replays are kept below the folder of runs: `replays/<run id>/<number>/<run>`."""


@final
@dataclass(frozen=True)
class Replay:
    """What came of a replay. verdict: None where nothing was trained. folder: of the replay's run, where it is kept."""

    run_id: str
    inputs: Findings
    verdict: Verdict | None
    folder: Path | None
    tolerance: float | None

    @property
    def proven(self) -> bool:
        """Whether the same results came out."""
        return self.verdict is not None and self.verdict.proven


def replay(
    name: str,
    runs: Path,
    *,
    console: Console,
    say: Callable[[str], object],
    anyway: bool = False,
    keep: bool = False,
    tolerance: float | None = None,
) -> Replay:
    """Replays a run: checks its inputs, computes it anew, compares every result.

    Args:
        name: the run's id, or how it begins.
        runs: the folder of runs.
        console: shows the training.
        say: is told what differs, line by line, before the training.
        anyway: computes although an input differs.
        keep: keeps the replay's run in `runs/replays`; else it is deleted.
        tolerance: on a GPU, the relative difference of a number that counts as the same.

    Raises `UserError` for a run that cannot be replayed.
    """
    folder = find(runs, name)
    until = _until(folder)
    held: Mapping[str, Any] = json.loads((folder.path / "environment.json").read_text(encoding="utf-8"))
    device = str(held.get("device", "cpu"))
    if tolerance is not None and device == "cpu":
        raise UserError("--tolerance: the run was computed on a CPU, where bits are compared")
    loaded = _loaded(folder, runs, device)
    spec = loaded.spec
    missing = list[Difference]()
    try:
        runtime = Runtime.start(device, spec.runtime.precision, spec.runtime.threads, spec.runtime.compile)
    except RunError as error:  # a GPU that is not there; what else differs can be told without it
        missing = [Difference("machine", str(fault), fatal=True) for fault in error.faults]
        runtime = Runtime.start("cpu", spec.runtime.precision, spec.runtime.threads)
    try:
        found = findings(folder, loaded, runtime, runs)
        found.differences += missing
    finally:
        runtime.close()
    for difference in found.differences:
        say(f"differs  {difference}")
    for note in found.notes:
        say(f"note     {note}")
    if any(one.fatal for one in found.differences) or (found.differences and not anyway):
        return Replay(folder.run_id, found, None, None, tolerance)
    with _place(folder, runs, keep) as place:
        done = _computed(folder, loaded, place, until, console)
        verdict = records.compare(folder.journal, done.journal, tolerance=tolerance)
        _mark(done, folder, found, verdict)
        return Replay(folder.run_id, found, verdict, done.path if keep else None, tolerance)


def _until(folder: RunFolder) -> Stage:
    """The stage up to which a run was computed. Raises `RunError` for one that trained nothing here, or is not done."""
    summary = folder.summary()
    if summary.get("features"):
        raise RunError(f"{folder.run_id} measured features of other code; nothing was trained that could be replayed")
    if "imported" in summary:
        raise RunError(f"{folder.run_id} was imported; its training happened elsewhere")
    if folder.finished("test"):
        return "test"
    if folder.finished("fit") or folder.finished("pruned"):
        return "fit"
    raise RunError(f"{folder.run_id} is not finished; the command that began it goes on with it")


def _loaded(folder: RunFolder, runs: Path, device: str) -> Loaded:
    """The run's spec on the device that it was computed on, without a tracking server."""
    file = folder.path / "spec.yaml"
    if not file.is_file():
        raise RunError(Fault("is not there; without it nothing can be computed again", str(file)))
    sets = ["tracking.uri=off"]
    spec = load_spec(file, sets, device=device).spec
    if spec.model.name not in ARCHITECTURES:
        raise RunError(f"{folder.run_id}: {spec.model.name} is no registered architecture")
    if spec.train.init_from is not None:  # a run's id would be looked for beside the replay
        sets.append(f"train.init_from={json.dumps(str(init_file(spec, runs)))}")
    return load_spec(file, sets, device=device)


@contextmanager
def _place(folder: RunFolder, runs: Path, keep: bool) -> Iterator[Path]:
    """A fresh folder of runs: one that stays, or one that goes with the process."""
    if not keep:
        with tempfile.TemporaryDirectory(prefix="reid-lab-replay-") as name:
            yield Path(name)
        return
    above = runs / KEPT / folder.run_id
    number = 1 + max((int(path.name) for path in above.glob("*") if path.name.isdigit()), default=0)
    place = above / str(number)
    place.mkdir(parents=True)
    yield place


def _computed(folder: RunFolder, loaded: Loaded, place: Path, until: Stage, console: Console) -> RunFolder:
    """The run, computed anew in a folder of runs that holds nothing else."""
    last = folder.summary().get("last_step") if folder.finished("pruned") else None

    def evaluated(step: int, _: Mapping[str, float]) -> None:
        if last is not None and step >= last:
            raise Pruned("as the run was")

    with suppress(Pruned):
        experiment.run(loaded, runs=place, console=console, until=until, on_eval=evaluated)
    (done,) = (RunFolder(path.parent) for path in place.glob("*/journal.jsonl"))
    return done


def _mark(done: RunFolder, folder: RunFolder, found: Findings, verdict: Verdict) -> None:
    """Says in the replay's own folder what it is, and what it showed."""
    told = {
        "of": folder.run_id,
        "proven": verdict.proven,
        "compared": dict(verdict.compared),
        "differing": verdict.differing,
        "first": verdict.first,
        "inputs": [str(one) for one in found.differences],
    }
    with RunLock(done.path), Journal(done.journal, strict=False) as journal:
        journal.record("note", "replay", 0, told)
    done.amend({"replay_of": folder.run_id})
    write_atomic(done.path / "replay.json", json.dumps(told, indent=1))
