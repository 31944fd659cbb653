"""What an embedding costs: measured when training has ended, read by tables and by a study's objectives."""

import math

import pytest
import torch

from reid_lab import costing, experiment
from reid_lab.assembly import assemble, open_source
from reid_lab.catalogue import load_spec
from reid_lab.contracts import Batch
from reid_lab.inspecting.model import examine
from reid_lab.results import result_of
from reid_lab.spec.study import ObjectiveSpec
from reid_lab.study.arms import score
from reid_lab.study.jobs import costs
from tests.lab import records, results

SHORT = ("train.length.epochs=1",)


@pytest.fixture
def parts(lab):
    spec = load_spec(lab.file).spec
    return assemble(spec, open_source(spec.data))


def test_operations_are_those_that_inspect_counts(parts):
    found = costing.embedding_cost(parts.model, parts.source.facts, parts.runtime)
    seen = examine(parts.model, parts.spec, parts.source.facts)["subsets"]
    alone = {row["roles"][0]: row["flops"] / 1e9 for row in seen if len(row["roles"]) == 1}
    assert found["gflops_image"] == pytest.approx(alone["rgb"], rel=1e-6)
    assert found["gflops_caption"] == pytest.approx(alone["caption"], rel=1e-6)
    assert (found["latency_batch"], found["latency_device"]) == (1, "cpu")
    assert found["latency_threads"] == torch.get_num_threads()


def test_a_caption_is_counted_at_the_length_that_the_model_reads(parts):
    wanted = parts.model.inputs["caption"]
    ids = costing.specimen(parts.model, parts.source.facts).inputs["caption"].values
    assert ids.shape == (costing.GROUPS, wanted.max_length)
    assert (ids != wanted.pad_id).all()
    assert len(ids.unique(dim=0)) == costing.GROUPS


def test_a_latency_is_the_median_of_calls_with_one_image(parts, monkeypatch):
    clock, sizes = iter(range(10_000)), []
    embed = parts.model.embed

    def watched(batch: Batch):
        sizes.append(batch.size)
        return embed(batch)

    monkeypatch.setattr(parts.model, "embed", watched)
    monkeypatch.setattr(costing.time, "perf_counter", lambda: next(clock) / 1000)
    found = costing.embedding_cost(parts.model, parts.source.facts, parts.runtime)
    assert found["latency"] == pytest.approx(0.001)
    assert sizes[:2] == [costing.GROUPS, costing.GROUPS]
    assert sizes[2:] == [1] * (2 + costing.REPEATS)


def test_measuring_leaves_modes_and_weights_alone(parts):
    parts.model.train()
    before = {name: value.clone() for name, value in parts.model.state_dict().items()}
    costing.embedding_cost(parts.model, parts.source.facts, parts.runtime)
    assert all(module.training for module in parts.model.modules())
    assert all(torch.equal(before[name], value) for name, value in parts.model.state_dict().items())


def test_a_run_records_its_cost_and_objectives_get_it(lab):
    assert lab.run(*SHORT).code == 0
    summary = lab.only.summary()
    assert summary["gflops_image"] > 0
    assert summary["gflops_caption"] > 0
    assert summary["latency"] > 0
    assert {"parameters", "trainable", "peak_memory", "seconds", "latency_batch", "latency_device"} <= summary.keys()
    result = result_of(lab.only)
    wanted = [("val/mAP", "maximize"), ("cost/parameters", "minimize"), ("cost/latency", "minimize")]
    objectives = [ObjectiveSpec(metric=metric, direction=way) for metric, way in (*wanted, ("cost/gflops", "minimize"))]
    found = [score(objective, result.val, costs(result)) for objective in objectives]
    assert found == [
        summary["val"]["mAP"],
        float(summary["parameters"]),
        summary["latency"],
        summary["gflops_image"],
    ]
    said = lab.call("compare", lab.only.run_id, "--runs", str(lab.runs))
    assert {"GFLOPs, image", "GFLOPs, caption", "latency, ms"} <= set(said.out[0].split("  ")) | {
        part.strip() for part in said.out[0].split("  ")
    }


def test_a_model_that_cannot_be_measured_was_trained_all_the_same(lab, monkeypatch):
    def refused(*_):
        raise RuntimeError("no embedding of one role")

    monkeypatch.setattr(experiment, "embedding_cost", refused)
    assert lab.run(*SHORT).code == 0
    (note,) = (record.value for record in records(lab.only, "note") if record.name == "cost")
    assert note == "the cost of an embedding is not known: RuntimeError: no embedding of one role"
    assert "latency" not in lab.only.summary()
    assert math.isnan(result_of(lab.only).latency)
    assert results(lab.only)
