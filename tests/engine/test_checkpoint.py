"""Checkpoints: atomic, verified, and clear about what is wrong."""

import errno
import json
import os
import resource
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from reid_lab.engine import checkpoint
from reid_lab.errors import CheckpointError, RunError
from tests.engine.toys import train

TENSORS = {
    "model/a": torch.arange(6.0).reshape(2, 3),
    "model/half": torch.ones(3, dtype=torch.bfloat16),
    "model/number": torch.tensor(7),
    "optimizer/none": torch.empty(0, 4),
}
FACTS = {"step": 4, "metrics": {"mAP": 0.1 + 0.2}}


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "deep" / "last.safetensors"
    checkpoint.save(path, TENSORS, FACTS)
    found = checkpoint.load(path)
    assert found.facts == FACTS
    assert found.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)
    assert found.under("model/").keys() == {"a", "half", "number"}
    assert checkpoint.identify(path) == (4, checkpoint.weights_sha256(found.hashes))
    assert [p.name for p in path.parent.iterdir()] == ["last.safetensors"]


def test_plain_safetensors_reads_it(tmp_path):
    checkpoint.save(tmp_path / "last.safetensors", TENSORS, FACTS)
    assert torch.equal(load_file(tmp_path / "last.safetensors")["model/a"], TENSORS["model/a"])


def test_equal_contents_are_equal_files(tmp_path):
    shared = torch.zeros(4)
    checkpoint.save(tmp_path / "a", {"x": shared, "y": shared}, {"b": 1, "a": 2})
    checkpoint.save(tmp_path / "b", {"y": torch.zeros(4), "x": torch.zeros(4)}, {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_weights_hash_ignores_the_optimiser_and_sees_names_shapes_and_types():
    def of(tensors):
        return checkpoint.weights_sha256({n: checkpoint.tensor_sha256(t) for n, t in tensors.items()})

    a = torch.zeros(2, 3)
    same = of({"model/a": a})
    assert of({"model/a": a, "optimizer/a": a}) == same
    assert len({same, of({"model/b": a}), of({"model/a": a.T}), of({"model/a": a.int()}), of({"model/a": a + 1})}) == 5


def test_the_former_last_is_kept(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path / "last", TENSORS, {"step": step}, keep=tmp_path / "prev")
    assert checkpoint.load(tmp_path / "last").facts["step"] == 3
    assert checkpoint.load(tmp_path / "prev").facts["step"] == 2


def damage(path, where):
    data = bytearray(path.read_bytes())
    header = int.from_bytes(data[:8], "little")
    match where:
        case "length":
            data[:8] = (2**40).to_bytes(8, "little")
        case "header":
            data[9] ^= 0xFF
        case "facts":
            at = data.index(b"stages", 0, header)
            data[at] ^= 0x01
        case "tensor":
            entry = json.loads(data[8 : 8 + header])["model/words.weight"]
            data[8 + header + entry["data_offsets"][0] + 5] ^= 0x10
        case "truncated":
            del data[-10:]
        case "empty":
            data.clear()
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("length", "the file is damaged"),
        ("header", "the file is damaged"),
        ("facts", "the manifest is damaged"),
        ("tensor", r"tensor 'model/words\.weight' is damaged"),
        ("truncated", "the file is damaged"),
        ("empty", "the file is damaged"),
    ],
)
def test_damage_is_found_and_the_good_file_named(tmp_path, where, what):
    train(tmp_path)
    last = tmp_path / checkpoint.LAST
    damage(last, where)
    with pytest.raises(CheckpointError, match=rf"last\.safetensors: {what}.*last\.prev\.safetensors \(step 8\) is in"):
        train(tmp_path)
    shutil.copy(tmp_path / checkpoint.PREVIOUS, last)
    _, result, _ = train(tmp_path)
    assert result.last_step == 12


def test_advice_when_only_the_best_is_left(tmp_path):
    train(tmp_path)
    damage(tmp_path / checkpoint.LAST, "tensor")
    damage(tmp_path / checkpoint.PREVIOUS, "tensor")
    with pytest.raises(CheckpointError, match=r"best\.safetensors \(weights of step 5\) is intact"):
        checkpoint.load(tmp_path / checkpoint.LAST)
    (tmp_path / checkpoint.BEST).unlink()
    with pytest.raises(CheckpointError, match="no other checkpoint beside it is intact"):
        checkpoint.load(tmp_path / checkpoint.LAST)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        checkpoint.load(tmp_path / "none")
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="it has no manifest"):
        checkpoint.load(tmp_path / "foreign")


def test_all_mismatches_are_listed_and_the_model_is_untouched(tmp_path):
    source = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(2, 2), "c": nn.Linear(2, 2)})
    target = nn.ModuleDict({"a": nn.Linear(2, 4), "b": nn.Linear(2, 2), "d": nn.Linear(2, 2)})
    checkpoint.save(tmp_path / "x", {f"model/{n}": t for n, t in source.state_dict().items()}, {"step": 1})
    before = {n: t.clone() for n, t in target.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_weights(tmp_path / "x", target)
    text = str(caught.value)
    assert len(caught.value.faults) == 6
    assert "tensor 'a.weight' is (3, 2) torch.float32, the model wants (4, 2) torch.float32" in text
    assert "tensor 'c.bias' is unknown to the model" in text
    assert "tensor 'd.weight' is missing" in text
    assert all(torch.equal(before[n], t) for n, t in target.state_dict().items())


def test_a_write_that_fails_leaves_the_former_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, TENSORS, FACTS)
    before = path.read_bytes()

    def full(file, *arguments):
        file.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(RunError, match=r"cannot be written.*No space left on device.*the former one is intact"):
        checkpoint.save(path, {"model/a": torch.ones(9)}, {"step": 5})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


def test_a_file_size_limit_is_reported(tmp_path):
    """The operating system itself refuses the bytes."""
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, TENSORS, FACTS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(RunError, match="the former one is intact"):
            checkpoint.save(path, {"model/a": torch.ones(100_000)}, {"step": 5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.load(path).facts == FACTS
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB, where the test may mount one."""
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)], capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("a small file system cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_is_reported_with_what_is_needed_and_free(small_disk):
    path = small_disk / "last.safetensors"
    checkpoint.save(path, {"model/a": torch.ones(10_000)}, {"step": 1})
    with pytest.raises(RunError, match=r"no space for a checkpoint: 0\.4 MB are needed, 0\.2 MB are free"):
        checkpoint.save(path, {"model/a": torch.ones(100_000)}, {"step": 2})
    assert checkpoint.load(path).facts["step"] == 1
    assert [p.name for p in small_disk.iterdir()] == ["last.safetensors"]
