"""`reid-lab compare --transfer`: the matrix of sources and targets, what it refuses, and that it can be verified."""

import json

import pytest

from reid_lab.tracking.records import encode
from tests.report.made import make
from tests.report.test_commands import call

DIGESTS = {"market1501": "a" * 64, "msmt17": "b" * 64}


def trained(runs, source, seed, **more):
    folder = make(runs, seed, spec={"data.name": source, "data.preset": ...}, digest=DIGESTS[source], **more)
    text = folder.journal.read_text().replace('"name":"synthetic"', f'"name":"{source}"')
    folder.journal.write_text(text)
    return folder


def looked(folder, target, value, *, digest=None, protocol="text_to_image", **more):
    note = {
        "metrics": {"mAP": value, "R1": value + 20},
        "name": target,
        "data": digest or DIGESTS[target],
        "protocol": protocol,
        "metrics_version": 1,
        "spec": {"eval.protocol": protocol},
        **more,
    }
    line = encode({"kind": "note", "name": "look_at_test", "step": 10, "time": 1, "value": note})
    with folder.journal.open("a") as file:
        file.write(line + "\n")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.delenv("REID_LAB_RUNS", raising=False)
    folder = tmp_path / "runs"
    for seed in range(3):
        looked(trained(folder, "market1501", seed), "msmt17", 10.0 + seed)
    trained(folder, "msmt17", 0, noise=5)
    return folder


def transfer(runs, *words, names="market1501,msmt17"):
    return call(runs, "compare", "--transfer", names, "--metrics", "mAP", *words)


def test_a_cell_is_the_mean_over_seeds(runs):
    code, out, err = transfer(runs, "--format", "csv")
    assert (code, err) == (0, [])
    assert out[0] == (
        "trained on,mAP on market1501 mean,mAP on market1501 deviation,mAP on market1501 seeds,"
        "mAP on msmt17 mean,mAP on msmt17 deviation,mAP on msmt17 seeds"
    )
    assert out[1].startswith("market1501,")
    assert out[1].endswith(",3,11.00,1.00,3")
    assert out[2].split(",")[1:4] == ["missing", "", ""]
    assert out[2].endswith(",–,1")


def test_a_missing_cell_tells_the_command_that_fills_it(runs):
    _, out, _ = transfer(runs)
    (row,) = (line for line in out if line.startswith("msmt17 "))
    assert "missing" in row
    run = next(
        path.name for path in runs.iterdir() if '"msmt17"' in (path / "journal.jsonl").read_text().split("loss")[0]
    )
    told = f"missing: msmt17 to market1501; `reid-lab evaluate {run} --data market1501 --set data.root=FOLDER` fills it"
    assert told in out


def test_seeds_that_lack_a_look_are_counted_out_and_named(runs):
    trained(runs, "market1501", 3)
    _, out, _ = transfer(runs, "--format", "csv")
    assert out[1].endswith(",11.00,1.00,3")
    assert any("1 of 4 seeds missing: market1501 to msmt17; `reid-lab evaluate " in line for line in out)


def test_of_several_looks_the_last_one_counts(runs):
    for folder in runs.iterdir():
        if "look_at_test" in (folder / "journal.jsonl").read_text():
            looked(type("Folder", (), {"journal": folder / "journal.jsonl"}), "msmt17", 50.0)
    _, out, _ = transfer(runs, "--format", "csv")
    assert out[1].endswith(",50.00,0.00,3")


def test_a_look_of_an_earlier_version_is_known_by_its_digest(runs):
    folder = trained(runs, "msmt17", 1, noise=6)
    line = {"metrics": {"mAP": 7.0, "R1": 9.0}, "data": DIGESTS["market1501"], "protocol": "text_to_image"}
    with folder.journal.open("a") as file:
        file.write(encode({"kind": "note", "name": "look_at_test", "step": 1, "time": 1, "value": line}) + "\n")
    _, out, _ = transfer(runs, "--format", "csv")
    assert out[2].startswith("msmt17,7.00,–,1,")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"protocol": "image_to_image"}, "on msmt17, protocols differ in eval.protocol: "),
        ({"digest": "e" * 64}, "on msmt17, data differ: "),
        ({"metrics_version": 2}, "on msmt17, metrics versions differ: "),
    ],
)
def test_a_column_that_mixes_is_refused(runs, more, line):
    looked(trained(runs, "market1501", 4), "msmt17", 9.0, **more)
    code, out, err = transfer(runs)
    assert (code, out) == (2, [])
    assert len(err) == 1
    assert err[0].startswith(f"reid-lab: {line}")


def test_tests_on_the_same_items_are_known_where_a_val_split_was_carved(runs):
    folder = trained(runs, "msmt17", 2, noise=7)
    (folder.path / "inputs.json").write_text(json.dumps({"tested": "f" * 64}))
    looked(trained(runs, "market1501", 4), "msmt17", 9.0, tested="f" * 64)
    assert transfer(runs)[0] == 0


@pytest.mark.parametrize(
    ("words", "names", "line"),
    [
        (
            [],
            "market1501,msmt71",
            "--transfer msmt71: none of these runs was trained or tested on it; did you mean 'msmt17'?",
        ),
        ([], "market1501", "--transfer: name two data sets or more, each once"),
        (["--ablation"], "market1501,msmt17", "--transfer has sources and targets"),
        (["nobody"], "market1501,msmt17", "no study, experiment or run 'nobody'"),
    ],
)
def test_a_mistake_is_one_line(runs, words, names, line):
    code, out, err = transfer(runs, *words, names=names)
    assert (code, out) == (2, [])
    assert len(err) == 1
    assert line in err[0]


@pytest.mark.parametrize("ending", ["md", "tex", "csv", "html", "txt"])
def test_every_format_is_verified_and_a_changed_digit_found(runs, tmp_path, ending):
    file = tmp_path / f"t.{ending}"
    assert transfer(runs, "--out", str(file))[0] == 0
    assert call(runs, "verify", str(file))[0] == 0
    text = file.read_text()
    file.write_text(text.replace("11.00", "11.01", 1))
    code, _, err = call(runs, "verify", str(file))
    assert code == 2
    assert any("row 'market1501', column 'mAP on msmt17" in line for line in err)


def test_nothing_to_compare_is_one_line(runs):
    code, _, err = call(runs, "compare")
    assert code == 2
    assert len(err) == 1
    assert "what is to be compared?" in err[0]


def test_looks_of_real_runs_fill_a_cell(lab):
    folder = lab.written("png")
    other = f"data={{name: cuhk_pedes, root: {folder}, image_size: [32, 16]}}"
    assert lab.run("train.length.epochs=1").code == 0
    first = lab.only
    assert lab.run("train.length.epochs=1", other).code == 0
    sets = ["--data", "cuhk_pedes", "--set", f"data.root={folder}", "--set", "data.image_size=[32,16]"]
    assert lab.call("evaluate", first.run_id, *sets, "--runs", str(lab.runs)).code == 0
    code, out, err = call(
        lab.runs, "compare", "--transfer", "synthetic,cuhk_pedes", "--metrics", "mAP", "--format", "csv"
    )
    assert (code, err) == (0, [])
    own = f"{first.summary()['test']['mAP']:.2f}"
    assert out[1] == f"synthetic,{own},–,1,{own},–,1"  # the folder holds the same world
    assert out[2].startswith("cuhk_pedes,missing,,,")
    assert any(line.endswith("--data synthetic` fills it") for line in out)
