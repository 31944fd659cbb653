"""Links, saved views, the workspace file, and a real server: down for the whole run, then synced twice."""

import base64
import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from reid_lab import cli
from reid_lab.errors import UserError
from reid_lab.tracking import links, ui
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.mirror import Mirror, sync
from reid_lab.tracking.mlflow_store import Location, Store
from reid_lab.tracking.workspace import apply_workspace
from tests.tracking.conftest import assert_each_point_once, contents, write_run

BASE = "http://127.0.0.1:5000"


def query(link):
    return {k: v[0] for k, v in parse_qs(urlsplit(link).fragment.split("?", 1)[1]).items()}


def test_links_open_in_the_right_mode():
    a, b, other = Location("1", "aa"), Location("1", "bb"), Location("2", "cc")
    assert links.link(BASE, a) == f"{BASE}/#/experiments/1/runs/aa?workflowType=machine_learning"
    assert links.experiment_link(BASE, "1") == f"{BASE}/#/experiments/1/runs?workflowType=machine_learning"
    one = links.charts_link(BASE, [a, b])
    assert one.startswith(f"{BASE}/#/experiments/1/runs?")
    assert query(one) == {
        "workflowType": "machine_learning",
        "compareRunsMode": "CHART",
        "searchFilter": "attributes.run_id IN ('aa','bb')",
    }
    several = links.charts_link(BASE, [a, other])
    assert several.startswith(f"{BASE}/#/compare-experiments/s?")
    assert json.loads(query(several)["experiments"]) == ["1", "2"]
    beside = links.compare_link(BASE, [a, other])
    assert beside.startswith(f"{BASE}/#/compare-runs?")
    assert (json.loads(query(beside)["runs"]), json.loads(query(beside)["experiments"])) == (["aa", "cc"], ["1", "2"])
    assert query(beside)["workflowType"] == "machine_learning"
    for link in (one, several, beside):
        assert not set(" '\"[](),") & set(link)
    assert "%2F" in links.link(BASE, Location("1", "a/b"))


def test_the_link_of_a_run_needs_no_mlflow(runs, store):
    write_run(runs, "link-1")
    assert ui.run_link(runs, "link-1") is None
    (sent,) = sync(runs, ["link-1"])
    assert ui.run_link(runs, "link-1") == links.link(BASE, sent.location)
    assert ui.run_link(runs, "link-1", port=7000).startswith("http://127.0.0.1:7000/#/")
    assert ui.run_link(runs, "link-1", "http://tracker.example") is None


def test_the_workspace_describes_experiments_and_saves_views(store, tmp_path):
    file = tmp_path / "experiments.yaml"
    file.write_text(
        "workspace test:\n  description: '*all*'\n  views:\n"
        "    results: {columns: ['metrics.`test/mAP`'], order: 'metrics.`test/mAP`', search: 'metrics.`a` > 1'}\n"
    )
    for _ in range(2):
        assert apply_workspace(store, file) == {"workspace test": ["results"]}
    tags = store.client().get_experiment_by_name("workspace test").tags
    assert tags["mlflow.note.content"] == "*all*"
    link = links.experiment_link(BASE, "1", view="results")
    view = json.loads(tags["mlflow.sharedViewState." + query(link)["viewStateShareKey"]])
    assert view["name"] == "results"
    state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
    assert state["selectedColumns"] == ["metrics.`test/mAP`"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test/mAP`", False)
    assert state["searchFilter"] == "metrics.`a` > 1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- irra\n", ["must map the names of experiments"]),
        ("irra: 3\n", ["irra: must be a mapping"]),
        ("irra: {descripton: x}\n", ["unknown field 'descripton'", "did you mean 'description'"]),
        ("irra: {description: 1, views: {a: {columns: x, ordr: y}}}\n",
         ["irra.description: must be a str", "irra.views.a.columns: must be a list", "did you mean 'order'"]),
        ("irra: {\n", ["experiments.yaml"]),
    ],
)  # fmt: skip
def test_a_malformed_workspace_is_an_error(store, tmp_path, text, words):
    (tmp_path / "experiments.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        apply_workspace(store, tmp_path / "experiments.yaml")
    assert all(word in str(error.value) for word in words)
    assert "Traceback" not in str(error.value)


def test_no_workspace_is_fine(store, tmp_path):
    assert apply_workspace(store, tmp_path / "experiments.yaml") == {}


def test_opening_refuses_what_is_not_there(runs, store, free_port):
    write_run(runs, "unsent-1")
    store.experiment("irra")
    said = []

    def message(**selection):
        with pytest.raises(UserError) as error:
            ui.open_ui(runs, said.append, port=free_port, **selection)
        return str(error.value)

    assert message(words=["unsent-1"]) == "run unsent-1 is not in mlflow yet; `reid-lab sync` sends it"
    both = message(words=["zzz", "ira"]).splitlines()
    assert both[0].startswith(f"{runs}: no run, study or experiment 'zzz'; `reid-lab list runs`")
    assert both[1] == f"{runs}: no run, study or experiment 'ira'; did you mean 'irra'?"
    assert "unknown study 'irra_ablation'" in message(studies=["irra_ablation"])
    assert said == []


def test_a_folder_without_runs_is_an_error_and_stays_as_it_is(tmp_path):
    with pytest.raises(UserError, match="no runs here yet"):
        ui.open_ui(tmp_path / "none", print)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_told_before_anything_is_written(tmp_path):
    (tmp_path / "experiments.yaml").write_text("irra: {description: x}\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use; give another one with --port"):
            ui.open_ui(tmp_path, print, port=port)
    assert [path.name for path in tmp_path.iterdir()] == ["experiments.yaml"]


def test_a_read_only_folder_is_one_line(tmp_path, monkeypatch, capsys):
    """Nothing may be made below a folder that the system calls read-only."""
    write_run(tmp_path, "aaaaaaaaaaaa-1")
    real = os.open

    def refuse(path, flags, *rest, **more):
        if str(path).startswith(str(tmp_path)) and flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SystemExit) as exited:
        cli.main(["ui", "--runs", str(tmp_path)])
    assert exited.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"reid-lab: {tmp_path}/mlflow.db.lock: read-only file system"


def test_a_taken_port_is_an_error(store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use"), ui.Server(store, port):
            pass


def test_a_server_that_dies_at_once_points_to_its_log(store, free_port, monkeypatch):
    monkeypatch.setattr(ui, "server_command", lambda *_: [sys.executable, "-c", "print('no such database')"])
    server = ui.Server(store, free_port)
    with pytest.raises(UserError, match="does not answer") as error:
        server.start()
    assert str(server.log) in str(error.value)
    assert "no such database" in server.log.read_text()


def test_server_away_for_the_whole_run_then_synced_twice(tmp_path, store, free_port):
    """The run ends before its server starts; afterwards everything is there once, also over HTTP."""
    uri = f"http://127.0.0.1:{free_port}"
    write_run(tmp_path, "http-1", status=None, experiment="http")
    with Journal(tmp_path / "http-1" / "journal.jsonl", strict=True) as journal:
        mirror = Mirror(journal, Store.of(tmp_path, uri), interval=0.05)
        time.sleep(0.3)
        journal.stop("finished")
        assert not mirror.close(10)
    with ui.Server(store, free_port) as base:
        assert base == uri
        (first,) = sync(tmp_path, uri=uri)
        assert first.problem is None
        held = contents(Store.of(tmp_path, uri), "http-1")
        (second,) = sync(tmp_path, uri=uri)
        assert second.records == 0
        (third,) = sync(tmp_path, uri=uri, full=True)
        assert third.records == first.records
        assert contents(Store.of(tmp_path, uri), "http-1") == held
        assert_each_point_once(held["points"])
        assert len([p for p in held["points"] if p[0].startswith("loss/")]) == 6
        assert [m[2] for m in held["models"]] == ["READY"]

        page = f"{base}/get-artifact?path=spec.yaml&run_uuid={first.location.run}"
        with urllib.request.urlopen(page) as answer:
            assert answer.read() == b"name: irra\n"
        with urllib.request.urlopen(base) as answer:
            assert b"<title>MLflow</title>" in answer.read()
        evil = urllib.request.Request(f"{base}/api/2.0/mlflow/runs/get", headers={"Host": "10.evil.example"})
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(evil)
        assert error.value.code == 403
        said = []
        seen = []
        ui.open_ui(tmp_path, said.append, words=["http-1"], uri=uri, browse=seen.append)
        assert said[0] == f"run http-1  {links.link(uri, first.location)}"
        assert seen == [links.link(uri, first.location)]


@pytest.mark.slow
def test_ctrl_c_stops_the_server(runs, store, free_port):
    code = (
        "import sys; from pathlib import Path; from reid_lab.tracking import open_ui\n"
        "open_ui(Path(sys.argv[1]), lambda line: print(line, flush=True), port=int(sys.argv[2]), words=['irra'])"
    )
    store.experiment("irra")
    shown = subprocess.Popen([sys.executable, "-c", code, str(runs), str(free_port)], stdout=subprocess.PIPE, text=True)
    page = shown.stdout.readline().split()[-1]
    assert unquote(page).startswith(f"http://127.0.0.1:{free_port}/#/experiments/")
    with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/health"):
        pass
    threading.Timer(0.2, os.kill, (shown.pid, 2)).start()
    assert shown.wait(30) == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{free_port}/health")
