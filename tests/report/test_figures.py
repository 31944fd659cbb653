"""Every kind of figure: drawn from made runs, written, checked by `verify`, listed and documented."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reid_lab.errors import UserError
from reid_lab.report.figures import KINDS, making
from reid_lab.report.figures.kind import Kind, Lacking
from reid_lab.report.figures.style import COLOURS, Drawn, look, sheet, styled, written
from reid_lab.report.manifest import blocks
from reid_lab.report.verify import verified
from tests.lab import ROOT
from tests.report.drawable import EXAMPLES, asked, drawn, swept, tuned
from tests.report.made import ablated, make
from tests.report.test_commands import call


def write(kind, words, runs, folder, **given):
    ask = asked(kind, words, runs, **given)
    figure, facts = making.made(kind, KINDS[kind], ask, "reid-lab figure")
    return written(figure, folder, facts)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.delenv("REID_LAB_RUNS", raising=False)
    return tmp_path / "runs"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_drawn_written_documented_and_verified(kind, runs, tmp_path):
    words = EXAMPLES[kind](runs)
    png, pdf, data = write(kind, words, runs, tmp_path)
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert pdf.read_bytes()[:5] == b"%PDF-"
    told, faults = verified(data, runs)
    assert faults == []
    assert "all as the runs say" in told
    facts = json.loads(next(blocks(data.read_text())).manifest)
    assert facts["figure"]["kind"] == kind
    assert facts["caption"]
    assert all(one["identity"] for group in facts["groups"] for one in group["runs"])
    page = (ROOT / "docs" / "figures.md").read_text()
    assert f"## {kind}" in page.lower()
    assert f"reid-lab figure {kind} " in page
    assert all(f"`{option}`" in page for option in KINDS[kind].options)
    text = data.read_text()
    place = next(k for k in range(text.index("\n") + 1, len(text)) if text[k] == "." and text[k + 1].isdigit()) + 1
    data.write_text(f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}")
    (fault,) = verified(data, runs)[1]
    assert fault.what.startswith("row 1 (")
    assert "the file says" in fault.what


def test_every_kind_has_an_example():
    assert EXAMPLES.keys() == KINDS.keys()


def test_rows_that_were_taken_out_and_a_changed_manifest_are_found(runs, tmp_path):
    data = write("cmc", EXAMPLES["cmc"](runs), runs, tmp_path)[2]
    text = data.read_text()
    lines = text.splitlines(keepends=True)
    data.write_text("".join([*lines[:3], *lines[4:]]))
    assert any("rows, the runs give" in fault.what for fault in verified(data, runs)[1])
    data.write_text(text.replace('"caption": "CMC', '"caption": "AMC'))
    assert [fault.what for fault in verified(data, runs)[1]] == ["the manifest was changed after it was written"]


def test_a_changed_run_is_found(runs, tmp_path):
    words = EXAMPLES["learning"](runs)
    data = write("learning", words, runs, tmp_path, metrics=["loss/sdm"])[2]
    folder = next(runs.glob("*-1"))
    folder.joinpath("journal.jsonl").write_text(
        folder.joinpath("journal.jsonl")
        .read_text()
        .replace('"step":3,"time":1,"value":0.25', '"step":3,"time":1,"value":0.5')
    )
    faults = [fault.what for fault in verified(data, runs)[1]]
    assert any("column 'value': the file says '0.25', the runs '0.5'" in fault for fault in faults)


def test_data_that_needs_weights_is_compared_with_what_was_written(runs, tmp_path):
    make(runs)
    kind = Kind("", "weights", lambda: lambda ask: _line(), weights=True)
    ask = making.ask(kind, ["irra"], runs)
    made, facts = making.made("map", kind, ask, "reid-lab figure")
    data = written(made, tmp_path, facts)[2]
    told, faults = verified(data, runs)
    assert (told, faults) == ("the data of a figure of 1 runs is as it was written; its numbers need weights", [])
    data.write_text(data.read_text().replace("0.5", "0.6", 1))
    assert [fault.what for fault in verified(data, runs)[1]] == ["the data was changed after it was written"]


def _line(value=0.5):
    with styled():
        figure, (axes,) = sheet()
        axes.plot([0, 1], [0, value], **look(0))
    return Drawn("line", figure, [{"x": 1, "y": value}, {"x": 2, "y": float("nan")}], "a line")


def test_files_hold_the_data_in_full_precision(tmp_path):
    data = written(_line(0.1 + 0.2), tmp_path, {})[2].read_text().splitlines()
    assert data[:4] == ["x,y", "1,0.30000000000000004", "2,", "# reid-lab manifest"]


def test_nothing_is_left_where_nothing_can_be_written(tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        written(_line(), place, {})
    assert list(tmp_path.iterdir()) == [place]


def test_looks_differ_for_more_groups_than_there_are_colours():
    looks = [tuple(map(str, look(place).values())) for place in range(3 * len(COLOURS))]
    assert len(set(looks)) == len(looks)


def test_the_same_runs_give_the_same_bytes_in_another_process(runs, tmp_path):
    ablated(runs)
    here = write("cmc", ["ablation"], runs, tmp_path / "here")
    command = ["figure", "cmc", "ablation", "--runs", str(runs), "--out", str(tmp_path / "there"), "--no-log"]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "reid_lab", *command], env=environment, check=True, capture_output=True)
    for path in here[:2]:
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()


def test_figure_writes_and_verify_reads(runs, tmp_path):
    ablated(runs)
    code, out, err = call(runs, "figure", "forest", "ablation", "--metric", "mAP", "--out", str(tmp_path / "f.pdf"))
    assert code == 0
    png, pdf, data = (f"{tmp_path}/f.{ending}" for ending in ("png", "pdf", "csv"))
    assert out == [f"wrote {png}, {pdf}, {data}; `reid-lab verify {data}` checks the data"]
    assert err == [f"note: not logged: there is no MLflow store at sqlite:///{runs}/mlflow.db"]
    code, out, _ = call(runs, "verify", str(tmp_path / "f.csv"))
    assert (code, out) == (0, [f"{tmp_path}/f.csv: 1 figure, 14 numbers from 9 runs, all as the runs say"])


def test_compare_draws_what_the_selection_can_give(runs, tmp_path):
    ablated(runs)
    code, out, err = call(runs, "compare", "ablation", "--figures", str(tmp_path / "f"))
    assert code == 0
    given = [Path(line.split()[1].rstrip(",")).stem for line in out if line.startswith("wrote")]
    assert given == ["cmc", "forest", "learning", "cost"]
    told = [line.split(":")[1].removeprefix(" no ") for line in err if "not logged" not in line]
    assert told == [kind for kind in KINDS if kind not in given]
    assert any("not logged" in line for line in err)
    assert call(runs, "compare", "ablation", "--figures", str(tmp_path / "f"), "--no-log") == (
        code,
        out,
        [line for line in err if "not logged" not in line],
    )


def test_compare_transfer_draws_its_matrix(runs, tmp_path):
    EXAMPLES["transfer"](runs)
    sets = ["--transfer", "msmt17,market1501", "--metrics", "mAP"]
    code, out, _ = call(runs, "compare", *sets, "--figures", str(tmp_path / "f"))
    assert (code, [line.split()[1] for line in out if line.startswith("wrote")]) == (0, [f"{tmp_path}/f/transfer.png,"])
    assert call(runs, "verify", str(tmp_path / "f" / "transfer.csv"))[0] == 0


def test_kinds_are_listed_without_matplotlib_or_torch():
    code = (
        "import sys, reid_lab.cli as cli\n"
        "try: cli.main(['list', 'figures'])\n"
        "except SystemExit: print(sorted({'matplotlib', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    assert all(any(line.startswith(f"{kind} ") for line in lines) for kind in KINDS)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["cmcs", "ablation"], "unknown kind of figure 'cmcs'; allowed: "),
        (["cmc", "nothing"], "no study, experiment or run 'nothing'"),
        (["cmc", "ablation", "--with", "rank=5"], "unknown option 'rank'; allowed: ranks, task; did you mean 'ranks'?"),
        (["cmc", "ablation", "--with", "ranks"], "--with ranks: NAME=VALUE is needed"),
        (["cmc", "ablation", "--with", "ranks=0"], "--with ranks=0: a whole number from 1 is needed"),
        (["cmc", "ablation", "--with", "task=CC"], "cmc needs per-query results; "),
        (
            ["forest", "ablation", "--baseline", "ful"],
            "unknown baseline 'ful'; allowed: full, mlm=deep, no_mer; did you mean 'full'?",
        ),
        (["forest", "arm=full"], "filter 'arm': no run here has such a field"),
        (["forest", "seed=0", "model.mlm=null", "model.mer.rank=4"], "forest needs two groups or more; "),
        (["learning", "ablation", "--metric", "test/mAP"], "learning: 'test/mAP' is measured once; "),
        (
            ["learning", "ablation", "--metric", "loss/sdn"],
            "learning needs loss/sdn, which no run recorded; did you mean 'loss/sdm'?",
        ),
        (["decoupling", "ablation"], "decoupling needs diag/cos_raw, "),
        (
            ["sensitivity", "ablation"],
            "sensitivity needs groups that differ in one field of the spec; these differ in 2: ",
        ),
        (["modalities", "ablation"], "modalities needs the omni protocol; "),
        (["cost", "ablation", "--with", "costs=latency"], "cost needs latency; not recorded by full, no_mer, mlm=deep"),
        (["cost", "ablation", "--with", "costs=money"], "unknown cost 'money'; allowed: gflops_caption, "),
        (["transfer", "ablation"], "transfer needs runs of two data sets or more"),
        (["parallel", "irra"], "'irra' is no study"),
        (["parallel", "ablation"], "ablation: has no finished trials"),
    ],
)
def test_a_mistake_is_one_line(runs, tmp_path, arguments, line):
    ablated(runs)
    code, out, err = call(runs, "figure", *arguments, "--out", str(tmp_path / "figures"))
    assert (code, out, len(err)) == (2, [], 1), err
    assert line in err[0]
    assert not (tmp_path / "figures").exists()


def test_out_is_a_folder_or_a_file_of_a_known_kind(runs, tmp_path):
    code, _, err = call(runs, "figure", "cmc", "irra", "--out", str(tmp_path / "f.svg"))
    assert (code, err) == (2, [f"reid-lab: --out {tmp_path}/f.svg: a folder, or a file that ends in .png, .pdf, .csv"])


def test_mixed_protocols_are_refused(runs):
    for name, protocol in (("a", "text_to_image"), ("b", "omni")):
        make(runs, name=name, spec={"eval.protocol": protocol})
    for kind in ("cmc", "forest", "learning", "cost"):
        with pytest.raises(UserError, match="protocols differ"):
            drawn(kind, ["a", "b"], runs)


def test_a_lacking_record_names_the_run(runs):
    folder = make(runs)
    (folder.results / "test.npz").unlink()
    with pytest.raises(Lacking, match=folder.run_id):
        drawn("cmc", ["irra"], runs)


def test_trials_without_a_difference_give_no_plot(runs):
    folders = tuned(runs)
    for folder in folders[1:]:
        folder.journal.unlink()
    with pytest.raises(Lacking, match="those of full are alike"):
        drawn("slices", ["tuned"], runs)


def test_trials_are_scored_by_the_first_objective_on_val(runs):
    tuned(runs)
    file = runs / "studies" / "tuned" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "objectives": ["latency", "val/mAP", "val/R1"]}))
    assert asked("slices", ["tuned"], runs).metrics == ("val/mAP",)
    assert asked("slices", ["tuned"], runs, metrics=["val/R1"]).metrics == ("val/R1",)
    with pytest.raises(Lacking, match="slices needs trials with val/R1; they recorded val/mAP"):
        drawn("slices", ["tuned"], runs, metrics=["val/R1"])


def test_sensitivity_takes_the_field_of_by(runs):
    swept(runs, seeds=1)
    assert {row["field"] for row in drawn("sensitivity", ["irra"], runs, by=["model.mer.rank"]).rows} == {
        "model.mer.rank"
    }
