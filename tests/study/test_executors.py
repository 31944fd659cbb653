"""Which executor is chosen, and what is refused before anything is computed."""

from __future__ import annotations

import socket
import sys
import threading

import pytest

from reid_lab.errors import UserError
from reid_lab.study.executors import Inline, choose

STUDY = "base: tiny.yaml\nseeds: [0]\n"


@pytest.fixture
def refused(lab):
    """`study FILE OPTIONS` says one line, exits with 2 and writes nothing; the line."""

    def call(*options: str, study: str = STUDY):
        file = lab.folder / "one.yaml"
        file.write_text(study)
        told = lab.call("study", str(file), *options, "--runs", str(lab.runs))
        assert told.code == 2
        assert not lab.runs.exists()
        (line,) = told.complaints
        return line

    return call


def test_one_worker_is_this_process(tmp_path):
    for options, width in (({}, 1), ({"batch": 3}, 3), ({"workers": 1, "ranks": 2}, 1)):
        chosen = choose(tmp_path, **options)
        assert isinstance(chosen, Inline)
        assert chosen.width == width


def test_ray_is_not_installed(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for options in (("--workers", "2"), ("--gpus-per-trial", "0.5"), ("--cluster", "auto")):
        assert "need Ray: pip install 'reid-lab[ray]'" in refused(*options)
    assert "need Ray" in refused(study=STUDY + "workers: 2\n")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--cluster", "somewhere"), "--cluster somewhere: expected auto or HOST:PORT"),
        (("--cluster", "ray://host:1"), "--cluster ray://host:1: expected auto or HOST:PORT"),
        (("--cluster", "127.0.0.1:1"), "--cluster 127.0.0.1:1: no Ray cluster is reached there"),
        (("--cluster", "127.0.0.1:99999"), "--cluster 127.0.0.1:99999: no Ray cluster is reached there"),
        (("--gpus-per-trial", "1.5"), "a share is below 1"),
        (("--gpus-per-trial", "2", "--ranks", "3"), "each rank has a GPU of its own"),
        (("--workers", "0"), "--workers"),
        (("--batch", "0"), "--batch"),
        (("--ranks", "0"), "--ranks"),
    ],
)
def test_bad_options(refused, options, complaint):
    assert complaint in refused(*options)


def test_something_else_listens_there(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as one:
                one.recv(100)
                one.sendall(b"HTTP/1.0 400 Bad request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        port = server.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: no Ray cluster .* something else"):
            choose(tmp_path, cluster=f"127.0.0.1:{port}")


def test_no_cluster_runs_here(refused, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    line = refused("--cluster", "auto")
    assert "--cluster auto: no Ray cluster is reached there" in line
