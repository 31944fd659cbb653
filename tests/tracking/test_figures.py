"""Figures in mlflow: in the files of one run, or of a run that stands for several; a store that is away is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from reid_lab.tracking.arms import ArmBook
from reid_lab.tracking.figures import keep
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.members import Member, enter
from reid_lab.tracking.mirror import sync
from tests.tracking.conftest import contents, write_run


@pytest.fixture
def files(tmp_path):
    found = [tmp_path / f"cmc.{ending}" for ending in ("png", "pdf", "csv")]
    for file in found:
        file.write_text(f"the {file.suffix} of a figure")
    return found


def test_a_figure_of_one_run_lies_in_its_files(tmp_path, store, files):
    runs = tmp_path / "runs"
    write_run(runs, "f19000000000-1")
    sync(runs, uri=store.uri)
    for _ in range(2):  # again changes nothing
        assert keep(files, runs, ["f19000000000-1"], experiment="irra", selection="irra", uri=store.uri) == ""
    held = [name for name, _ in contents(store, "f19000000000-1")["files"] if name.startswith("figures/")]
    assert held == ["figures/cmc.csv", "figures/cmc.pdf", "figures/cmc.png"]


def test_a_run_is_found_by_its_tag_where_nothing_else_tells(tmp_path, store, files):
    runs = tmp_path / "runs"
    folder = write_run(runs, "f19000000001-1")
    sync(runs, uri=store.uri)
    for place in folder.glob("mirror-*.json"):
        place.unlink()
    assert keep(files, runs, ["f19000000001-1"], experiment="irra", selection="irra", uri=store.uri) == ""
    assert len(contents(store, "f19000000001-1")["files"]) >= 3


def test_a_figure_of_several_runs_has_a_run_of_its_own(tmp_path, store, files):
    told = {"experiment": "compared", "selection": "irra clip_mer", "uri": store.uri}
    for name in ("a-1", "b-1"):
        write_run(tmp_path, name)
    assert keep(files, tmp_path, ["b-1", "a-1"], **told) == ""
    files[2].write_text("drawn again")
    assert keep(files, tmp_path, ["a-1", "b-1"], **told) == ""
    client = store.client()
    (run,) = client.search_runs([store.experiments()["compared"]])
    assert run.info.run_name == "comparison: irra clip_mer"
    assert run.info.status == "FINISHED"
    assert run.data.tags["reid_lab.kind"] == "comparison"
    assert run.data.tags["reid_lab.runs"] == "a-1, b-1"
    local = client.download_artifacts(run.info.run_id, "figures/cmc.csv", str(tmp_path))
    assert Path(local).read_text() == "drawn again"


def test_a_figure_of_an_arm_lies_with_the_arm(tmp_path, store, files):
    runs, parent = tmp_path / "runs", "drawn/full"
    book = ArmBook(runs, "drawn", "full", key="f" * 16, experiment="irra", params={}, uri=store.uri)
    book.stop("finished", "")
    book.close()
    for number, name in enumerate(("f19000000003-1", "f19000000004-1")):
        folder = write_run(runs, name, status="")
        with Journal(folder / "journal.jsonl", strict=True) as journal:
            enter(journal, Member("drawn", "full", parent, number))
    sync(runs, [parent], uri=store.uri)
    ids = ["f19000000003-1", "f19000000004-1"]
    assert keep(files, runs, ids, experiment="irra", selection="drawn", uri=store.uri) == ""
    held = [name for name, _ in contents(store, f"{parent}-{'f' * 12}")["files"]]
    assert held == ["figures/cmc.csv", "figures/cmc.pdf", "figures/cmc.png"]


def test_a_run_that_was_not_sent_is_told(tmp_path, store, files):
    problem = keep(files, tmp_path, ["f19000000002-1"], experiment="irra", selection="irra", uri=store.uri)
    assert problem == "not logged: MLflow does not know f19000000002-1; `reid-lab sync f19000000002-1` sends it"


def test_no_store_is_made_for_a_figure(tmp_path, files):
    problem = keep(files, tmp_path / "runs", ["a-1"], experiment="irra", selection="irra")
    assert problem == f"not logged: there is no MLflow store at sqlite:///{tmp_path}/runs/mlflow.db"
    assert not (tmp_path / "runs").exists()


def test_a_server_that_is_away_is_told_in_one_line(tmp_path, files, free_port):
    uri = f"http://127.0.0.1:{free_port}"
    problem = keep(files, tmp_path, ["a-1", "b-1"], experiment="irra", selection="irra", uri=uri)
    assert problem.startswith(f"not logged to MLflow at {uri}: ")
    assert "\n" not in problem
