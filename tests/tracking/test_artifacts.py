"""Artifacts on this machine's disk: weights are stored once, all else is copied."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from reid_lab.engine import checkpoint
from reid_lab.tracking import mlflow_store
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.mirror import sync
from reid_lab.tracking.mlflow_store import Store, place
from reid_lab.tracking.records import sha256
from tests.tracking.conftest import contents, write_run


def artifacts(store, run_id, name):
    """Where mlflow keeps the files of this name of a run and its models."""
    held = contents(store, run_id)
    roots = [held["id"], *(model[0] for model in held["models"])]
    return [f for root in roots for f in store.artifacts.rglob(f"{root}/**/{name}")]


def used(*roots: Path) -> int:
    """Bytes that files below the folders take, each content once."""
    found = {(s := f.stat()).st_ino: s.st_size for root in roots for f in root.rglob("*") if f.is_file()}
    return sum(found.values())


def test_weights_are_stored_once_and_outlive_the_run(tmp_path):
    runs = tmp_path / "runs"
    store = Store.of(runs)
    store.client()
    folder = write_run(runs, "linked-1", status="")
    weights = folder / "best.safetensors"
    save_file({"w": torch.zeros(250_000)}, weights)
    with Journal(folder / "journal.jsonl", strict=True) as journal:
        journal.record("checkpoint", "best", 6, {"path": weights.name, "sha256": sha256(weights)})
        journal.stop("finished")
    content = weights.read_bytes()
    before = used(folder)
    assert [s.problem for s in sync(runs)] == [None]
    (kept,) = artifacts(store, "linked-1", "best.safetensors")
    assert kept.stat().st_ino == weights.stat().st_ino
    assert used(folder, store.artifacts) - before < 10_000 < len(content)
    (spec,) = artifacts(store, "linked-1", "spec.yaml")
    assert spec.stat().st_ino != (folder / "spec.yaml").stat().st_ino
    sync(runs, full=True)
    weights.unlink()
    assert kept.read_bytes() == content
    assert not list(store.artifacts.rglob(".*"))


def test_what_may_be_written_in_place_is_copied(tmp_path):
    for name in ("journal.jsonl", "spec.yaml", "ranking.png", "test.json", "trace.log"):
        file = tmp_path / name
        file.write_text("before")
        place(file, tmp_path / "kept" / name)
        file.write_text("after")
        assert (tmp_path / "kept" / name).read_text() == "before"


def test_a_checkpoint_is_replaced_never_rewritten(tmp_path):
    file = tmp_path / "best.safetensors"
    checkpoint.save(file, {"model/w": torch.zeros(4)}, {"step": 1})
    place(file, tmp_path / "kept.safetensors")
    before = (tmp_path / "kept.safetensors").read_bytes()
    checkpoint.save(file, {"model/w": torch.ones(4)}, {"step": 2})
    assert (tmp_path / "kept.safetensors").read_bytes() == before
    assert file.stat().st_nlink == 1


def test_across_file_systems_weights_are_copied(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(mlflow_store.os, "link", refused)
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    place(tmp_path / "w.safetensors", tmp_path / "there" / "w.safetensors")
    assert (tmp_path / "there" / "w.safetensors").read_bytes() == b"weights"
    assert os.listdir(tmp_path / "there") == ["w.safetensors"]
