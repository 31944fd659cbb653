"""Two ranks under torchrun, and micro-batches in one process, log the losses that one process logs."""

from __future__ import annotations

import subprocess

import pytest

from tests.lab import Lab, losses, records, write_clip

STEPS = 24
SETS = ("train.length.epochs=8", "eval.every.epochs=4")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def alone(tmp_path_factory, world_cache):
    """The losses of one process."""
    folder = tmp_path_factory.mktemp("alone")
    lab = Lab(folder, write_clip(folder / "clip"), world_cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REID_LAB_CACHE", str(world_cache))
        assert lab.run(*SETS).code == 0
    return losses(lab.only)


def assert_equal(found, expected):
    assert {name for name, _ in expected} == {"loss/sdm", "loss/id", "loss/mlm", "loss/total"}
    assert found.keys() == expected.keys() == {(name, n + 1) for name, _ in expected for n in range(STEPS)}
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-5), key


def test_micro_batches(lab, alone):
    assert lab.run(*SETS, "train.accumulate=2").code == 0
    assert_equal(losses(lab.only), alone)


def test_two_ranks(lab, alone):
    process = lab.start(*SETS, before=TORCHRUN)
    try:
        out, err = process.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, err
    assert_equal(losses(lab.only), alone)
    assert out.count(f"run      {lab.only.run_id}") == 1  # one rank reports
    assert lab.only.finished("test")
    assert len(records(lab.only, "start")) == 1


def test_a_finished_run_is_printed_by_ranks_too(lab):
    sets = ("train.length.epochs=1",)
    assert lab.run(*sets).code == 0
    process = lab.start(*sets, before=TORCHRUN)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert out.count("is finished already") == 1
