"""`rl.probe`, `rl.slices` and `rl.replay` return what the commands write, and refuse what cannot be asked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import reid_lab as rl
from reid_lab.tracking.runs import find
from tests.lab import records


def test_they_are_those_of_the_commands(lab, capsys):
    result = rl.run(lab.file, quiet=True, **{"train.length.epochs": 1})
    folder = find(lab.runs, result.run_id)

    found = rl.probe(result, attributes="identity", embeddings=["rgb"], folds=2, quiet=True)
    assert {(row["stage"], row["embedding"], row["attribute"]) for row in found["probes"]} == {
        ("before training", "rgb", "identity"),
        ("trained", "rgb", "identity"),
    }
    assert found["probes"] == json.loads((folder.path / "probing" / "probe.json").read_text())["probes"]
    for asked, told in (
        ({"people": 3, "folds": 1}, r"people: expected a whole number from 10, got 3(?s:.*)folds: expected"),
        ({"split": "valid"}, "split: unknown split 'valid'"),
        ({"attributes": ["identiy"]}, "did you mean 'identity'"),
        ({"out": "probe.txt"}, "one of .json, .csv"),
    ):
        with pytest.raises(rl.UserError, match=told):
            rl.probe(result, quiet=True, **asked)

    found = rl.slices(result, quiet=True)
    assert found["rows"][0]["mAP"] == pytest.approx(result.test["mAP"])
    both = rl.slices(result.run_id, result, by="camera", out=lab.folder / "slices.csv", quiet=True)
    assert {row["difference"] for row in both["rows"]} == {0.0}
    assert (lab.folder / "slices.csv").read_text().startswith("slicing,slice,n,people,")
    with pytest.raises(rl.UserError, match="did you mean 'camera'"):
        rl.slices(result, by=["camra"])
    assert not [note for note in records(folder, "note") if note.name == "look_at_test"]
    assert capsys.readouterr() == ("", "")

    done = rl.replay(result, quiet=True)
    assert done.proven, done
    assert capsys.readouterr() == ("", "")
    folder.amend({"test": {**folder.summary()["test"], "mAP": 99.0}})
    done = rl.replay(replace(result, folder=folder.path))
    assert (done.proven, done.verdict) == (False, None)
    assert "summary.json, test" in capsys.readouterr().err
    with pytest.raises(rl.UserError, match="expected a number from 0, got -1"):
        rl.replay(result, tolerance=-1.0)
