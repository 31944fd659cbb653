"""A written table is checked against the runs: every changed digit is found, and named."""

import json
import random
import shutil

import pytest

from reid_lab.errors import UserError
from reid_lab.report import document
from reid_lab.report.manifest import blocks
from reid_lab.report.verify import verified
from tests.report.made import ablated

ENDINGS = ["txt", "md", "tex", "csv", "html"]


@pytest.fixture
def runs(tmp_path):
    ablated(tmp_path / "runs")
    return tmp_path / "runs"


def written(runs, ending="tex", **given):
    path = runs.parent / f"t.{ending}"
    document.write(document.chosen(["ablation"], runs, out=path, **given), path)
    return path


def faults(path, runs):
    return [fault.what for fault in verified(path, runs)[1]]


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_untouched_table_passes(runs, ending):
    path = written(runs, ending, queries=True)
    told, found = verified(path, runs)
    assert found == []
    assert told.startswith("1 table, ")
    assert told.endswith(" numbers from 9 runs, all as the runs say")


def test_an_untouched_ablation_passes(runs):
    assert (
        faults(written(runs, ablation=True, baseline="no_mer", correction="bh", metrics=["mAP", "val/mAP"]), runs) == []
    )


def test_journals_suffice(runs):
    path = written(runs)
    (runs / "mlflow.db").write_text("gone in a moment")
    (runs / "mlflow.db").unlink()
    shutil.rmtree(runs / "studies")
    assert faults(path, runs) == []


@pytest.mark.parametrize(
    ("ending", "column"),
    [("txt", "mAP"), ("md", "mAP"), ("tex", "mAP"), ("csv", "mAP mean"), ("html", "mAP")],
)
def test_a_changed_cell_is_named(runs, ending, column):
    path = written(runs, ending, metrics=["mAP"])
    text = path.read_text()
    facts = json.loads(next(blocks(text)).manifest)
    right = f"{facts['cells']['no_mer']['mAP'][0]:.2f}"
    wrong = f"{float(right) + 0.1:.2f}"
    assert text.count(right) == 1, "the number stands in the table only"
    path.write_text(text.replace(right, wrong))
    name = r"no\_mer" if ending == "tex" else "no_mer"
    (fault,) = faults(path, runs)
    assert fault.startswith(f"row '{name}', column '{column}': the file says '")
    assert wrong in fault.partition("the runs")[0]
    assert right in fault.partition("the runs")[2]


def changed(text, count, seed):
    """Texts with one digit changed: each digit of the table, then digits of the manifest, `count` in all."""
    choose = random.Random(seed)
    end = text.index("% reid-lab manifest")
    places = [k for k, sign in enumerate(text) if sign.isdigit()]
    inside = [k for k in places if k < end]
    beyond = [k for k in places if k >= end]
    choose.shuffle(inside)
    choose.shuffle(beyond)
    mixed = [*inside, *beyond] if count > len(inside) else [*inside[: count // 2], *beyond[: count - count // 2]]
    for place in mixed[:count]:
        other = choose.choice([digit for digit in "0123456789" if digit != text[place]])
        yield text[:place] + other + text[place + 1 :]


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_every_changed_digit_is_found(runs, count):
    path = written(runs, queries=count > 100)
    text = path.read_text()
    missed = []
    for number, other in enumerate(changed(text, count, seed=count)):
        path.write_text(other)
        if not verified(path, runs)[1]:
            missed.append(number)
    assert missed == []
    assert number + 1 == count


def test_a_digit_that_changes_no_float_is_found(runs):
    path = written(runs, metrics=["mAP"])
    text = path.read_text()
    value = repr(json.loads(next(blocks(text)).manifest)["groups"][0]["runs"][0]["metrics"]["test/mAP"])
    path.write_text(text.replace(value, f"{value}0"))
    assert faults(path, runs) == ["the manifest was changed after it was written"]


def test_a_changed_result_is_found(runs):
    path = written(runs, metrics=["mAP"])
    run = json.loads(next(blocks(path.read_text())).manifest)["groups"][1]["runs"][0]
    journal = runs / run["run"] / "journal.jsonl"
    value = repr(run["metrics"]["test/mAP"])
    journal.write_text(journal.read_text().replace(value, "12.5"))
    found = faults(path, runs)
    assert f"{run['run']}, test/mAP: the manifest says {value}, the journal 12.5" in found
    assert any(fault.startswith("row 'no\\_mer', column 'mAP'") for fault in found)


def test_changed_results_of_queries_are_found(runs):
    path = written(runs)
    run_id = json.loads(next(blocks(path.read_text())).manifest)["groups"][0]["runs"][0]["run"]
    (runs / run_id / "results" / "test.json").write_text("{}")
    assert faults(path, runs) == [f"{run_id}: results/test.json is not the file that the journal recorded"]


def test_a_run_that_is_gone_is_named(runs):
    path = written(runs)
    run_id = json.loads(next(blocks(path.read_text())).manifest)["groups"][2]["runs"][1]["run"]
    shutil.rmtree(runs / run_id)
    (fault,) = faults(path, runs)
    assert fault.endswith(f"no run '{run_id}', which 'mlm=deep' was made from")


def test_rows_that_were_taken_out_or_put_in_are_named(runs):
    path = written(runs)
    lines = path.read_text().splitlines()
    row = next(line for line in lines if line.startswith("no\\_mer &"))
    path.write_text("\n".join(line for line in lines if line != row) + "\n")
    assert faults(path, runs) == ["row 'no\\_mer' is not there"]
    more = [out for line in lines for out in ((line, row.replace("no\\_mer", "ours")) if line == row else (line,))]
    path.write_text("\n".join(more) + "\n")
    assert faults(path, runs) == ["row 'ours' is not from the runs"]


def test_a_paper_may_hold_several_tables_and_words_of_its_own(runs):
    first, second = written(runs).read_text(), written(runs, ablation=True).read_text()
    paper = runs.parent / "paper.tex"
    paper.write_text(f"\\section{{Results}} 3 of 4 hold.\n{first}\nIn 2026, 5 others.\n{second}\\end{{document}} 7\n")
    told, found = verified(paper, runs)
    assert found == []
    assert told.startswith("2 tables, ")
    head, between, rest = paper.read_text().rpartition("\n\\midrule\nfull & \\checkmark{}")
    paper.write_text(head + between + rest.replace("\\checkmark{}", "--", 1))
    (fault,) = verified(paper, runs)[1]
    assert fault.where == f"{paper}:{len(first.splitlines()) + 5}"
    assert fault.what == "row 'full', column 'mlm': the file says '--', the runs '\\checkmark{}'"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "no such file"),
        ("nothing", "holds no table with a manifest; `reid-lab compare … --out FILE` writes one"),
    ],
)
def test_a_file_without_a_table_is_refused(runs, text, line):
    path = runs.parent / "x.tex"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as error:
        verified(path, runs)
    assert str(error.value) == f"{path}: {line}"


@pytest.mark.parametrize("cut", ['"version": 1,', '"groups": ['])
def test_a_damaged_manifest_is_told(runs, cut):
    path = written(runs)
    path.write_text(path.read_text().replace(cut, ""))
    assert faults(path, runs) == ["the manifest is damaged; nothing can be checked"]


def test_html_comments_hold_no_two_hyphens(runs, monkeypatch):
    monkeypatch.setattr("sys.argv", ["reid-lab", "compare", "ablation", "--baseline", "full"])
    text = written(runs, "html").read_text()
    inside = text.partition("<!-- reid-lab manifest")[2].partition("-->")[0]
    assert "--" not in inside
    facts = json.loads(next(blocks(text)).manifest)
    assert facts["command"] == "reid-lab compare ablation --baseline full"
