"""The runtime, embeddings and the dry run."""

import copy
import os

import pytest
import torch
import torch.nn.functional as F

from reid_lab.engine import checkpoint
from reid_lab.engine.dry import dry_steps
from reid_lab.engine.evaluate import embed, evaluating, peak_memory
from reid_lab.engine.plan import OptimizerPlan, StagePlan
from reid_lab.engine.runtime import Runtime
from reid_lab.errors import NonFiniteLoss, RunError, SpecError
from tests.engine.toys import Contrastive, Normalised, ToyStream, plan, prepare, train

CPU = Runtime(torch.device("cpu"))


@pytest.fixture
def restored(monkeypatch):
    """What `Runtime.start` sets for the whole process is put back."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.mark.usefixtures("restored")
def test_start_sets_threads_and_determinism():
    runtime = Runtime.start("cpu", "bf16", threads=2)
    assert (runtime.device.type, runtime.rank, runtime.world, runtime.is_main) == ("cpu", 0, 1, True)
    assert torch.get_num_threads() == 2
    assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "2"
    assert torch.are_deterministic_algorithms_enabled()
    with runtime.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cdua"])
def test_an_unknown_device(device):
    with pytest.raises(SpecError, match=f"unknown device '{device}'; allowed: auto, cpu, cuda"):
        Runtime.start(device)


def test_a_device_that_is_not_there():
    with pytest.raises(RunError, match="device 'cuda:99' is not there"):
        Runtime.start("cuda:99")


def test_an_unknown_precision():
    with pytest.raises(SpecError, match="unknown precision 'fp8'; allowed: bf16, fp16, fp32"):
        Runtime.start("cpu", "fp8")


def test_embeddings_come_in_order_and_modes_are_restored():
    model = Normalised()
    model.train()
    model.neck.eval()
    batches = [ToyStream().batch(step) for step in range(3)]
    found = embed(model, batches, prepare, CPU)
    assert (model.training, model.trunk.training, model.neck.training) == (True, True, False)
    assert (found.shape, found.dtype, found.requires_grad) == ((24, 8), torch.float32, False)
    with evaluating(model), torch.no_grad():
        expected = torch.cat([model.embed(prepare(batch)) for batch in batches])
    assert torch.equal(found, expected)
    assert embed(model, [], prepare, CPU).shape == (0, 0)


def test_embeddings_in_bf16_are_near():
    model = Normalised()
    batches = [ToyStream().batch(0)]
    half = embed(model, batches, prepare, Runtime(torch.device("cpu"), "bf16"))
    full = embed(model, batches, prepare, CPU)
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    assert F.cosine_similarity(half, full).min() > 0.999


@pytest.mark.slow
def test_a_compiled_trunk_computes_the_same(tmp_path):
    compiled = train(tmp_path / "1", "normalised", steps=6, runtime=Runtime(torch.device("cpu"), compile=True))[2]
    eager = train(tmp_path / "2", "normalised", steps=6)[2]
    for key, value in eager.of("loss").items():
        assert compiled.of("loss")[key] == pytest.approx(value, rel=1e-5)


def test_peak_memory_never_falls():
    before = peak_memory(torch.device("cpu"))
    block = torch.ones(30_000_000)
    during = peak_memory(torch.device("cpu"))
    del block
    assert 1e8 < before <= during
    assert peak_memory(torch.device("cpu")) == during


def test_a_dry_run_measures_and_changes_nothing(tmp_path):
    model = Contrastive()
    before = copy.deepcopy(model.state_dict())
    settings = plan(12, stages=(StagePlan("main", 12, OptimizerPlan(lr=1e-2)),), accumulate=2)
    found = dry_steps(
        model, ToyStream(), settings, runtime=CPU, prepare=prepare, evaluation=(ToyStream().batch(0), prepare)
    )
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert set(found.losses) >= {"contrast", "words"}
    assert found.parameters == found.trainable == sum(p.numel() for p in model.parameters())
    assert found.seconds_in_total == pytest.approx(12 * found.seconds_per_step)
    assert found.seconds_per_epoch == pytest.approx(5 * found.seconds_per_step)
    assert found.evaluation_seconds_per_group > 0
    assert found.peak_memory_bytes > 1e8
    train(tmp_path, model=model, accumulate=2)
    written = sum((tmp_path / n).stat().st_size for n in (checkpoint.PREVIOUS, checkpoint.BEST))
    written += (tmp_path / checkpoint.PREVIOUS).stat().st_size
    headers = 3 * 5000
    assert found.checkpoint_bytes <= written <= found.checkpoint_bytes + headers


def test_a_dry_run_finds_what_a_run_would(monkeypatch):
    settings = plan(4, stages=(StagePlan("a", 2), StagePlan("b", 2, trainable=("nothing",))))
    with pytest.raises(SpecError, match="stage 'b': trainable pattern 'nothing'"):
        dry_steps(Contrastive(), ToyStream(), settings, runtime=CPU, prepare=prepare)
    broken = Contrastive()
    with torch.no_grad():
        broken.scale.fill_(torch.nan)
    with pytest.raises(NonFiniteLoss, match="loss 'contrast' is nan at step 1"):
        dry_steps(broken, ToyStream(), plan(4), runtime=CPU, prepare=prepare)
