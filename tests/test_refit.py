"""`train.fit_on: train+val`: the length that val selected, on all training identities, tested once, marked."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from reid_lab import refit as module
from reid_lab.errors import Interrupted
from reid_lab.tracking.records import read

FIT = ("train.fit_on=train+val",)


def records(run, kind):
    return [record for record, _ in read(run.journal) if record.kind == kind]


def test_train_and_val_are_learnt_for_the_selected_length_and_tested_once(lab):
    done = lab.run(*FIT)
    assert done.code == 0, done.err
    run = lab.only
    summary = run.summary()
    assert summary["stages"] == ["fit", "refit", "test"]
    # 48 pairs of train and 12 of val: 3 steps an epoch become 4
    assert summary["refit_steps"] == round(summary["best_step"] / 3 * 4)
    weights, first = load_file(run.refit / "best.safetensors"), load_file(run.checkpoints / "best.safetensors")
    grown = {name: (len(first[name]), len(w)) for name, w in weights.items() if w.shape != first[name].shape}
    assert set(grown.values()) == {(24, 24 + 6)}
    assert all("id" in name or "classifier" in name for name in grown)
    assert run.selected == run.refit / "best.safetensors"
    known = json.loads((run.path / "identity.json").read_text())["facts"]
    told = summary["refit_facts"]
    assert (known["identities"], told["identities"]) == (24, 24 + 6)
    assert told["labels"]["clothes"] > known["labels"]["clothes"]
    losses = [r.name for r in records(run, "loss")]
    assert losses.count("loss/refit/total") == summary["refit_steps"]
    assert any("fitted on train+val" in line for line in done.out)
    listed = lab.call("list", "runs", "--runs", str(lab.runs))
    assert "fitted on train+val" in "\n".join(listed.out)
    assert records(run, "start")[0].value["tags"]["reid_lab.fit_on"] == "train+val"
    again = lab.evaluate(run)
    assert again.code == 0, again.err
    assert f"{summary['test']['mAP']:.2f}" in "\n".join(again.out)
    plain = lab.run()
    assert plain.code == 0, plain.err
    assert len(lab.folders()) == 2


def test_an_interrupted_second_training_goes_on(lab, monkeypatch):
    whole = lab.run(*FIT, "name=whole")
    assert whole.code == 0, whole.err
    wanted = lab.only.summary()
    fit, calls = module.fit, []

    def stopped(*args, **kwargs):
        calls.append(kwargs["folder"])
        kwargs["reporter"].step = lambda *_: (_ for _ in ()).throw(Interrupted("stop"))
        return fit(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, "fit", stopped)
        assert lab.run(*FIT, "name=cut", "seed=0", options=["--fresh"]).code == 130
    assert [folder.name for folder in calls] == ["refit"]
    assert lab.run(*FIT, "name=cut").code == 0
    (cut,) = [run for run in lab.folders() if run.run_id != lab.folders()[0].run_id] or [lab.only]
    assert cut.summary()["test"] == wanted["test"]


@pytest.mark.parametrize("overrides", [("eval.select_on=last",), ("eval.select_on=test",)])
def test_without_a_selection_on_val_there_is_no_length(lab, overrides):
    refused = lab.run(*FIT, *overrides)
    assert refused.code == 2
    assert any("train.fit_on" in line and "eval.select_on: val" in line for line in refused.complaints)
