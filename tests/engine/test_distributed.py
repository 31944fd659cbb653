"""Two processes, and one with micro-batches, compute what one process computes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reid_lab.contracts import Encoded, Input
from reid_lab.engine.globalbatch import merge, split
from reid_lab.engine.runtime import Runtime
from tests.engine.toys import DiskRecorder, ToyStream, prepare, train

ROOT = Path(__file__).parents[2]
STEPS = 24


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The records of one process, by architecture."""
    made = tmp_path_factory.mktemp("alone")
    return {
        kind: train(made / kind, kind, steps=STEPS, options=options)[2]
        for kind, options in {"contrastive": {}, "normalised": {"dropout": 0.2}}.items()
    }


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """The folder that `torchrun --standalone --nproc-per-node 2` trained both toys in, with 1 and 2 micro-batches."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "tests.engine.worker", str(folder)),
        *("contrastive:1", "normalised:1", "contrastive:2", "normalised:2"),
    ]
    environment = {**os.environ, "WORKER_STEPS": str(STEPS), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def assert_equal_losses(found: DiskRecorder, expected: DiskRecorder) -> None:
    for kind in ("loss", "diag", "val"):
        ours, theirs = found.of(kind), expected.of(kind)
        assert ours.keys() == theirs.keys()
        assert kind != "loss" or {step for _, step in ours} == set(range(1, STEPS + 1))
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, rel=1e-5), key
    assert found.of("absent") == expected.of("absent")
    assert found.of("lr") == expected.of("lr")


@pytest.mark.parametrize("kind", ["contrastive", "normalised"])
@pytest.mark.parametrize("accumulate", [2, 3])
def test_micro_batches_keep_the_loss_of_the_whole_batch(tmp_path, alone, kind, accumulate):
    options = {} if kind == "contrastive" else {"dropout": 0.2}
    _, _, found = train(tmp_path, kind, steps=STEPS, accumulate=accumulate, options=options)
    assert_equal_losses(found, alone[kind])


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", ["contrastive", "normalised"])
def test_two_ranks_keep_the_loss_of_the_whole_batch(two_ranks, alone, kind, accumulate):
    found = DiskRecorder(two_ranks / f"{kind}-{accumulate}" / "records.jsonl")
    assert_equal_losses(found, alone[kind])


def test_clipping_sees_the_norm_of_the_whole_batch(tmp_path):
    one = train(tmp_path / "1", clip_norm=0.05)[2]
    two = train(tmp_path / "2", clip_norm=0.05, accumulate=2)[2]
    for key, value in one.of("loss").items():
        assert two.of("loss")[key] == pytest.approx(value, rel=1e-5)
    free = train(tmp_path / "3")[2]
    assert free.of("loss")["loss/total", 12] != one.of("loss")["loss/total", 12]


def test_dropout_of_a_micro_batch_is_replayed(tmp_path, monkeypatch):
    """Both encodings of a micro-batch see the same masks, so that cached gradients fit their features."""
    model, _, _ = train(tmp_path / "warm", options={"dropout": 0.5}, steps=1)
    seen = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda batch: seen.append(encode(batch)) or seen[-1])
    train(tmp_path / "run", model=model, accumulate=2, steps=1)
    first, second = seen[:2], seen[2:]
    assert len(second) == 2
    for before, after in zip(first, second, strict=True):
        assert torch.equal(before.items["image"].values, after.items["image"].values)
        assert not before.items["image"].values.requires_grad
        assert after.items["image"].values.requires_grad
    assert not torch.equal(first[0].items["image"].values == 0, first[1].items["image"].values == 0)


def test_parts_without_a_role_merge(tmp_path):
    """A sketch that only the second part has keeps its group's number."""
    runtime = Runtime(torch.device("cpu"))
    pids = torch.arange(3)
    rgb = Input(torch.ones(3, 2, requires_grad=True), torch.arange(3))
    sketch = Input(torch.full((1, 2), 5.0, requires_grad=True), torch.tensor([2]))
    parts = [Encoded({"rgb": rgb}, {"pids": pids}), Encoded({"rgb": rgb, "sketch": sketch}, {"pids": pids})]
    whole = merge(parts, runtime, cached=False)
    assert whole.size == 6
    assert whole.encoded.items["sketch"].rows.tolist() == [5]
    assert whole.encoded.items["rgb"].rows.tolist() == list(range(6))
    assert whole.encoded.groups["pids"].tolist() == [0, 1, 2, 0, 1, 2]
    (whole.encoded.items["sketch"].values.sum() * 3 + whole.encoded.items["rgb"].values[4].sum()).backward()
    tensors, gradients = whole.gradients(1, parts[1], 1)
    assert [t is v.values for t, v in zip(tensors, (rgb, sketch), strict=True)] == [True, True]
    assert gradients[0].tolist() == [[0, 0], [1, 1], [0, 0]]
    assert gradients[1].tolist() == [[3, 3]]


def test_more_micro_batches_than_groups():
    batch = prepare(ToyStream().batch(0)).rows(0, 3)
    assert [piece.size for piece in split(batch, 5)] == [1, 1, 1]
    assert [piece.size for piece in split(batch, 2)] == [1, 2]
    assert split(batch.rows(0, 0), 2) == []
