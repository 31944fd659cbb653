"""Study files: what is made of them, and every mistake with its place."""

from __future__ import annotations

import pytest

from reid_lab.errors import SpecError
from reid_lab.study.load import load_study
from tests.spec.fakes import GOOD, REGISTRIES
from tests.study.fakes import lines, study

WORDS = "components: {a: {off: {model.adapter: null}}, b: {big: {train.batch.size: 128}}}\n"


def test_an_arm_is_the_base_and_its_patch_with_their_places(tmp_path):
    loaded = study(tmp_path, "design: leave_one_out\n" + WORDS + "patch: {model.temperature: 0.05}\n")
    full, no_a, big = loaded.plan.arms
    assert loaded.name == "s"
    assert loaded.specs["no_a"].model.adapter is None
    arm = loaded.arm(big, {"model.adapter.rank": 8}, seed=5)
    assert (arm.spec.train.batch.size, arm.spec.seed, arm.spec.model.adapter.rank) == (128, 5, 8)
    assert arm.spec.model.temperature == loaded.arm(full).spec.model.temperature == 0.05
    assert arm.origin["train.batch.size"].endswith("s.yaml:3:75")
    assert arm.origin["model.temperature"].endswith("s.yaml:4:28")
    assert arm.origin["model.adapter.rank"] == "model.adapter.rank=8:1"
    assert arm.origin["name"].endswith("base.yaml:1:7")
    assert loaded.arm(no_a).spec == loaded.specs["no_a"]


def test_an_arm_reaches_list_items_and_whole_variants(tmp_path):
    text = "design: explicit\narms:\n  a: {train.stages.0.length: {steps: 5}}\n  b: {model: {name: other, width: 3}}\n"
    loaded = study(tmp_path, text)
    assert loaded.specs["a"].train.stages[0].length.steps == 5
    assert loaded.specs["b"].model.width == 3


def test_overrides_are_of_the_study(tmp_path):
    loaded = study(tmp_path, "seeds: [0]\n", "seeds=[4, 5]", "patch.train.batch.size=16", "name=other")
    assert loaded.spec.seeds == (4, 5)
    assert loaded.base.spec.train.batch.size == 16
    assert loaded.name == "other"
    assert lines(tmp_path, "", "seeds=[1, 1]") == ["--set seeds=[1, 1]:11: seeds.1: seed 1 is listed twice"]
    assert lines(tmp_path, "", "patch.model.adaptor=null")[0].startswith("--set patch.model.adaptor=null:")


def test_a_study_may_extend_another(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "common.yaml").write_text("seeds: [7]\nname: x\n")
    loaded = study(tmp_path, "extends: common.yaml\nname: mine\n")
    assert (loaded.spec.seeds, loaded.name) == ((7,), "mine")


def test_names_are_not_shared(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "other.yaml").write_text("name: s\n")
    assert lines(tmp_path, "") == [
        "study/s.yaml:1:1: name: study/other.yaml is called 's', too; runs are kept under a study's name"
    ]


def test_a_missing_base_has_a_nearest_name(tmp_path):
    study(tmp_path, "")
    (tmp_path / "study" / "s.yaml").write_text("base: ../bose.yaml\n")
    with pytest.raises(SpecError, match=r"s.yaml:1:7: base: .*bose.yaml: no such file; did you mean '.*base.yaml'"):
        load_study(tmp_path / "study" / "s.yaml", registries=REGISTRIES)


def test_a_broken_base_is_told_alone(tmp_path):
    assert lines(tmp_path, "design: leave_one_out\n" + WORDS, base=GOOD + "seed: one\n") == [
        "base.yaml:4:7: seed: expected an integer >= 0, got the string 'one'"
    ]


MISTAKES = {
    "unknown key of a patch": (
        "design: leave_one_out\ncomponents: {a: {off: {model.adaptor: null}}}\n",
        ["3:24: model.adaptor: no such key; did you mean 'adapter'?"],
    ),
    "wrong values in two patches": (
        "design: explicit\narms: {x: {train.batch.size: s}, y: {model.adapter: 3}}\n",
        [
            "3:30: train.batch.size: expected an integer >= 1, got the string 's'",
            "3:53: model.adapter: expected a mapping (rank, layers) or null, got 3",
        ],
    ),
    "a rule among fields that the arm breaks": (
        "design: explicit\narms: {x: {train.batch.sampler: identity}}\npatch: {train.batch.size: 6}\n",
        ["4:27: train.batch.size: 6 is not a multiple of instances (4)"],
    ),
    "a rule whose field stands in the base": (
        "design: explicit\narms: {x: {data.val: none}}\n",
        ["3:22: eval.select_on: 'val' needs a validation split"],
    ),
    "cyclic requires": (
        "design: factorial\ncomponents:\n  a: {off: {model.adapter: null}, requires: [b]}\n"
        "  b: {off: {train.augment: null}, requires: [a]}\n",
        ["4:45: components.a.requires: cyclic: a requires b requires a"],
    ),
    "unknown component": (
        "design: leave_one_out\ncomponents: {adapter: {off: {model.adapter: null}, requires: [adaptor]}}\n",
        ["3:63: components.adapter.requires.0: unknown component 'adaptor'; allowed: adapter; did you mean 'adapter'?"],
    ),
    "unknown level": (
        "design: leave_one_out\n"
        "components: {a: {off: {train.augment: null}}, b: {off: {model.adapter: null}, excludes: [a=of]}}\n",
        ["3:90: components.b.excludes.0: unknown level of a 'of'; allowed: off, on; did you mean 'off'?"],
    ),
    "two arms of one name": (
        "design: leave_one_out\n" + WORDS + "arms: {no_a: {train.batch.size: 3}}\n",
        ["4:8: arms.no_a: two arms are called 'no_a'"],
    ),
    "an arm that changes nothing": (
        "design: leave_one_out\ncomponents: {a: {weak: {model.adapter.rank: 4}}}\n",
        ["3:25: the arm 'a=weak' is the same experiment as 'full': the patch changes nothing"],
    ),
    "components that set the same path": (
        "design: factorial\ncomponents: {a: {off: {model.adapter: null}}, b: {big: {model.adapter.rank: 8}}}\n",
        ["3:47: components.b: the arm 'no_a,b=big' sets model.adapter by a and model.adapter.rank by b"],
    ),
    "no cell is left": (
        "design: leave_one_out\n"
        "components: {a: {x: {train.accumulate: 2}, excludes: [b]}, b: {y: {train.clip_norm: 2}}}\n",
        ["2:9: design: no cell is left: requires and excludes reject all of them (full: a excludes b)"],
    ),
    "empty seeds": ("seeds: []\n", ["2:8: seeds: expected a list of at least 1"]),
    "repeated seeds": ("seeds: [3, 1, 3]\n", ["2:15: seeds.2: seed 3 is listed twice"]),
    "a seed in a patch": ("patch: {seed: 1}\n", ["2:9: patch: the seeds of a study stand in seeds"]),
    "a sweep without its path": (
        "design: sweep\nsweep: {values: [1]}\n",
        ["3:1: sweep.path: missing; expected a string"],
    ),
    "a sweep of nothing": ("design: sweep\n", ["2:9: design: sweep needs its path and values"]),
    "a sweep of an unknown path": (
        "design: sweep\nsweep: {path: model.adapter.rnk, values: [1, 2]}\n",
        ["3:15: model.adapter.rnk: no such key; did you mean 'rank'?"],
    ),
    "a sweep beyond the limits": (
        "design: sweep\nsweep: {path: model.adapter.rank, values: [1, 100]}\n",
        ["3:47: model.adapter.rank: expected an integer from 1 to 64, got 100"],
    ),
    "a path without off": (
        "design: path\ncomponents: {a: {off: {model.adapter: null}, weak: {model.adapter.rank: 1}}, "
        "b: {weak: {train.batch.size: 1}}}\n",
        [
            "3:46: components.a.weak: a path knows on and off only, not weak",
            "3:78: components.b: the design path takes it away, but it has no level off",
            "3:82: components.b.weak: a path knows on and off only, not weak",
        ],
    ),
    "a design without components": ("design: factorial\n", ["2:9: design: factorial is made of components; name some"]),
    "components without a design": (WORDS, ["2:1: components: without a design nothing reads them"]),
    "an objective on test": (
        "objective: {metric: test/mAP, direction: maximize}\n",
        ["2:21: objective.metric: the tuner has no handle on test; choose on val, such as val/mAP"],
    ),
    "an unknown cost": (
        "objective: {metric: cost/parameter, direction: minimize}\n",
        ["2:21: objective.metric: unknown metric 'cost/parameter'"],
    ),
    "an unknown metric of a task": (
        "objective: {metric: val/ONE/map, direction: maximize}\n",
        ["2:21: objective.metric: unknown metric 'val/ONE/map'"],
    ),
    "names that are no folders": (
        "name: a/b\ndesign: explicit\narms: {../up: {train.batch.size: 2}}\n",
        ["2:7: name: 'a/b' names a folder, too"],
    ),
    "unknown keys": ("bas: x\nseed: [1]\n", ["2:1: bas: no such key; did you mean 'base'?", "3:1: seed: no such key"]),
    "empty search": ("tune: {search: []}\n", ["2:16: tune.search: expected a list of at least 1"]),
    "tuning without val": (
        "tune: {search: [model.temperature]}\npatch: {data.val: none, eval.select_on: test}\n",
        ["2:1: tune: arm 'full': data.val is none", "2:1: tune: arm 'full': eval.select_on is test"],
    ),
    "seeds of trials": (
        "tune: {search: [model.temperature]}\nseeds: [1000000]\n",
        ["3:9: seeds.0: 1000000 is kept for trials"],
    ),
    "several objectives and a pruner": (
        "tune: {search: [model.temperature]}\n"
        "objective: [{metric: val/mAP, direction: maximize}, {metric: cost/parameters, direction: minimize}]\n",
        ["2:1: tune.pruner: several objectives cannot be pruned; set tune.pruner to null"],
    ),
    "fidelity that does not fit": (
        "tune: {search: [model.temperature], fidelity: {train.length: {epoch: 1}}}\n",
        ["2:63: train.length.epoch: no such key; did you mean 'epochs'?"],
    ),
    "unknown and unsearchable paths": (
        "tune: {search: [model.temprature, data.name, runtime.device, model.name]}\n",
        [
            "2:17: tune.search: model.temprature: no such knob; did you mean 'model.temperature'?",
            "2:35: tune.search: data.name: cannot be searched",
            "2:46: tune.search: runtime.device: cannot be searched; it does not change what is computed",
            "2:62: tune.search: model.name: cannot be searched",
        ],
    ),
    "a path that no arm has": (
        "patch: {model.adapter: null}\n"
        "tune: {search: [model.temperature, {path: model.adapter.rank, low: 1, high: 8}]}\n",
        ["3:36: tune.search: model.adapter.rank: no arm has it"],
    ),
    "an arm without any": (
        "design: explicit\narms: {a: {}, b: {model.adapter: null}}\n"
        "tune: {search: [{path: model.adapter.rank, low: 1, high: 8}]}\n",
        ["4:16: tune.search: the arm 'b' has none of these paths"],
    ),
    "a range beyond the hard limits": (
        "tune: {search: [{path: model.adapter.rank, low: 1, high: 128}]}\n",
        ["2:17: model.adapter.rank: expected an integer from 1 to 64, got 128"],
    ),
    "a value beyond the literals": (
        "tune: {search: [{path: train.batch.sampler, values: [random, rndom]}]}\n",
        ["2:17: train.batch.sampler: 'rndom' is not allowed; did you mean 'random'?"],
    ),
    "a logarithm of zero": (
        "tune: {search: [{path: model.temperature, low: 0.0}]}\n",
        ["2:17: tune.search: model.temperature: a logarithmic range begins above 0, not at 0"],
    ),
    "a range upside down": (
        "tune: {search: [{path: model.temperature, low: 0.2, high: 0.1}, {path: model.temperature, high: 0.001}]}\n",
        ["2:48: tune.search.0.low: low (0.2) is not below high (0.1)"],
    ),
    "an end above the declared other end": (
        "tune: {search: [{path: model.temperature, high: 0.001}]}\n",
        ["2:17: tune.search: model.temperature: low (0.01) is not below high (0.001)"],
    ),
    "a range of no integers": (
        "tune: {search: [{path: train.batch.size, low: 2.5, high: 4}]}\n",
        ["2:17: tune.search: train.batch.size: it is an integer; 2.5 is none"],
    ),
    "corners that do not go together": (
        "tune: {search: [train.batch.sampler, {path: train.batch.size, values: [8, 9]}]}\n",
        ["2:38: train.batch.size: 9 is not a multiple of instances (4)"],
    ),
    "a search that undoes an arm": (
        "design: explicit\narms: {a: {}, b: {model.temperature: 0.05}}\ntune: {search: [model.temperature]}\n",
        ["3:19: model.temperature: the arm 'b' sets it, and tune.search would undo that"],
    ),
    "searched and set by fidelity": (
        "tune: {search: [model.temperature], fidelity: {model.temperature: 0.05}}\n",
        ["2:67: tune.fidelity.model.temperature: is searched, too"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_its_place(tmp_path, name):
    text, wanted = MISTAKES[name]
    found = lines(tmp_path, text)
    assert [line[: len(f"study/s.yaml:{start}")] for line, start in zip(found, wanted, strict=True)] == [
        f"study/s.yaml:{start}" for start in wanted
    ]
    assert all("\n" not in line for line in found)
