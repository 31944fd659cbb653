"""Tables of runs, comparisons, studies and queries, from made-up runs."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import reid_lab as rl
from reid_lab.report.verify import verified
from tests.report import made


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("REID_LAB_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_runs_one_a_row(runs):
    first = made.make(runs, 0)
    made.make(runs, 1, spec={"model.mlm": {"depth": 2}})
    made.make(runs, 2, finished=False)
    frame = rl.runs()
    assert list(frame.columns[:6]) == ["run", "experiment", "architecture", "data", "seed", "status"]
    row = frame.set_index("seed").loc[0]
    assert (row.run, row.experiment, row.architecture, row.data) == (first.run_id, "irra", "irra", "synthetic")
    assert row["test/mAP"] == json.loads((first.results / "test.json").read_text())["metrics"]["mAP"]
    assert (row["val/mAP"], row["model.mer.rank"], row["seconds"]) == (40.0, 4, 60.0)
    by_seed = frame.set_index("seed")
    assert by_seed.status.to_dict() == {0: "finished", 1: "finished", 2: "fitted"}
    assert by_seed.loc[1, "model.mlm"] == '{"depth": 2}'
    assert np.isnan(by_seed.loc[2, "test/mAP"])
    columns = list(frame.columns)
    assert columns.index("test/mAP") < columns.index("val/mAP") < columns.index("seconds") < columns.index("model.name")


def test_words_choose_as_in_compare(runs):
    for seed in range(3):
        made.make(runs, seed)
        made.make(runs, seed, name="other", spec={"model.mer.rank": 8})
    made.make(runs, 3, finished=False)
    assert len(rl.runs()) == 7
    assert len(rl.runs("irra")) == 3
    assert list(rl.runs("model.mer.rank=8").seed) == [0, 1, 2]
    with pytest.raises(rl.UserError, match="did you mean 'other'"):
        rl.runs("othr")
    with pytest.raises(rl.UserError, match="no such folder of runs"):
        rl.runs(runs=runs / "nowhere")


def test_no_runs_are_an_empty_table(runs):
    runs.mkdir()
    frame = rl.runs()
    assert len(frame) == 0
    assert list(frame.columns) == ["run", "experiment", "architecture", "data", "seed", "status"]


def test_a_comparison_in_every_form(runs, tmp_path):
    made.ablated(runs)
    table = rl.compare("ablation", queries=True)
    frame = table.frame.set_index("group")
    rows = {row["group"]: row for row in csv.DictReader(table.csv().split("\n#")[0].splitlines())}
    assert set(frame.index) == set(rows) == {"full", "no_mer", "mlm=deep"}
    for name, row in rows.items():
        assert f"{frame.loc[name, 'mAP']:.2f}" == row["mAP mean"]
        assert f"{frame.loc[name, 'mAP deviation']:.2f}" == row["mAP deviation"]
        if name != "full":
            assert f"{frame.loc[name, 'mAP difference']:.2f}" == row["Δ mAP difference"]
            assert f"{frame.loc[name, 'mAP low']:.2f}" == row["Δ mAP low"]
            assert "mAP trained p" in frame
    assert np.isnan(frame.loc["full", "mAP difference"])
    assert frame.loc["no_mer", "mer"] == "off"
    assert frame.loc["no_mer", "differs"].startswith("model.mer")
    assert str(table) == repr(table) == table.table()
    assert table._repr_html_().startswith("<table>")
    assert any("95% t interval" in note for note in table.notes)
    assert "mAP trained p" not in rl.compare("ablation").frame
    assert list(rl.compare("ablation", metrics="R1").frame.filter(like="mAP").columns) == []


def test_a_written_comparison_is_verified_and_tells_the_call(runs, tmp_path):
    made.ablated(runs)
    file = rl.compare("ablation", baseline="no_mer", metrics=["mAP"]).write(tmp_path / "t.tex")
    assert verified(file, runs)[1] == []
    assert "reid_lab.compare('ablation', baseline='no_mer', metrics=['mAP']" in file.read_text()
    with pytest.raises(rl.UserError, match="has no format here"):
        rl.compare("ablation").write(tmp_path / "t.doc")


def test_what_cannot_be_compared_is_told_at_once(runs):
    made.make(runs, 0)
    made.make(runs, 1, digest="e" * 64)
    with pytest.raises(rl.UserError, match="data differ"):
        rl.compare("irra")
    with pytest.raises(rl.UserError, match="unknown correction 'bonferroni'"):
        rl.compare("irra", correction="bonferroni")


def test_queries_are_those_that_the_test_recorded(runs):
    folder = made.make(runs, 0)
    frame = rl.queries(folder.run_id)
    metrics = json.loads((folder.results / "test.json").read_text())["metrics"]
    assert 100 * frame.ap.mean() == pytest.approx(metrics["mAP"], abs=1e-12)
    assert 100 * (frame.first_hit == 1).mean() == pytest.approx(metrics["R1"], abs=1e-12)
    assert frame["query"].tolist() == list(range(made.PEOPLE * made.QUERIES))
    assert set(frame.task) == {""}
    with pytest.raises(rl.UserError, match="was not tested"):
        rl.queries(made.make(runs, 1, finished=False).run_id)


def test_queries_of_several_tasks_and_draws(runs):
    folder = made.make(runs, 0)
    ap = np.arange(6.0).reshape(2, 3) / 6
    columns = {"pids": np.arange(3), "image_ids": np.arange(3), "valid": np.ones((2, 3), bool)}
    columns |= {"ap": ap, "inp": ap, "first_hit": np.ones((2, 3), int)}
    np.savez(folder.results / "test.npz", **{f"{t}/{k}": v for t in ("CC", "SC") for k, v in columns.items()})
    frame = rl.queries(folder.run_id)
    assert len(frame) == 12
    assert frame[(frame.task == "SC") & (frame.draw == 1)].ap.tolist() == ap[1].tolist()


def test_a_study_is_read(runs):
    file = made.ablated(runs)
    state_file = runs / "studies" / "ablation" / "state.json"
    state = json.loads(state_file.read_text())
    found = rl.runs().set_index("run")
    for arm in state["arms"]:
        arm |= {"trials": {"complete": 2, "pruned": 1, "failed": 0, "target": 3}}
        arm |= {"best": {"trial": 1, "scores": [50.0], "values": {}, "run": None}, "patch": {"model.mlm": None}}
        for cell in arm["cells"].values():
            cell["test"] = {"mAP": float(found.loc[cell["run"], "test/mAP"]), "CC/mAP": 1.0}
    state_file.write_text(json.dumps(state))
    for study in (rl.study(file, compute=False), rl.study("ablation", compute=False)):
        assert study.name == "ablation"
        arms = study.frame.set_index("arm")
        assert arms.loc["full", "test/mAP"] == pytest.approx(study.cells.groupby("arm")["test/mAP"].mean()["full"])
        assert "test/CC/mAP" not in arms
        assert arms.loc["full", "changes"] == "model.mlm: null"
        assert (arms.loc["full", "best trial"], arms.loc["full", "lucky best"], arms.loc["full", "seeds"]) == (1, 50, 3)
        assert set(study.cells.run) == set(found.index)
        assert study.compare().frame.equals(rl.compare("ablation").frame)
        assert "full" in repr(study)
        assert "<table" in study._repr_html_()
        with pytest.raises(rl.UserError, match="no finished trials"):
            _ = study.trials
    with pytest.raises(rl.UserError, match="no study of this name"):
        rl.study("nothing", compute=False)
    with pytest.raises(rl.UserError, match="no such file"):
        rl.study("other.yaml", compute=False)
