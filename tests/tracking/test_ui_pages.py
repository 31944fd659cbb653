"""Which pages a selection opens: runs, arms, studies, experiments, and the views that are saved for them."""

from __future__ import annotations

import base64
import json
import zlib
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from reid_lab import cli
from reid_lab.errors import UserError
from reid_lab.tracking.arms import ArmBook
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.members import Member, enter
from reid_lab.tracking.mirror import sync
from reid_lab.tracking.pages import columns, pages
from tests.tracking.conftest import contents, write_run

BASE = "http://127.0.0.1:5000"
CELLS = {"full": "eeeeeeeeeee1-1", "no_mlm": "eeeeeeeeeee2-1"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory, store):
    """A run, and a study of two arms with a cell each and two trials of the first; in the session's store."""
    runs = tmp_path_factory.mktemp("pages")
    write_run(runs, "dddddddddddd-1", experiment="pages")
    for arm, cell in CELLS.items():
        book = ArmBook(runs, "ablation", arm, key="c" * 64, experiment="pages", params={}, uri="off")
        trials = {f"fffffffffff{trial}-1": trial for trial in range(2) if arm == "full"}
        for run_id, trial in ({cell: None} | trials).items():
            folder = write_run(runs, run_id, experiment="pages", status=None)
            with Journal(folder / "journal.jsonl", strict=True) as journal:
                enter(journal, Member("ablation", arm, book.id, trial=trial))
                journal.stop("finished")
        book.measured(1, {"mAP": 40.0})
        book.stop("finished")
        book.close()
    assert {sent.problem for sent in sync(runs, uri=store.uri)} == {None}
    return runs


def found(runs, store, *words, studies=()):
    return {page.what: page.url for page in pages(runs, store, BASE, words, studies)}


def asked(url):
    return {name: value[0] for name, value in parse_qs(urlsplit(url).fragment.split("?", 1)[1]).items()}


def saved(store, url):
    """The name and state of the view that a link opens."""
    ident = urlsplit(url).fragment.split("/")[2]
    tags = store.client().get_experiment(ident).tags
    view = json.loads(tags[f"mlflow.sharedViewState.{asked(url)['viewStateShareKey']}"])
    return view["name"], json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))


def test_one_run_is_its_page(shop, store):
    opened = found(shop, store, "dddddddd")
    ident = contents(store, "dddddddddddd-1")["id"]
    assert list(opened) == ["run dddddddddddd-1", "files"]
    assert f"/runs/{ident}?" in opened["run dddddddddddd-1"]
    assert f"/runs/{ident}/artifacts?workflowType" in opened["files"]


def test_several_runs_are_a_table_charts_and_a_comparison(shop, store):
    opened = found(shop, store, "dddddddd", CELLS["full"])
    assert list(opened) == ["chosen runs", "charts", "comparison"]
    both = [contents(store, run_id)["id"] for run_id in ("dddddddddddd-1", CELLS["full"])]
    assert json.loads(asked(opened["comparison"])["runs"]) == both
    name, state = saved(store, opened["chosen runs"])
    assert name == f"runs dddddddddddd-1, {CELLS['full']}"
    assert state["searchFilter"] == asked(opened["charts"])["searchFilter"]
    assert all(ident in state["searchFilter"] for ident in both)


@pytest.mark.parametrize("selection", [{"words": ["ablation"]}, {"studies": ["ablation"]}])
def test_a_study_is_its_arms_its_cells_and_its_trials(shop, store, selection):
    opened = {page.what: page.url for page in pages(shop, store, BASE, **selection)}
    wanted = ["study ablation", "charts of cells", "comparison of cells", "charts of trials", "comparison of trials"]
    assert list(opened) == wanted
    _, state = saved(store, opened["study ablation"])
    assert state["searchFilter"] == "tags.`reid_lab.study` = 'ablation'"
    assert state["orderByKey"] == "attributes.start_time"  # otherwise nothing is folded below its parent
    ident = urlsplit(opened["study ablation"]).fragment.split("/")[2]
    shown = store.client().search_runs([ident], state["searchFilter"])
    assert len(shown) == 6
    cells = json.loads(asked(opened["comparison of cells"])["runs"])
    assert cells == [contents(store, run_id)["id"] for run_id in CELLS.values()]
    assert len(json.loads(asked(opened["comparison of trials"])["runs"])) == 2


def test_an_arm_is_its_own_children_and_its_page(shop, store):
    opened = found(shop, store, "ablation/full")
    assert list(opened) == [
        "study ablation, arm full",
        "charts of trials",
        "comparison of trials",
        "arm ablation/full",
    ]
    _, state = saved(store, opened["study ablation, arm full"])
    assert state["searchFilter"].endswith("AND tags.`reid_lab.arm` = 'full'")
    ident = urlsplit(opened["arm ablation/full"]).fragment.split("/")[2]
    assert len(store.client().search_runs([ident], state["searchFilter"])) == 4


def test_an_experiment_is_a_table_with_useful_columns(shop, store):
    opened = found(shop, store, "pages")
    assert list(opened) == ["runs of pages"]
    name, state = saved(store, opened["runs of pages"])
    assert name == "all runs"
    assert {"metrics.`val/mAP`", "metrics.`test/mAP`", "tags.`reid_lab.status`"} <= set(state["selectedColumns"])
    assert "runs of pages" in found(shop, store)


def test_columns_are_metrics_that_are_there_and_parameters_that_differ():
    def run(metrics, **params):
        return SimpleNamespace(data=SimpleNamespace(metrics=metrics, params=params))

    one = run({"val/mAP": 1.0, "loss/id": 2.0}, lr="1", depth="4", name="a", seed="0", text="x" * 50)
    other = run({"val/mAP": 2.0, "test/R1": 3.0}, lr="2", depth="4", name="b", seed="1", text="y")
    assert list(columns([one, other])) == [
        "tags.`reid_lab.status`",
        "metrics.`test/R1`",
        "metrics.`val/mAP`",
        "params.`seed`",
        "params.`lr`",
    ]
    assert list(columns([])) == ["tags.`reid_lab.status`"]


def test_a_view_of_the_workspace_file_is_kept(shop, store):
    file = shop / "experiments.yaml"
    file.write_text("pages: {views: {study ablation: {columns: [params.`seed`], search: params.`seed` = '0'}}}\n")
    try:
        _, state = saved(store, found(shop, store, "ablation")["study ablation"])
    finally:
        file.unlink()
    assert (state["selectedColumns"], state["searchFilter"]) == (["params.`seed`"], "params.`seed` = '0'")


def test_a_study_that_was_not_sent_is_told(shop, tmp_path, store):
    ArmBook(tmp_path, "late", "full", key="c" * 64, experiment="pages", params={}, uri="off").close()
    with pytest.raises(UserError, match="study late is not in mlflow yet; `reid-lab sync` sends it"):
        pages(tmp_path, store, BASE, ["late"])


def test_an_ambiguous_beginning_and_a_word_for_a_folder_are_told(shop, store):
    with pytest.raises(UserError) as error:
        pages(shop, store, BASE, ["f", "..", ""])
    first, second, third = map(str, error.value.faults)
    assert first == f"{shop}: 'f' is ambiguous: fffffffffff0-1, fffffffffff1-1"
    assert second.startswith(f"{shop}: no run, study or experiment '..'")
    assert third.startswith(f"{shop}: no run, study or experiment ''")


def test_files_are_selected_by_what_they_describe(shop, store, tmp_path, capsys, monkeypatch):
    (tmp_path / "ablation.yaml").write_text("base: pages.yaml\n")
    (tmp_path / "pages.yaml").write_text("name: pages\nmodel: {name: irra}\n")
    monkeypatch.chdir(tmp_path)

    def told(file):
        with pytest.raises(SystemExit) as exited:
            cli.main(["ui", file, "--runs", str(shop), "--uri", store.uri, "--port", "1"])
        return exited.value.code, capsys.readouterr()

    seen = []
    monkeypatch.setattr(
        "reid_lab.tracking.ui.open_ui", lambda *_, **given: seen.append((given["words"], given["studies"]))
    )
    for file in ("ablation.yaml", "pages.yaml"):
        assert told(file)[0] == 0
    assert seen == [([], ["ablation"]), (["pages"], [])]
    code, said = told("none.yaml")
    (line,) = said.err.splitlines()
    assert code == 2
    assert line.startswith("reid-lab: none.yaml: no such file")


def test_a_filter_chooses_what_compare_would(shop, capsys):
    with pytest.raises(SystemExit) as exited:
        cli.main(["ui", "architecture=irra", "seed=7", "--runs", str(shop)])
    assert exited.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"reid-lab: {shop}: nothing that is finished matches architecture=irra seed=7"
