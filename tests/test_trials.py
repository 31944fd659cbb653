"""`experiment.run` as a study calls it: fit alone, told of evaluations, pruned, interrupted, a member of an arm."""

from __future__ import annotations

import pytest
from rich.console import Console

from reid_lab import experiment
from reid_lab.catalogue import load_spec
from reid_lab.engine.checkpoint import BEST, LAST, PREVIOUS
from reid_lab.errors import Pruned, RunError
from reid_lab.experiment import Member
from reid_lab.results import result_of
from reid_lab.tracking.arms import ArmBook
from reid_lab.tracking.attempts import attempts
from reid_lab.tracking.members import members
from reid_lab.tracking.mirror import sync
from reid_lab.tracking.mlflow_store import Store
from tests.lab import STEPS, records, results, status
from tests.tracking.conftest import contents

EVALUATED = [0, 3, 6]


class Caller:
    """Keeps what it is told, and raises at a step."""

    def __init__(self, at=None, error=None):
        self.told, self.at, self.error = [], at, error

    def __call__(self, step, metrics):
        self.told.append((step, dict(metrics)))
        if step == self.at:
            raise self.error

    @property
    def steps(self):
        return [step for step, _ in self.told]


@pytest.fixture
def run(lab):
    def call(*sets, seed=None, **options):
        return experiment.run(
            load_spec(lab.file, sets, seed=seed), runs=lab.runs, console=Console(quiet=True), **options
        )

    return call


@pytest.fixture
def no_training(monkeypatch):
    """From where it is called on, nothing may be trained."""

    def forbidden(*_, **__):
        raise AssertionError("this trains")

    return lambda: monkeypatch.setattr(experiment, "fit", forbidden)


def curve(folder):
    found = {}
    for record in records(folder, "val"):
        found.setdefault(record.step, {})[record.name.removeprefix("val/")] = record.value
    return list(found.items())


def states(lab):
    return [line.split()[3] for line in lab.call("list", "runs", "--runs", str(lab.runs)).out[1:]]


def test_fit_alone_then_test(lab, run, no_training):
    spec = load_spec(lab.file).spec
    identity = experiment.identified(spec, lab.runs)
    assert experiment.found(identity, lab.runs, "fit") is None
    caller = Caller()
    fitted = run(until="fit", on_eval=caller)
    assert fitted.test is None
    assert caller.steps == EVALUATED
    assert caller.told == curve(lab.only)
    assert records(lab.only, "test") == []
    assert (lab.only.summary()["stages"], states(lab), status(lab.only)) == (["fit"], ["fitted"], ("finished", ""))
    assert experiment.found(identity, lab.runs, "fit") == lab.only
    assert experiment.found(identity, lab.runs, "test") is None

    no_training()
    again = Caller()
    assert run(until="fit", on_eval=again).val == fitted.val
    assert again.told == caller.told
    tested = run(on_eval=again)
    assert tested.test is not None
    assert (tested.val, tested.run_id) == (fitted.val, fitted.run_id)
    assert again.told == 2 * caller.told
    assert states(lab) == ["finished"]
    assert experiment.found(identity, lab.runs, "test") == lab.only
    assert run(until="fit").test is None


def test_in_two_calls_or_in_one_the_results_are_the_same(lab, run):
    run(until="fit")
    run()
    two = results(lab.only)
    run(fresh=True)
    assert results(lab.folders()[1]) == two


def test_a_finished_fit_keeps_the_selected_weights_only(lab, run):
    run("checkpoint.every.steps=1", until="fit")
    assert [path.name for path in lab.only.checkpoints.iterdir()] == [BEST]
    run("checkpoint.every.steps=1")
    assert [path.name for path in lab.only.checkpoints.iterdir()] == [BEST]


def test_a_pruned_run_stays_pruned_and_begins_anew_when_it_is_wanted_whole(lab, run, monkeypatch, no_training):
    with pytest.raises(Pruned) as pruned:
        run(until="fit", on_eval=Caller(3, Pruned("not worth it")))
    first = lab.only
    assert pruned.value.run_id == first.run_id
    assert status(first) == ("pruned", "not worth it")
    summary = first.summary()
    assert (summary["stages"], summary["last_step"], summary["pruned"]) == (["pruned"], 3, "not worth it")
    assert [(int(step), metrics) for step, metrics in summary["curve"].items()] == curve(first)
    assert states(lab) == ["pruned"]
    with pytest.raises(RunError, match="was pruned after step 3"):
        result_of(first)

    with monkeypatch.context() as patched:
        patched.setattr(experiment, "fit", None)
        caller = Caller()
        with pytest.raises(Pruned, match="not worth it") as again:
            run(until="fit", on_eval=caller)
    assert again.value.run_id == first.run_id
    assert caller.told == curve(first)
    with pytest.raises(Pruned) as once_more:  # by a caller that was killed before it learnt of it
        run(until="fit", on_eval=Caller(3, Pruned("not worth it")))
    assert once_more.value.run_id == first.run_id
    before = first.journal.read_bytes()
    whole = run()
    assert whole.run_id == f"{first.run_id.rpartition('-')[0]}-2"
    assert whole.test is not None
    assert first.journal.read_bytes() == before
    assert sorted(states(lab)) == ["finished", "pruned"]


def test_pruned_folder_that_was_killed_before_its_end_was_written_is_pruned_again(lab, run):
    with pytest.raises(Pruned):
        run(until="fit", on_eval=Caller(3, Pruned("no")))
    (lab.only.path / "summary.json").unlink()
    caller = Caller(3, Pruned("no"))
    with pytest.raises(Pruned):
        run(until="fit", on_eval=caller)
    assert caller.steps == [0, 3]
    assert lab.only.summary()["stages"] == ["pruned"]


@pytest.mark.parametrize(
    ("every", "died_at", "before", "after"),
    [
        (1, 6, [0, 3], [6]),  # `last` holds step 5
        (2, 3, [0], [3, 6]),  # `last` holds step 2
        (4, 6, [0, 3], [6]),  # `last` holds step 4
        (100, 3, [], [0, 3, 6]),  # nothing was saved
    ],
)
def test_a_caller_that_was_killed_learns_what_it_missed(lab, run, monkeypatch, every, died_at, before, after):
    sets = (f"checkpoint.every.steps={every}",)
    with pytest.raises(KeyboardInterrupt):
        run(*sets, until="fit", on_eval=Caller(died_at, KeyboardInterrupt()))
    caller, begun, fit = Caller(), [], experiment.fit

    def training(*arguments, **options):
        begun.extend(caller.steps)
        return fit(*arguments, **options)

    monkeypatch.setattr(experiment, "fit", training)
    run(*sets, until="fit", on_eval=caller)
    assert begun == before
    assert caller.steps == before + after
    assert caller.told == curve(lab.only)
    run(*sets, fresh=True, until="fit")
    assert results(lab.folders()[0]) == results(lab.folders()[1])


def test_what_was_missed_can_prune_before_anything_is_trained(lab, run, no_training):
    with pytest.raises(KeyboardInterrupt):
        run("checkpoint.every.steps=1", until="fit", on_eval=Caller(6, KeyboardInterrupt()))
    no_training()
    with pytest.raises(Pruned):
        run("checkpoint.every.steps=1", until="fit", on_eval=Caller(3, Pruned("no")))
    assert lab.only.finished("pruned")


def test_a_run_whose_weights_were_dropped_begins_anew_where_they_are_needed(lab, run):
    fitted = run(until="fit")
    lab.only.amend({"weights": "dropped: trial 0 of a was not its arm's best"})
    for file in lab.only.checkpoints.iterdir():
        file.unlink()
    first = lab.only
    assert run(until="fit").run_id == fitted.run_id
    with pytest.raises(RunError, match=r"its weights are gone; dropped: trial 0 of a was not its arm's best"):
        _ = first.selected
    assert run().run_id == f"{fitted.run_id.rpartition('-')[0]}-2"


def test_members_are_recorded_once_also_of_runs_that_were_there_before(lab, run):
    run()
    places = Member("ablation", "full", "ablation/full"), Member("tuning", "full", "tuning/full", trial=7)
    for place in places * 2:
        run(member=place)
    assert list(members(lab.only.journal)) == list(places)
    run(seed=1, until="fit", member=places[1])
    (other,) = (folder for folder in lab.folders() if folder.summary()["seed"] == 1)
    run(seed=1, member=places[1])
    assert list(members(other.journal)) == [places[1]]


def test_identities_are_told_without_computing_and_with_the_data_opened_once(lab, run, monkeypatch):
    opened, source = [], experiment.open_source
    monkeypatch.setattr(experiment, "open_source", lambda *a, **o: opened.append(a) or source(*a, **o))
    monkeypatch.setattr(experiment, "_digests", {})
    found = [experiment.identified(load_spec(lab.file, [f"seed={seed}"]).spec, lab.runs) for seed in range(5)]
    assert len(set(found)) == 5
    assert len(opened) == 1
    experiment.identified(load_spec(lab.file, ["data.seed=1"]).spec, lab.runs)
    assert len(opened) == 2
    assert not lab.runs.exists()
    run("train.length.epochs=1", seed=3)
    assert not lab.only.run_id.startswith(found[3][:12])
    run(seed=3)
    assert attempts(lab.runs, found[3])[0].summary()["last_step"] == STEPS


def test_files_of_a_failed_run_stay_to_go_on_with(lab, run):
    with pytest.raises(RuntimeError):
        run("checkpoint.every.steps=1", until="fit", on_eval=Caller(6, RuntimeError("lost")))
    assert {LAST, PREVIOUS} <= {path.name for path in lab.only.checkpoints.iterdir()}
    assert status(lab.only) == ("failed", "lost")


def test_mlflow_shows_trials_and_cells_below_their_arm_and_holds_weights_of_cells_once(lab, run):
    store = Store.of(lab.runs)
    store.client()
    arm = ArmBook(lab.runs, "family", "full", key="0" * 64, experiment="tiny", params={"design": "sweep"})
    sets = ("train.length.epochs=1", "tracking={uri: null, images: 0}")
    trial = run(*sets, "seed=1", until="fit", member=Member("family", "full", arm.id, trial=0))
    with pytest.raises(Pruned):
        run(*sets, "seed=2", until="fit", member=Member("family", "full", arm.id, trial=1), on_eval=Caller(3, Pruned()))
    cell = run(*sets, member=Member("family", "full", arm.id))
    arm.measured(1, cell.test)
    arm.stop("finished")
    arm.close()
    assert {sent.problem for sent in sync(lab.runs)} == {None}
    parent = contents(store, "family/full-000000000000")
    assert {(k, step, value) for k, step, value, _ in parent["points"]} == {
        (f"test/{name}", 1, value) for name, value in cell.test.items()
    }
    pruned = next(folder.run_id for folder in lab.folders() if folder.finished("pruned"))
    held = {run_id: contents(store, run_id) for run_id in (trial.run_id, pruned, cell.run_id)}
    assert {found["tags"]["mlflow.parentRunId"] for found in held.values()} == {parent["id"]}
    assert [found["status"] for found in held.values()] == ["FINISHED", "KILLED", "FINISHED"]
    assert [found["tags"]["reid_lab.status"] for found in held.values()] == ["finished", "pruned", "finished"]
    assert [found["tags"].get("reid_lab.trial") for found in held.values()] == ["0", "1", None]
    assert [found["params"]["seed"] for found in held.values()] == ["1", "2", "0"]
    assert [len(found["models"]) for found in held.values()] == [0, 0, 1]
    best = cell.folder / "checkpoints" / BEST
    assert best.stat().st_nlink == 2
    (kept,) = store.artifacts.rglob(BEST)
    assert kept.samefile(best)
