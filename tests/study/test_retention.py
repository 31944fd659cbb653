"""Which weights are kept, which go, and what is said of runs that have none."""

from __future__ import annotations

import json
import os

import pytest
from rich.console import Console

from reid_lab import experiment
from reid_lab.catalogue import load_spec
from reid_lab.engine.checkpoint import BEST, LAST, PREVIOUS
from reid_lab.errors import Pruned, RunError
from reid_lab.experiment import Member
from reid_lab.study.retention import drop_weights, sweep
from reid_lab.tracking.lock import FileLock, RunLock
from reid_lab.tracking.runs import find
from tests.lab import records

SETS = ("train.length.epochs=1", "checkpoint.every.steps=1")
WHY = "trial 7 of family/full was not its arm's best"


@pytest.fixture
def run(lab):
    def call(*sets, **options):
        loaded = load_spec(lab.file, [*SETS, *sets])
        return experiment.run(loaded, runs=lab.runs, console=Console(quiet=True), **options)

    return call


def place(trial, study="family", arm="full"):
    return Member(study, arm, f"{study}/{arm}", trial)


def best(lab, run_id, study="family", arm="full"):
    folder = lab.runs / "studies" / study
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text(json.dumps({"arms": [{"name": arm, "best": run_id and {"run": run_id}}]}))
    return folder


def weights(result):
    return sorted(file.name for file in (result.folder / "checkpoints").iterdir())


def going(lab):
    return {found.folder.run_id: (found.why, sorted(found.files)) for found in sweep(lab.runs)}


def test_a_trial_loses_its_weights_and_says_why(lab, run):
    trial = run(until="fit", member=place(7))
    size = (trial.folder / "checkpoints" / BEST).stat().st_size
    folder = find(lab.runs, trial.run_id)
    assert drop_weights(folder, WHY) == size
    assert drop_weights(folder, "for another reason") == 0
    assert weights(trial) == []
    assert folder.summary()["weights"] == f"dropped: {WHY}"
    assert experiment.result_of(folder).val == trial.val
    for command in (["evaluate"], ["search"], ["inspect"]):
        more = ["a person"] if command == ["search"] else []
        refused = lab.call(*command, trial.run_id, *more, "--runs", str(lab.runs))
        assert refused.code == 2, refused.out
        (line,) = refused.complaints
        assert WHY in line
    refused = lab.run(*SETS, "seed=1", f"train.init_from={trial.run_id}")
    assert WHY in refused.complaints[0]


def test_a_cell_keeps_its_weights(lab, run):
    cell = run(member=place(None))
    run(member=place(7, study="other"))
    assert drop_weights(find(lab.runs, cell.run_id), WHY) == 0
    assert weights(cell) == [BEST]
    best(lab, "nothing-1", study="other")
    assert going(lab) == {}


def test_a_run_in_use_loses_nothing(lab, run):
    trial = run(until="fit", member=place(7))
    best(lab, "another-1")
    folder = find(lab.runs, trial.run_id)
    with RunLock(folder.path):
        assert going(lab) == {}
        with pytest.raises(RunError, match="in use"):
            drop_weights(folder, WHY)
    assert "weights" not in folder.summary()
    assert weights(trial) == [BEST]


def test_gc(lab, run):
    trials = [run(f"seed={seed}", until="fit", member=place(seed)) for seed in (10, 11, 12)]
    with pytest.raises(Pruned):
        run("seed=13", until="fit", member=place(13), on_eval=_raises(Pruned("no")))
    with pytest.raises(RuntimeError):
        run("seed=14", until="fit", member=place(14), on_eval=_raises(RuntimeError("lost")))
    with pytest.raises(KeyboardInterrupt):
        run("seed=15", until="fit", member=place(15), on_eval=_raises(KeyboardInterrupt()))
    pruned, failed, interrupted = (_of_seed(lab, seed) for seed in (13, 14, 15))
    own = run("seed=16")
    (own.folder / "checkpoints" / LAST).write_bytes(b"x" * 2**20)  # a run of an earlier version keeps it
    begun = run("seed=17", f"train.init_from={trials[2].run_id}")
    last = {f"checkpoints/{name}" for name in (LAST, PREVIOUS)}
    certain = {
        own.run_id: ("optimiser's state of a finished run", [f"checkpoints/{LAST}"]),
        pruned: ("pruned", sorted(last & set(_files(lab, pruned)))),
        failed: ("trial 14 of family/full failed", sorted(_files(lab, failed))),
    }
    assert all(files for _, files in certain.values())
    assert going(lab) == certain, "no best is known: trials stay"
    study = best(lab, trials[0].run_id)
    lock = FileLock(study / "lock")
    lock.acquire()
    assert going(lab) == certain, "somebody drives the study"
    lock.release()
    wanted = {**certain, trials[1].run_id: ("trial 11 of family/full was not its arm's best", [f"checkpoints/{BEST}"])}
    assert going(lab) == wanted, "12 was not the best, but a run began from it"

    before = {run_id: _files(lab, run_id) for run_id in (*wanted, interrupted, begun.run_id)}
    dry = lab.call("gc", "--dry-run", "--runs", str(lab.runs))
    assert dry.code == 0
    assert dry.out[0].split() == ["run", "MiB", "files", "why"]
    assert {line.split()[0] for line in dry.out[1:-1]} == set(wanted)
    row = next(line for line in dry.out if line.startswith(own.run_id))
    assert row.split()[1:3] == ["1.0", f"checkpoints/{LAST}"]
    assert row.endswith("optimiser's state of a finished run")
    assert {run_id: _files(lab, run_id) for run_id in before} == before

    done = lab.call("gc", "--runs", str(lab.runs))
    assert done.code == 0
    assert done.out[:-1] == dry.out[:-1]
    assert done.out[-1].replace("were", "would be") == dry.out[-1]
    assert going(lab) == {}
    for kept in (trials[0], trials[2], own, begun):
        assert weights(kept) == [BEST]
    assert [weights(trials[1]), _files(lab, pruned), _files(lab, failed)] == [[], [], []]
    assert _files(lab, interrupted) == before[interrupted]
    assert len(lab.call("list", "runs", "--runs", str(lab.runs)).out) == 9
    assert lab.call("gc", "--runs", str(lab.runs)).out[1:] == ["0.0 MiB were freed"]


def test_what_mlflow_holds_too_is_not_counted_as_freed(lab, run):
    trial = run(until="fit", member=place(7))
    os.link(trial.folder / "checkpoints" / BEST, lab.folder / "artifact.safetensors")
    best(lab, "another-1")
    (found,) = sweep(lab.runs)
    assert (found.size, found.files) == (0, (f"checkpoints/{BEST}",))


def _raises(error):
    def at_the_end(step, metrics):
        if step:
            raise error

    return at_the_end


def _of_seed(lab, seed):
    (found,) = (f for f in lab.folders() if ("seed", seed) in [(r.name, r.value) for r in records(f, "param")])
    return found.run_id


def _files(lab, run_id):
    return sorted(f"checkpoints/{file.name}" for file in (lab.runs / run_id / "checkpoints").iterdir())
