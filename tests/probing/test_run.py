"""`reid-lab probe` and `reid-lab slices` of a run of the tiny laboratory, from the command line."""

import csv
import json

import pytest

from tests.lab import records

SETS = ("data.val_identities=24", "data.test_identities=12", "data.hard=0.7", "eval.expansion={k: 2}")
QUICK = ("--attributes", "gender,identity", "--folds", "2", "--images", "1")


@pytest.fixture
def trained(lab):
    """The laboratory with one finished run, and its commands as the tests call them."""
    assert lab.run(*SETS).code == 0
    lab.ask = lambda command, *more: lab.call(command, lab.only.run_id[:6], *more, "--runs", str(lab.runs))
    return lab


def test_a_run_is_probed_and_sliced(trained):
    """One run serves all: it takes longer to train than to look at."""
    lab, folder = trained, trained.only
    done = lab.ask("probe", *QUICK)
    assert done.code == 0, done.err
    assert {"rgb", "caption", "body:", "the"} <= {line.split()[0] for line in done.out if line}
    kept = json.loads((folder.path / "probing" / "probe.json").read_text())
    probes = {(row["stage"], row["embedding"], row["attribute"]): row for row in kept["probes"]}
    assert {key[1:] for key in probes} == {(e, a) for e in ("rgb", "caption") for a in ("gender", "identity")}
    assert probes["trained", "rgb", "gender"]["n"] == 48
    assert probes["trained", "rgb", "gender"]["across"] == "people"
    assert probes["trained", "rgb", "identity"]["across"] == "moments"
    assert probes["before training", "rgb", "identity"]["classes"] == 24
    moved = {row["embedding"]: row["moves"] for row in kept["counterfactual"]["rows"] if row["stage"] == "trained"}
    assert moved["rgb"]["outfit"]["mean"] > 0
    assert [note.name for note in records(folder, "artifact")].count("probing/probe.json") == 1
    assert not [note for note in records(folder, "note") if note.name == "look_at_test"]

    # what is written elsewhere leaves the run alone, unless test people were looked at
    out = lab.folder / "probe.csv"
    done = lab.ask("probe", *QUICK, "--split", "test", "--embeddings", "rgb", "--out", str(out))
    assert done.code == 0, done.err
    assert any("no counterfactuals: 12 people are too few" in line for line in done.err)
    rows = list(csv.DictReader(out.open()))
    assert {row["embedding"] for row in rows} == {"rgb"}
    (look,) = [note for note in records(folder, "note") if note.name == "look_at_test"]
    assert look.value["probed"] == ["gender", "identity"]

    for bad, told in (
        (("--attributes", "gendre"), "unknown attribute 'gendre'"),
        (("--embeddings", "image"), "irra has no embedding 'image'; it has rgb, caption"),
        (("--attributes", "occlusion", "--set", "data.hard=0"), "takes a single value"),
        (("--out", "probe.txt"), "one of .json, .csv"),
    ):
        refused = lab.ask("probe", "--folds", "2", *bad)
        assert refused.code == 2
        assert told in " ".join(refused.complaints)

    done = lab.ask("slices")
    assert done.code == 0, done.err
    kept = json.loads((folder.path / "probing" / "slices.json").read_text())
    whole = kept["rows"][0]
    assert whole["mAP"] == pytest.approx(folder.summary()["test"]["mAP"])
    names = {row["slicing"] for row in kept["rows"]}
    assert {"all", "camera", "view", "upper_colour", "caption length"} <= names
    for name in names - set(kept["overlapping"]):
        assert sum(row["n"] for row in kept["rows"] if row["slicing"] == name) == whole["n"]
    done = lab.ask(
        "slices", lab.only.run_id, "--by", "camera pair", "--format", "json", "--out", str(lab.folder / "p.json")
    )
    assert done.code == 0, done.err
    kept = json.loads((lab.folder / "p.json").read_text())
    assert kept["notes"] == 2 * [f"camera pair: ranked by inner products, without eval.expansion of {folder.run_id}"]
    pairs = kept["rows"]
    assert all(row["difference"] == 0 for row in pairs)
    assert {row["slicing"] for row in pairs} == {"all", "camera pair"}
    looks = [note.value for note in records(folder, "note") if note.name == "look_at_test"]
    assert len(looks) == 3
    assert len({look["data"] for look in looks}) == 1

    # test people that were embedded were looked at, also where the probe then finds nothing to tell apart
    refused = lab.ask("probe", "--folds", "2", "--split", "test", "--attributes", "occlusion", "--set", "data.hard=0")
    assert "takes a single value" in refused.complaints[0]
    assert len([note for note in records(folder, "note") if note.name == "look_at_test"]) == 4

    folder.amend({"weights": "dropped: to save space"})
    assert "no weights to use" in lab.ask("probe").complaints[0]
    folder.amend({"weights": ""})
    (folder.checkpoints / "best.safetensors").unlink()
    assert "no weights to probe" in lab.ask("probe").complaints[0]
    (folder.path / "summary.json").unlink()
    assert "is not finished" in lab.ask("probe").complaints[0]
    assert "no finished test" in lab.ask("slices").complaints[0]
