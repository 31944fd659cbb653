"""Layers, overrides and origins of loaded specs."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from reid_lab.errors import SpecError
from reid_lab.spec.loader import load, load_data, outline
from reid_lab.spec.run import RunSpec
from reid_lab.spec.schedule import ChainSpec, StepSpec
from tests.spec.fakes import GOOD, REGISTRIES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> None:
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")

    return write


def lines(path: str, *sets: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(path, sets, registries=REGISTRIES)
    return [str(fault) for fault in caught.value.faults]


def test_defaults_and_origins(folder):
    folder(good=GOOD + "train:\n  stages:\n  - {name: a, length: {epochs: 2}}\n")
    loaded = load("good.yaml", ["train.batch.size=8"], registries=REGISTRIES)
    assert loaded.spec.train.batch.size == 8
    assert loaded.spec.train.stages[0].length.epochs == 2
    assert loaded.origin["name"] == "good.yaml:1:7"
    assert loaded.origin["train.batch.size"] == "--set train.batch.size=8:18"
    assert loaded.origin["train.stages.0.length.epochs"] == "good.yaml:6:32"
    assert loaded.origin["train.stages.0.length.steps"] == "default"
    assert loaded.origin["runtime.threads"] == "default"


def test_every_field_has_an_origin(folder):
    folder(good=GOOD)
    loaded = load("good.yaml", registries=REGISTRIES)
    fields = {f"train.{name}" for name in type(loaded.spec.train).model_fields} | set(RunSpec.model_fields)
    assert fields <= set(loaded.origin)


def test_only_the_chosen_section_is_imported(folder):
    folder(good=GOOD)

    def refuse():
        raise AssertionError("imported although not chosen")

    load("good.yaml", registries=replace(REGISTRIES, models={**REGISTRIES.models, "other": refuse}))


def test_extends_merges_mappings_and_replaces_the_rest(folder):
    folder(
        base=GOOD + "train:\n  batch: {size: 8, instances: 2}\n  augment: {erase_area: [0.1, 0.2]}\n",
        child="extends: base.yaml\nname: child\ntrain:\n  batch: {size: 16}\n  augment: {erase_area: [0.0, 1.0]}\n",
    )
    loaded = load("child.yaml", registries=REGISTRIES)
    assert loaded.spec.name == "child"
    assert (loaded.spec.train.batch.size, loaded.spec.train.batch.instances) == (16, 2)
    assert loaded.spec.train.augment is not None
    assert loaded.spec.train.augment.erase_area == (0.0, 1.0)
    assert loaded.origin["train.batch.instances"] == "base.yaml:5:31"
    assert loaded.origin["train.batch.size"] == "child.yaml:4:17"


def test_extends_is_relative_to_the_file_and_later_files_win(folder, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.yaml").write_text("extends: ../a.yaml\nseed: 2\n")
    folder(a=GOOD + "seed: 1\n", c="seed: 3\n", top="extends: [deep/b.yaml, c.yaml]\n")
    loaded = load("top.yaml", registries=REGISTRIES)
    assert loaded.spec.seed == 3
    assert loaded.origin["name"] == "a.yaml:1:7"
    assert load("deep/b.yaml", registries=REGISTRIES).spec.seed == 2


def test_two_files_may_extend_the_same_one(folder):
    folder(a=GOOD, b="extends: a.yaml\nseed: 2\n", c="extends: a.yaml\n", top="extends: [b.yaml, c.yaml]\n")
    assert load("top.yaml", registries=REGISTRIES).spec.seed == 2


def test_a_cycle_is_told_with_its_files(folder):
    folder(a="extends: b.yaml\n", b="extends: c.yaml\n", c="extends: [a.yaml]\n")
    assert lines("a.yaml") == ["c.yaml:1:11: extends: a file extends itself (a.yaml -> b.yaml -> c.yaml -> a.yaml)"]


def test_a_cycle_through_a_link_is_found(folder, tmp_path):
    folder(a="extends: b.yaml\n")
    os.symlink(tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert lines("a.yaml") == ["a.yaml:1:10: extends: a file extends itself (a.yaml -> a.yaml)"]


def test_faults_of_all_files_are_told_at_once(folder):
    folder(base=GOOD + "seed: -1\nseed: 2\n", child="extends: base.yaml\ntrain: {acumulate: 2}\n")
    assert lines("child.yaml", "runtime.threads=0") == [
        "base.yaml:5:1: 'seed' is given twice; first at line 4",
        "base.yaml:4:7: seed: expected an integer >= 0, got -1",
        "child.yaml:2:9: train.acumulate: no such key; did you mean 'accumulate'? (allowed: length, batch, pairs, "
        "augment, optimizer, schedule, accumulate, clip_norm, stages, fit_on, init_from)",
        "--set runtime.threads=0:17: runtime.threads: expected an integer >= 1, got 0",
    ]


def test_a_missing_file_names_its_neighbour(folder):
    folder(irra=GOOD)
    assert lines("ira.yaml") == ["ira.yaml: no such file; did you mean 'irra.yaml'?"]
    assert lines("nothing-like-it.yaml") == ["nothing-like-it.yaml: no such file"]


def test_a_pipe_is_not_read(folder, tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    assert lines("pipe.yaml") == ["pipe.yaml: not a file"]


def test_null_empties_a_slot_and_an_empty_mapping_fills_it(folder):
    folder(base=GOOD, child="extends: base.yaml\nmodel: {adapter: null}\n")
    without = load("child.yaml", registries=REGISTRIES)
    assert without.spec.model.adapter is None
    again = load("child.yaml", ["model.adapter={}"], registries=REGISTRIES)
    assert again.spec.model.adapter.rank == 4


def test_a_length_in_another_unit_replaces(folder):
    folder(good=GOOD + "train: {length: {epochs: 5}}\n")
    for override in ("train.length.steps=100", "train.length={steps: 100}"):
        assert load("good.yaml", [override], registries=REGISTRIES).spec.train.length.steps == 100


def test_a_schedule_of_another_kind_replaces(folder):
    folder(
        base=GOOD + "train: {schedule: {kind: step, value: 2, at: [{epochs: 1}]}}\n",
        child="extends: base.yaml\ntrain: {schedule: {kind: chain, segments: "
        "[{start: 0, end: 1, length: {epochs: 1}}]}}\n",
    )
    assert isinstance(load("child.yaml", registries=REGISTRIES).spec.train.schedule, ChainSpec)
    merged = load("base.yaml", ["train.schedule.factor=0.5"], registries=REGISTRIES).spec.train.schedule
    assert isinstance(merged, StepSpec)
    assert (merged.value, merged.factor) == (2.0, 0.5)


def test_another_architecture_replaces_the_whole_section(folder):
    folder(good=GOOD.replace("{name: irra}", "{name: irra, temperature: 0.1}"))
    spec = load("good.yaml", ["model={name: other, width: 3}"], registries=REGISTRIES).spec
    assert spec.model.name == "other"
    kept = load("good.yaml", ["train.optimizer.kind=sgd", "model.name=irra"], registries=REGISTRIES).spec
    assert kept.model.temperature == 0.1


def test_changing_the_optimizer_keeps_its_rate(folder):
    folder(good=GOOD + "train: {optimizer: {kind: adam, lr: 1e-4}}\n")
    spec = load("good.yaml", ["train.optimizer.kind=sgd"], registries=REGISTRIES).spec
    assert (spec.train.optimizer.kind, spec.train.optimizer.lr) == ("sgd", 1e-4)


def test_overrides_are_yaml_and_the_last_one_wins(folder):
    folder(good=GOOD)
    sets = ["seed=1", "seed=0x10", "name=no", "train.optimizer.betas=[0, 0.5]", "data.aliases={vis: rgb}"]
    spec = load("good.yaml", [*sets, "model.adapter.layers=[1, 2]"], registries=REGISTRIES).spec
    assert (spec.seed, spec.name, spec.train.optimizer.betas) == (16, "no", (0.0, 0.5))
    assert spec.data.aliases == {"vis": "rgb"}
    assert spec.model.adapter.layers == (1, 2)


def test_an_override_reaches_a_list_item(folder):
    folder(good=GOOD + "train:\n  stages:\n  - {name: a, length: {epochs: 1}}\n  - {name: b, length: {epochs: 1}}\n")
    spec = load("good.yaml", ["train.stages.1.length.steps=7"], registries=REGISTRIES).spec
    assert (spec.train.stages[1].name, spec.train.stages[1].length.steps) == ("b", 7)
    assert spec.train.stages[0].length.epochs == 1


def test_an_override_with_line_breaks_stays_one_line(folder):
    folder(good=GOOD)
    (line,) = lines("good.yaml", "seed=\n- 1\n- 2")
    assert "\n" not in line


def test_a_file_with_a_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    loaded = load(path, registries=REGISTRIES)
    assert loaded.origin["name"].endswith("good.yaml:1:7")


def test_a_data_section_without_a_file():
    assert load_data("pictures", ["preset=smoke", "image_size=[4, 2]"], registries=REGISTRIES).image_size == (4, 2)
    with pytest.raises(SpecError) as caught:
        load_data("pictures", ["presett=smoke", "val={identities: 2}"], registries=REGISTRIES)
    assert [str(fault) for fault in caught.value.faults] == [
        "--set presett=smoke:1: presett: no such key; did you mean 'preset'? "
        "(allowed: name, root, val, image_size, aliases, preset)",
        "--set val={identities: 2}:18: val.identities: expected a number > 0 and < 1, got 2",
    ]


def test_an_outline_needs_no_registry(folder, tmp_path):
    folder(base="data: {name: unheard}\n", good="extends: base.yaml\nname: x\nmodel: {name: new}\n", bad="a: [\n")
    found = outline(tmp_path / "good.yaml")
    assert (found.name, found.architecture, found.dataset, found.fault) == ("x", "new", "unheard", "")
    assert "bad YAML" in outline(tmp_path / "bad.yaml").fault
