"""One SQLite store for all tests of the room: creating its tables takes seconds."""

import socket
from collections import Counter

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from reid_lab.tracking.journal import Journal
from reid_lab.tracking.mlflow_store import RUN_TAG, Store
from reid_lab.tracking.records import sha256


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def store(runs):
    store = Store.of(runs)
    store.client()
    return store


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_run(runs, run_id, *, steps=6, status="finished", experiment="irra"):
    """A small finished run as the engine and experiment write it."""
    folder = runs / run_id
    with Journal(folder / "journal.jsonl", strict=True) as journal:
        journal.start(
            run_id=run_id,
            experiment=experiment,
            run_name=f"{experiment} seed 0",
            tags={"mlflow.source.git.commit": "c0ffee", "mlflow.source.git.branch": ""},
            description="**IRRA**",
        )
        journal.record("param", "train.optimizer.lr", 0, 1e-5)
        journal.record("param", "model.mlm", 0, None)
        journal.record("param", "data.root", 0, "")
        journal.record("param", "model.long", 0, "x" * 7000)
        journal.record("input", "synthetic", 0, {"digest": "d" * 64, "context": "training"})
        (folder / "spec.yaml").write_text("name: irra\n")
        journal.artifact("spec.yaml", folder / "spec.yaml")
        for step in range(steps):
            journal.record("loss", "loss/sdm", step, 1 / (step + 3))
            journal.record("weight", "sdm", step, 1.0)
            journal.record("lr", "head@2", step, 1e-5)
            journal.record("timing", "images_per_second", step, 100.0 + step)
        journal.record("absent", "mlm", 2, True)
        for step in (2, 5):
            journal.record("val", "val/mAP", step, 10.0 * step)
            save_file({"w": torch.full((4,), float(step))}, folder / "best.safetensors")
            value = {"path": "best.safetensors", "sha256": sha256(folder / "best.safetensors")}
            journal.record("checkpoint", "best", step, value)
            save_file({"w": torch.full((4,), float(step)), "adam": torch.ones(4)}, folder / "last.safetensors")
            value = {"path": "last.safetensors", "sha256": sha256(folder / "last.safetensors")}
            journal.record("checkpoint", "last", step, value)
        Image.new("RGB", (600, 300), "red").save(folder / "rank.png")
        journal.artifact("images/ranked/query 1.png", folder / "rank.png", step=5)
        journal.record("select", "select/best", 5, {"step": 5, "metric": "mAP"})
        journal.record("test", "mAP", 5, 48.5)
        journal.record("final", "parameters", 5, 1234)
        if status:
            journal.stop(status, step=5)
    return folder


def contents(store, run_id):
    """Everything mlflow holds of one of our runs, found by its tag."""
    client = store.client()
    found = client.search_runs(list(store.experiments().values()), f"tags.`{RUN_TAG}` = '{run_id}'")
    assert len(found) == 1, f"{len(found)} runs are tagged {run_id}"
    run = client.get_run(found[0].info.run_id)
    points = [
        (m.key, m.step, m.value, m.timestamp)
        for name in sorted(run.data.metrics)
        for m in client.get_metric_history(run.info.run_id, name)
    ]

    def files(folder=""):
        for info in client.list_artifacts(run.info.run_id, folder):
            yield from files(info.path) if info.is_dir else [(info.path, info.file_size)]

    models = client.search_logged_models([run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'")
    return {
        "id": run.info.run_id,
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "points": points,
        "params": dict(run.data.params),
        "tags": {k: v for k, v in run.data.tags.items() if k != "mlflow.runName"},
        "inputs": [(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs],
        "outputs": [(o.model_id, o.step) for o in run.outputs.model_outputs],
        "files": sorted(files()),
        "models": [
            (m.model_id, m.name, str(m.status), dict(m.tags), [(p.key, p.value, p.step) for p in m.metrics or []])
            for m in models
        ],
    }


def assert_each_point_once(points):
    repeated = {k: n for k, n in Counter((key, step) for key, step, *_ in points).items() if n > 1}
    assert repeated == {}
