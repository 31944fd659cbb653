"""Studies from the command line: what is computed, what is not computed again, what a failure does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reid_lab import experiment
from reid_lab.study import jobs, owner, search
from reid_lab.study.book import Book
from reid_lab.study.driver import Driver
from reid_lab.study.executors import Executor
from reid_lab.study.jobs import Outcome
from reid_lab.study.load import load_study
from reid_lab.study.view import view
from tests.lab import results, status

ABLATION = """\
base: tiny.yaml
design: leave_one_out
components:
  mlm: {off: {model.mlm: null}}
seeds: [0, 1]
"""
TUNING = """\
base: tiny.yaml
seeds: [0]
tune:
  trials: 4
  fidelity: {train.length: {steps: 6}, eval.every: {steps: 2}}
  search: [train.optimizer.lr]
  pruner: median
"""


@pytest.fixture
def study(lab):
    """Writes a study file and drives it: `study("text", "--trials", "2")`."""

    def call(text: str, *options: str, name: str = "ablation"):
        file = lab.folder / f"{name}.yaml"
        file.write_text(text)
        return lab.call("study", str(file), *options, "--runs", str(lab.runs))

    return call


def state(lab, name="ablation"):
    return Book.of(lab.runs, name).read()


def ids(lab):
    return {folder.run_id for folder in lab.folders()}


def test_cells_are_computed_once(lab, study):
    told = study(ABLATION)
    assert told.code == 0, told.err
    first = ids(lab)
    assert len(first) == 4
    assert all(folder.finished("test") for folder in lab.folders())

    edited = ABLATION.replace("components:", "# a comment\nname: other\nworkers: 1\ncomponents:")
    assert study(edited, name="other_file").code == 0
    assert ids(lab) == first  # neither a comment nor a name nor the workers are a part of a cell

    assert study(ABLATION.replace("seeds: [0, 1]", "seeds: [0, 1, 2]")).code == 0
    grown = ids(lab)
    assert len(grown - first) == 2

    arms = ABLATION.replace("seeds:", "arms: {heavy: {model.id: 2.0}}\nseeds:")
    assert study(arms).code == 0
    assert len(ids(lab) - grown) == 2
    again = study(arms.replace("2.0", "3.0"))
    assert again.code == 0
    assert len(ids(lab) - grown) == 4  # the arm with the edited weight alone
    assert [line.split()[0] for line in again.out[1:4]] == ["full", "no_mlm", "heavy"]


def test_a_cell_that_exists_is_taken(lab, study):
    assert lab.run("seed=1").code == 0
    (before,) = ids(lab)
    assert study(ABLATION).code == 0
    assert len(ids(lab)) == 4
    assert before in {cell["run"] for arm in state(lab)["arms"] for cell in arm["cells"].values()}


def test_tuning_grown_is_tuning_at_once(lab, study, tmp_path):
    assert study(TUNING, "--trials", "2", name="tuning").code == 0
    assert study(TUNING, name="tuning").code == 0
    grown = state(lab, "tuning")
    trials = {f.run_id: results(f) for f in lab.folders()}
    lab.runs = lab.folder / "at_once"
    assert study(TUNING, name="tuning").code == 0
    at_once = state(lab, "tuning")
    assert grown["arms"][0]["trials"] == at_once["arms"][0]["trials"]
    assert grown["arms"][0]["best"] == at_once["arms"][0]["best"]
    # the cell of a former best stays; all else is the same, bit for bit
    assert {f.run_id: results(f) for f in lab.folders()}.items() <= trials.items()


def test_a_tuned_arm_reports_its_seeds_and_only_the_best_keeps_weights(lab, study):
    told = study(TUNING, name="tuning")
    assert told.code == 0, told.err
    (arm,) = state(lab, "tuning")["arms"]
    counted = arm["trials"]
    assert counted["complete"] + counted["pruned"] == counted["target"] == 4
    best = arm["best"]["run"]
    for folder in lab.folders():
        tested = folder.finished("test")
        kept = (folder.checkpoints / "best.safetensors").exists()
        assert kept == (tested or folder.run_id == best)
        assert tested == (
            json.loads((folder.path / "identity.json").read_text()) is not None
            and folder.run_id in {cell["run"] for cell in arm["cells"].values()}
        )
    (row,) = told.out[1:2]
    assert f"(trial {arm['best']['trial']})" in row


def test_trials_never_test(lab, study, monkeypatch):
    def test(*_):
        raise AssertionError("a trial looked at test")

    monkeypatch.setattr(experiment, "_test", test)
    told = study(TUNING, name="tuning")  # the cells fail, the trials do not
    (arm,) = state(lab, "tuning")["arms"]
    assert arm["trials"]["complete"] + arm["trials"]["pruned"] == 4
    assert arm["trials"]["failed"] == 0
    assert any("failed: AssertionError: a trial looked at test" in line for line in told.err)


def test_three_failures_for_one_cause_stop_an_arm_and_not_the_study(lab, study, monkeypatch):
    real = experiment.run

    def run(loaded, **options):
        if loaded.spec.model.mlm is None:
            raise RuntimeError(f"broken with seed {loaded.spec.seed}")
        return real(loaded, **options)

    monkeypatch.setattr(jobs.experiment, "run", run)
    tuned = TUNING.replace("seeds: [0]", "design: explicit\narms: {full: {}, no_mlm: {model.mlm: null}}\nseeds: [0]")
    told = study(tuned, name="tuning")
    full, broken = state(lab, "tuning")["arms"]
    assert told.code == 1
    assert full["stopped"] == ""
    assert full["cells"]["0"] is not None
    assert "3 failures in a row for the same cause: RuntimeError: broken with seed" in broken["stopped"]
    assert broken["trials"]["failed"] == 3
    log = Book.of(lab.runs, "tuning").log("no_mlm", "trial-0").read_text()
    assert "Traceback" in log
    assert "broken with seed" in log


def test_failed_trials_are_replaced(lab, study, monkeypatch):
    real, calls = experiment.run, []

    def run(loaded, **options):
        calls.append(options["member"].trial)
        if calls[-1] == 1:
            raise RuntimeError("once")
        return real(loaded, **options)

    monkeypatch.setattr(jobs.experiment, "run", run)
    assert study(TUNING, name="tuning").code == 0
    (arm,) = state(lab, "tuning")["arms"]
    assert arm["trials"] == {**arm["trials"], "failed": 1, "target": 4}
    assert arm["trials"]["complete"] + arm["trials"]["pruned"] == 4
    assert calls[:5] == [0, 1, 2, 3, 4]


def test_out_of_memory_is_tried_once_more_in_halves(lab, study, monkeypatch):
    real, seen = experiment.run, []

    def run(loaded, **options):
        seen.append(loaded.spec.train.accumulate)
        if seen[-1] == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(loaded, **options)

    monkeypatch.setattr(jobs.experiment, "run", run)
    told = study(
        ABLATION.replace("seeds: [0, 1]", "seeds: [0]").replace(
            "  mlm: {off: {model.mlm: null}}", "  mlm: {off: {model.mlm: null}}"
        )
    )
    assert seen[:2] == [1, 2]
    assert sum("out of memory: computed with train.accumulate=2" in line for line in told.err) == 2
    assert told.code == 0
    assert all(arm["cells"]["0"] is not None for arm in state(lab)["arms"])


def test_stop_finishes_what_runs(lab, study, monkeypatch):
    real = experiment.run
    book = Book.of(lab.runs, "ablation")

    def run(loaded, **options):
        said = lab.call("study", "stop", str(lab.folder / "ablation.yaml"), "--runs", str(lab.runs))
        assert said.code == 0, said.err
        return real(loaded, **options)

    monkeypatch.setattr(jobs.experiment, "run", run)
    told = study(ABLATION)
    assert told.code == 0
    assert len(ids(lab)) == 2  # a round: one seed of each arm
    assert all(folder.finished("test") for folder in lab.folders())
    assert any("stopped on request" in line for line in told.out)
    monkeypatch.setattr(jobs.experiment, "run", real)
    assert study(ABLATION).code == 0
    assert len(ids(lab)) == 4
    assert not book.stopping


def test_a_spent_budget_leaves_the_arms_equal(lab, study):
    told = study(ABLATION + "budget: {hours: 0.0000001}\n")
    assert told.code == 0
    cells = [sum(cell is not None for cell in arm["cells"].values()) for arm in state(lab)["arms"]]
    assert cells == [0, 0]
    assert any("budget" in line for line in told.out)


def test_ctrl_c_and_on(lab, study, monkeypatch):
    real, calls = experiment.run, []

    def run(loaded, **options):
        calls.append(loaded.spec.seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(loaded, **options)

    monkeypatch.setattr(jobs.experiment, "run", run)
    told = study(ABLATION)
    assert told.code == 130
    assert len(ids(lab)) == 1
    assert study(ABLATION).code == 0
    assert len(ids(lab)) == 4


def test_listing_status_and_dry_run(lab, study):
    listed = lab.call("study", "--folder", str(lab.folder), "--runs", str(lab.runs))
    assert listed.code == 2
    assert "no study files" in listed.complaints[0]
    (lab.folder / "ablation.yaml").write_text(ABLATION)
    lines = lab.call("study", "--folder", str(lab.folder), "--runs", str(lab.runs)).out
    assert len(lines) == 2
    assert "irra" in lines[1]
    assert "leave_one_out" in lines[1]
    missing = lab.call("study", "status", str(lab.folder / "ablation.yaml"), "--runs", str(lab.runs))
    assert missing.code == 2
    assert "never begun" in missing.complaints[0]

    plan = study(ABLATION, "--dry-run")
    assert plan.code == 0, plan.err
    assert not lab.runs.exists() or not ids(lab)
    assert any("2 arms x 2 seeds = 4 runs, 0 of them exist" in line for line in plan.out)
    assert "model.mlm: null" in "\n".join(plan.out)
    study(ABLATION)
    plan = study(ABLATION.replace("[0, 1]", "[0, 1, 2]"), "--dry-run")
    assert any("4 of them exist" in line for line in plan.out)
    assert any(line.startswith("cost: about") for line in plan.out)
    assert "4 of 4 done" in "\n".join(
        lab.call("study", "status", str(lab.folder / "ablation.yaml"), "--runs", str(lab.runs)).out
    )
    assert "4 of 4" in lab.call("study", "--folder", str(lab.folder), "--runs", str(lab.runs)).out[1]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--seeds", "0,x"), "--seeds: expected different whole numbers"),
        (("--seeds", "0,0"), "--seeds: expected different whole numbers"),
        (("--trials", "0"), "--trials"),
        (("--set", "design=leave_two_out"), "leave_one_out"),
    ],
)
def test_bad_options(lab, study, options, complaint):
    told = study(ABLATION, *options)
    assert told.code == 2
    (line,) = told.complaints
    assert complaint in line
    assert not lab.runs.exists()


def test_one_driver_at_a_time(lab, study):
    book = Book.of(lab.runs, "ablation")
    with book.driving(shared=False):
        assert book.driven
        told = study(ABLATION)
    assert told.code == 2
    assert "is driven by process" in told.complaints[0]
    assert not book.driven


class Pretend(Executor):
    """Computes nothing; every job is complete."""

    def perform(self, jobs, *, started, evaluated, ended):
        for job in jobs:
            started(job)
            ended(job, Outcome("complete", val={"mAP": 50.0}))


def test_a_driver_waits_for_the_trials_of_another_and_says_so(lab, monkeypatch, capsys):
    file = lab.folder / "tuning.yaml"
    file.write_text(TUNING.replace("trials: 4", "trials: 1") + f"storage: {lab.folder}/shared.journal\n")
    loaded = load_study(file)
    parent = {**owner.myself(), "pid": os.getppid(), "start": owner.started(os.getppid())}  # it lives
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(search, "myself", lambda: parent)
        (theirs,) = Driver(loaded, lab.folder / "theirs", executor=Pretend(), view=view()).arms
        (job,) = theirs.trials()
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            theirs.ended(job, Outcome("complete", val={"mAP": 50.0}))

    monkeypatch.setattr("reid_lab.study.driver.time.sleep", sleep)
    told = Driver(loaded, lab.runs, executor=Pretend(), view=view()).drive()
    assert len(naps) == 2
    assert told["arms"][0]["trials"]["complete"] == 1
    assert capsys.readouterr().err.count("waiting for 1 trial of another process") == 1


def test_a_run_in_use_is_another_drivers(lab, study):
    from reid_lab.catalogue import load_spec
    from reid_lab.tracking.lock import RunLock
    from reid_lab.tracking.runs import RunFolder

    spec = load_spec(lab.file, seed=1).spec
    folder = RunFolder(lab.runs / f"{experiment.identified(spec, lab.runs)[:12]}-1")
    with RunLock(folder.path):
        Path(folder.journal).touch()
        told = study(ABLATION)
    assert told.code == 0
    assert "is another process's" in "\n".join(told.err)
    assert [arm["cells"]["1"] is None for arm in state(lab)["arms"]] == [True, False]
    assert study(ABLATION).code == 0
    assert all(cell is not None for arm in state(lab)["arms"] for cell in arm["cells"].values())
    assert {status(f) for f in lab.folders()} == {("finished", "")}


@pytest.mark.slow
def test_four_arms_of_three_seeds_grown_to_five(lab, study):
    text = ABLATION.replace("seeds: [0, 1]", "seeds: [0, 1, 2]").replace(
        "components:", "components:\n  id: {off: {model.id: null}}\n  sdm: {off: {model.sdm: null}}"
    )
    assert study(text).code == 0
    first = ids(lab)
    assert len(first) == 12
    assert study(text.replace("seeds:", "arms: {heavy: {model.id: 2.0}}\nseeds:")).code == 0
    grown = ids(lab)
    assert first < grown
    assert len(grown) == 15
    edited = text.replace("components:", "# so\ncomponents:").replace(
        "seeds:", "arms: {heavier: {model.id: 2.0}}\nseeds:"
    )
    assert study(edited, "--workers", "1").code == 0
    assert ids(lab) == grown
    assert study(text.replace("seeds:", "arms: {heavy: {model.id: 2.5}}\nseeds:")).code == 0
    assert len(ids(lab)) == 18
