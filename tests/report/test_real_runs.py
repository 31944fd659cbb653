"""Runs as they are really left: what is made up elsewhere in these tests must be read from them, too."""

import pytest

from reid_lab.report.queries import by_identity
from reid_lab.report.reading import read_run, tampered


@pytest.mark.slow
def test_trained_runs_are_compared_and_verified(lab):
    for seed in (0, 1):
        for sets in ((), ("model.mlm=null",)):
            assert lab.run(f"seed={seed}", "train.length.epochs=1", *sets).code == 0
    for folder in lab.folders():
        run = read_run(folder)
        assert run.finished
        assert tampered(run) == ""
        assert dict(run.metrics) | {f"test/{k}": v for k, v in folder.summary()["test"].items()} == dict(run.metrics)
        assert {f"val/{k}": v for k, v in folder.summary()["val"].items()}.items() <= run.metrics.items()
        for metric in ("R1", "R5", "mAP", "mINP"):
            assert by_identity([run], metric)[0].mean() == pytest.approx(run.metric(metric))
        assert set(run.cost) >= {"seconds", "parameters", "trainable", "peak_memory"}
    runs = str(lab.runs)
    shown = lab.call("compare", "tiny", "--queries", "--runs", runs)
    assert (shown.code, shown.err) == (0, [])
    assert [line.split("  ")[0] for line in shown.out[1:3]] in (
        ["tiny", "tiny (model.mlm: null)"],
        ["tiny", "tiny #2"],
    )
    path = lab.folder / "t.tex"
    assert lab.call("compare", "tiny", "--by", "model.mlm", "--runs", runs, "--out", str(path)).code == 0
    checked = lab.call("verify", str(path), "--runs", runs)
    assert (checked.code, checked.err) == (0, [])
