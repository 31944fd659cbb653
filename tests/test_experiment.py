"""`reid-lab run` from a file to a tested result: stages, attempts, identity, other data, other starts."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reid_lab import experiment
from reid_lab.assembly import assemble, identify_run, open_source
from reid_lab.catalogue import load_spec
from reid_lab.engine import checkpoint
from reid_lab.engine.checkpoint import BEST
from reid_lab.spec.identity import canonical, identifying
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.mlflow_store import Store
from reid_lab.tracking.replay import unsent
from tests.lab import STEPS, losses, records, results, status
from tests.tracking.conftest import assert_each_point_once, contents

METRICS = ("R1", "R5", "R10", "mAP", "mINP")
SHORT = ("train.length.epochs=1",)


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder and the hash of its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def cuhk(folder: Path, more: str = "") -> str:
    return f"data={{name: cuhk_pedes, root: {folder}{more}}}"


def test_a_spec_in_results_out(lab):
    done = lab.run("tracking.images=2", "seed=3")
    assert (done.code, done.complaints) == (0, [])
    run = lab.only
    summary = run.summary()
    assert summary["stages"] == ["fit", "test"]
    assert (summary["name"], summary["seed"], summary["last_step"]) == ("tiny", 3, STEPS)
    text = "\n".join(done.out)
    for name in METRICS:
        assert name in text
        assert f"{summary['val'][name]:.2f}" in text
        assert f"{summary['test'][name]:.2f}" in text
    assert f"run      {run.run_id}" in done.out
    assert f"folder   {run.path}" in done.out

    facts = json.loads((run.results / "test.json").read_text())
    assert facts["metrics"] == summary["test"]
    assert (facts["protocol"], facts["selected_on"]) == ("text_to_image", "val")
    (task,) = facts["tasks"]
    assert (task["queries"], task["valid_queries"], task["gallery"], task["removed_from_gallery"]) == (
        12,
        12,
        12,
        "nothing",
    )
    with np.load(run.results / "test.npz") as columns:
        assert float(columns["ap"].mean() * 100) == pytest.approx(summary["test"]["mAP"])
        assert float((columns["first_hit"] == 1).mean() * 100) == pytest.approx(summary["test"]["R1"])
        assert {len(columns[name]) for name in columns.files} == {12}

    again = load_spec(run.path / "spec.yaml").spec
    wanted = load_spec(lab.file, ["seed=3"]).spec
    assert canonical(identifying(again)) == canonical(identifying(wanted))
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["device"] == "cpu"
    assert environment["packages"]["torch"] == torch.__version__
    assert sorted(path.name for path in (run.path / "images").iterdir()) == ["ranking_0.png", "ranking_1.png"]

    assert {record.step for record in records(run, "loss")} == set(range(1, STEPS + 1))
    assert {record.step for record in records(run, "val")} == {0, 3, 6}
    assert {record.name: record.value for record in records(run, "test")} == {
        f"test/{name}": summary["test"][name] for name in METRICS
    }
    (final,) = records(run, "final")
    assert final.value["sha256"] == summary["weights_sha256"] == checkpoint.identify(run.checkpoints / BEST)[1]
    params = {record.name: record.value for record in records(run, "param")}
    assert (params["seed"], params["train.optimizer.lr"], params["model.mlm.depth"]) == (3, 1e-4, 1)
    assert status(run) == ("finished", "")


def test_the_same_command_prints_and_fresh_begins_again(lab):
    first = lab.run(*SHORT)
    before = tree(lab.only.path)
    again = lab.run(*SHORT)
    assert again.code == 0
    assert again.out[0] == f"{lab.only.run_id} is finished already (--fresh computes it again)"
    assert again.out[1:] == first.out
    assert tree(lab.only.path) == before

    fresh = lab.run(*SHORT, options=["--fresh"])
    assert fresh.code == 0
    one, two = lab.folders()
    assert (one.attempt, two.attempt) == (1, 2)
    assert one.run_id.split("-")[0] == two.run_id.split("-")[0]
    assert tree(one.path) == before
    assert results(one) == results(two)
    assert lab.run(*SHORT).out[0].startswith(two.run_id)


def test_resume_begins_nothing(lab):
    refused = lab.run(*SHORT, options=["--resume"])
    assert refused.code == 2
    assert len(refused.complaints) == 1
    assert "was never begun" in refused.complaints[0]
    assert not lab.runs.exists()
    lab.run(*SHORT)
    refused = lab.run(*SHORT, options=["--resume"])
    assert refused.code == 2
    assert "is finished" in refused.complaints[0]
    assert len(lab.folders()) == 1


def test_fit_is_handed_no_test_items(lab, monkeypatch):
    """What training is assembled from holds no test item, and nothing of test is recorded before the test."""
    seen, at_test = [], []
    build, test = experiment.assemble, experiment._test

    def spy(spec, source, *more):
        seen.append((source.dataset.items.splits(), len(source.dataset.items)))
        return build(spec, source, *more)

    def before_test(parts, folder, book):
        book.flush()
        at_test.append((folder.finished("fit"), folder.finished("test"), records(folder, "test")))
        return test(parts, folder, book)

    monkeypatch.setattr(experiment, "assemble", spy)
    monkeypatch.setattr(experiment, "_test", before_test)
    assert lab.run(*SHORT).code == 0
    assert [(set(splits), count) for splits, count in seen] == [({"train", "val"}, 2 * (48 + 12))]
    assert at_test == [(True, False, [])]


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["model.stride=99"], "stride"),
        (["model.text_length=1000"], "text_length"),
        (["model.image_size=[1, 1]"], "image_size"),
        (["train.stages=[{name: a, length: {steps: 2}, trainable: [nothing.*]}]"], "nothing.*"),
        (["train.batch={sampler: identity, size: 4000, instances: 2}"], "identities"),
    ],
)
def test_what_cannot_be_built_leaves_no_run_behind(lab, overrides, what):
    refused = lab.run(*SHORT, *overrides)
    assert refused.code == 2
    assert any(what in line for line in refused.complaints), refused.complaints
    assert lab.folders() == []


def test_selection_on_test_marks_the_run_and_mlflow_holds_each_point_once(lab):
    Store.of(lab.runs).client()  # creating its tables can take longer on a busy machine than a run waits
    done = lab.run(*SHORT, "eval.select_on=test", "tracking={uri: null, images: 1}")
    assert done.code == 0, done.err
    run = lab.only
    assert any("(selected on TEST)" in line for line in done.out)
    assert any(line.startswith("mlflow   http") for line in done.out)
    assert run.summary()["selected_on"] == "test"
    assert json.loads((run.results / "test.json").read_text())["selected_on"] == "test"
    assert records(run, "start")[0].value["tags"]["reid_lab.select_on_test"] == "true"
    held = contents(Store.of(lab.runs), run.run_id)
    assert held["status"] == "FINISHED"
    assert held["tags"]["reid_lab.select_on_test"] == "true"
    assert_each_point_once(held["points"])
    wanted = {f"loss/{term}" for term in ("sdm", "id", "mlm", "total")} | {f"test/{name}" for name in METRICS}
    assert {key for key, *_ in held["points"]} >= wanted
    assert [digest for _, digest in held["inputs"]] != []
    assert {"spec.yaml", "environment.json"} <= {name for name, _ in held["files"]}


def test_without_val_the_last_weights_are_taken(lab):
    folder = lab.written("png")
    sets = (*SHORT, cuhk(folder, ", val: none"))
    refused = lab.run(*sets)
    assert refused.code == 2
    assert len(refused.complaints) == 1
    assert "data.val is none" in refused.complaints[0]
    assert not lab.runs.exists()
    assert lab.run(*sets, "eval.select_on=last").code == 0
    summary = lab.only.summary()
    assert (summary["best_step"], summary["val"]) == (4, {})  # 60 pairs, 16 at a time
    assert set(summary["test"]) == set(METRICS)


def identity_of(lab, *sets: str) -> str:
    spec = load_spec(lab.file, sets).spec
    return identify_run(spec, open_source(spec.data), lab.runs)[0]


def test_identity_covers_what_decides_the_result(lab):
    base = identity_of(lab)
    others = {
        setting: identity_of(lab, setting)
        for setting in (
            "seed=1",
            "model.sdm=0.5",
            "model.mlm=null",
            "train.accumulate=2",
            "runtime.threads=2",
            "runtime.precision=bf16",
            "data.caption_error=0.5",
            "data.seed=1",
            "eval.select_on=last",
        )
    }
    assert len({base, *others.values()}) == 1 + len(others)
    same = (
        "name=other",
        "description=other",
        "runtime.device=auto",
        "runtime.workers=2",
        "eval.batch=3",
        "checkpoint.every.steps=1",
        "tracking={uri: null, log_every: 7, images: 3, experiment: other}",
    )
    assert {setting: identity_of(lab, setting) for setting in same} == dict.fromkeys(same, base)


def test_identity_covers_weights_and_files(lab):
    clip = lab.folder / "clip"
    shutil.copytree(lab.clip, clip)
    before = identity_of(lab, f"model.backbone={clip}")
    weights = load_file(clip / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, clip / "model.safetensors", {"format": "pt"})
    assert identity_of(lab, f"model.backbone={clip}") != before

    folder = lab.written("png")
    before = identity_of(lab, cuhk(folder))
    moved = folder.rename(lab.folder / "moved")
    assert identity_of(lab, cuhk(moved)) == before
    file = moved / "reid_raw.json"
    file.write_text(file.read_text().replace("a ", "the ", 1))
    assert identity_of(lab, cuhk(moved)) != before


def test_evaluate_gives_the_recorded_numbers_and_leaves_a_note(lab):
    lab.run(*SHORT)
    run = lab.only
    before = results(run)
    for looks in (1, 2):
        done = lab.evaluate(run)
        assert done.code == 0, done.err
        assert any(f"{run.summary()['test']['mAP']:.2f}" in line for line in done.out)
        notes = [record.value for record in records(run, "note") if record.name == "look_at_test"]
        assert len(notes) == looks
        assert notes[-1]["metrics"] == run.summary()["test"]
    assert results(run) == before


def test_the_written_folder_gives_the_same_metrics(lab):
    assert lab.run().code == 0
    run = lab.only
    digests = set()
    for pixels, tolerance in (("png", 0.0), ("jpeg", 5.0)):
        done = lab.evaluate(run, cuhk(lab.written(pixels)))
        assert done.code == 0, done.err
        note = records(run, "note")[-1].value
        digests.add(note["data"])
        for name, value in run.summary()["test"].items():
            assert abs(note["metrics"][name] - value) <= tolerance, (pixels, name)
    assert len(digests) == 2


def test_the_same_command_trains_on_the_written_folder(lab):
    folder = lab.written("jpeg")
    done = lab.run(cuhk(folder), "tracking.images=1")
    assert done.code == 0, done.err
    run = lab.only
    assert set(run.summary()["test"]) == set(METRICS)
    assert {step for _, step in losses(run)} == set(range(1, STEPS + 1))
    assert load_spec(run.path / "spec.yaml").spec.data.root == str(folder)


def weights_of(run) -> dict[str, torch.Tensor]:
    return checkpoint.load(run.checkpoints / BEST).under("model/")


def test_a_run_begins_from_another(lab):
    lab.run(*SHORT)
    first = lab.only
    sets = ("train.length={steps: 1}", "train.optimizer.lr=1e-12", f"train.init_from={first.run_id}")
    assert lab.run(*sets).code == 0
    (second,) = (run for run in lab.folders() if run.run_id != first.run_id)
    identity = json.loads((second.path / "identity.json").read_text())
    assert identity["init_from"] == first.summary()["weights_sha256"]
    before, after = weights_of(first), weights_of(second)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-9)

    start = lab.folder / "start.safetensors"
    shutil.copy(first.checkpoints / BEST, start)
    named = identity_of(lab, f"train.init_from={start}")
    shutil.copy(second.checkpoints / BEST, start)
    assert identity_of(lab, f"train.init_from={start}") != named


def test_a_start_must_fit_exactly(lab):
    lab.run(*SHORT, "model.mlm=null")
    first = lab.only
    refused = lab.run(*SHORT, f"train.init_from={first.run_id}")
    assert refused.code == 2
    assert refused.complaints
    assert all("tensor 'mlm." in line and "is missing" in line for line in refused.complaints)
    missing = lab.run(*SHORT, "train.init_from=0123456789ab-1")
    assert missing.code == 2
    assert "no run '0123456789ab-1'" in missing.complaints[0]


def test_stages_have_their_own_parameters_and_terms(lab):
    first = "{name: heads, length: {steps: 2}, trainable: ['identity.*']}"
    heads, stages = f"[{first}]", f"[{first}, {{name: all, length: {{steps: 2}}, terms: [sdm, id]}}]"
    last = ("eval.select_on=last",)
    assert lab.run(*last, f"train.stages={heads}").code == 0
    spec = load_spec(lab.file).spec
    untrained = assemble(spec, open_source(spec.data)).model.state_dict()
    trained = weights_of(lab.only)
    changed = {name for name, tensor in trained.items() if not torch.equal(tensor, untrained[name])}
    assert changed == {name for name in untrained if name.startswith("identity.")}

    one = lab.only.run_id
    assert lab.run(*last, f"train.stages={stages}").code == 0
    (run,) = (run for run in lab.folders() if run.run_id != one)
    steps = {name: {step for key, step in losses(run) if key == name} for name, _ in losses(run)}
    assert steps["loss/mlm"] == {1, 2}
    assert steps["loss/sdm"] == steps["loss/id"] == steps["loss/total"] == {1, 2, 3, 4}
    wrong = lab.run("train.stages=[{name: a, length: {steps: 1}, terms: [sdn]}]")
    assert wrong.code == 2
    assert "did you mean 'sdm'?" in wrong.complaints[0]


def test_a_dry_run_writes_nothing(lab):
    lab.run(*SHORT)  # its world is drawn now
    before = tree(lab.folder), tree(lab.cache)
    done = lab.run(options=["--dry-run"])
    assert done.code == 0, done.err
    assert (tree(lab.folder), tree(lab.cache)) == before
    heads = [line.split("  ")[0] for line in done.out]
    assert heads == ["losses", "parameters", "peak memory", "time", "checkpoints"]
    assert all(f" {name} " in done.out[0] for name in ("sdm", "id", "mlm"))
    assert f"({STEPS} steps)" in done.out[3]


def test_list_runs(lab):
    assert lab.call("list", "runs", "--runs", str(lab.runs)).out == [
        "run  experiment  seed  state  val mAP  test mAP  test R1"
    ]
    lab.run(*SHORT)
    finished = lab.only
    lab.run(*SHORT, "seed=1", "train.init_from=nothing")
    lab.run("train.optimizer.lr=1e30", "seed=2")
    rows = lab.call("list", "runs", "--runs", str(lab.runs)).out[1:]
    assert len(rows) == 2
    row = next(line.split() for line in rows if line.startswith(finished.run_id))
    assert row[1:4] == ["tiny", "0", "finished"]
    assert row[4:] == [
        f"{finished.summary()[split][name]:.2f}" for split, name in (("val", "mAP"), ("test", "mAP"), ("test", "R1"))
    ]
    (broken,) = (run for run in lab.folders() if run.run_id != finished.run_id)
    assert next(line.split() for line in rows if line.startswith(broken.run_id))[1:4] == ["tiny", "2", "unfinished"]
    with RunLock(broken.path):
        rows = lab.call("list", "runs", "--runs", str(lab.runs)).out
    assert next(line.split() for line in rows if line.startswith(broken.run_id))[3] == "running"


def test_an_edited_spec_is_no_longer_that_of_the_run(lab):
    lab.run(*SHORT)
    path = lab.only.path / "spec.yaml"
    path.write_text(path.read_text().replace("\nseed: 0", "\nseed: 9"))
    refused = lab.call("evaluate", lab.only.run_id, "--runs", str(lab.runs))
    assert refused.code == 2
    assert "spec.yaml: does not belong to this run any more" in refused.complaints[0]


def test_a_run_that_was_killed_while_it_was_sent_is_sent_when_it_is_asked_for_again(lab):
    store = Store.of(lab.runs)
    store.client()
    overrides = (*SHORT, "tracking={uri: null, images: 0}")
    assert lab.run(*overrides).code == 0
    whole = contents(store, lab.only.run_id)
    (sidecar,) = lab.only.path.glob("mirror-*.json")
    state = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**state, "offset": 0, "status": ""}))
    assert unsent(lab.only.path, store)
    assert lab.run(*overrides).code == 0
    assert not unsent(lab.only.path, store)
    held = contents(store, lab.only.run_id)
    assert held["points"] == whole["points"]
    assert_each_point_once(held["points"])
