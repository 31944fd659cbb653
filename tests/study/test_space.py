"""Search spaces from what specs declare, narrowed, widened, conditional, and what arms lack."""

from __future__ import annotations

import pytest

from reid_lab.study.space import Dimension, Space
from tests.study.fakes import lines, study

CLIP = "{path: train.clip_norm, low: 1.0, high: 2.0}"
RANK = "{path: model.adapter.rank, low: 1, high: 8}"


def spaces(tmp_path, search: str, more: str = "") -> dict[str, tuple[Space, tuple[str, ...]]]:
    """The space of each arm and what it lacks."""
    loaded = study(tmp_path, f"tune: {{search: [{search}]}}\n{more}")
    return {arm.name: loaded.space(arm) for arm in loaded.plan.arms}


def only(tmp_path, search: str) -> Dimension:
    """The one dimension of one arm."""
    (found,), lacking = spaces(tmp_path, search)["full"][0].dimensions, ()
    assert not lacking
    return found


def test_declared_ranges(tmp_path):
    assert only(tmp_path, "model.temperature") == Dimension("model.temperature", "float", 0.01, 0.1, True)
    assert only(tmp_path, "train.batch.instances").values == (2, 4, 8, 16)
    assert only(tmp_path, "train.optimizer.lr") == Dimension("train.optimizer.lr", "float", 1e-6, 1e-3, True)


def test_ranges_are_narrowed_widened_and_given(tmp_path):
    assert only(tmp_path, "{path: model.temperature, high: 0.05}").ends == (0.01, 0.05)
    wide = only(tmp_path, "{path: model.temperature, low: 0.001, high: 9, log: false}")
    assert (wide.ends, wide.log, type(wide.high)) == ((0.001, 9.0), False, float)
    rank = only(tmp_path, "{path: model.adapter.rank, low: 1, high: 8, log: true}")
    assert rank == Dimension("model.adapter.rank", "int", 1, 8, True)
    assert type(rank.low) is int
    assert only(tmp_path, "{path: train.batch.instances, low: 2, high: 4}").kind == "int"
    assert only(tmp_path, "{path: model.temperature, values: [0.02, 0.05]}").values == (0.02, 0.05)
    layers = only(tmp_path, "{path: model.adapter.layers, values: [null, [0], [0, 1]]}")
    assert layers.values == (None, (0,), (0, 1))


def test_what_is_measured_is_not_searched(tmp_path):
    for path in ("seed", "data.preset", "eval.queries", "model.name", "eval.metric"):
        assert "cannot be searched" in lines(tmp_path, f"tune: {{search: [{{path: {path}, values: [a]}}]}}\n")[0]
    reranked = spaces(tmp_path, "eval.rerank.weight", "patch: {eval.rerank: {k1: 5}}\n")
    assert reranked["full"][0].dimensions == (Dimension("eval.rerank.weight", "float", 0.0, 1.0),)


def test_an_arm_lacks_what_is_null_or_a_schedule_in_it(tmp_path):
    arms = """\
design: explicit
arms:
  full: {}
  no_adapter: {model.adapter: null}
  clipped: {train.augment.pad: 1, eval.patience: 3}
  scheduled: {model.id_weight: {kind: step}}
patch: {train.clip_norm: 1.5}
"""
    search = f"model.temperature, {RANK}, {CLIP}, {{path: model.id_weight, low: 1, high: 2}}"
    found = spaces(tmp_path, search, arms)
    assert {name: lacking for name, (_, lacking) in found.items()} == {
        "full": (),
        "no_adapter": ("model.adapter.rank",),
        "clipped": (),
        "scheduled": ("model.id_weight",),
    }
    names = [dimension.name for dimension in found["no_adapter"][0].dimensions]
    assert names == ["model.temperature", "train.clip_norm", "model.id_weight"]
    assert "train.clip_norm: no arm has it" in lines(tmp_path, f"tune: {{search: [model.temperature, {CLIP}]}}\n")[0]


def test_a_field_of_another_variant_is_lacking_not_unknown(tmp_path):
    heads = "{path: model.pooling.heads, values: [2, 4]}"
    arms = "design: explicit\narms: {full: {}, attends: {model.pooling: {kind: attention}}}\n"
    found = spaces(tmp_path, f"model.temperature, {heads}", arms)
    assert found["full"][1] == ("model.pooling.heads",)
    assert found["attends"][1] == ()


GROUPS = "{path: train.batch.instances, values: [2, 4], when: {train.batch.sampler: [identity]}}"


def test_conditional_dimensions_stand_behind_their_condition(tmp_path):
    found, lacking = spaces(tmp_path, f"{GROUPS}, train.batch.sampler")["full"]
    assert not lacking
    assert [d.name for d in found.dimensions] == ["train.batch.sampler", "train.batch.instances"]
    values = {"train.batch.sampler": "random", "train.batch.instances": 2}
    assert found.patch(values) == {"train.batch.sampler": "random"}
    assert found.patch(values | {"train.batch.sampler": "identity"}) == values | {"train.batch.sampler": "identity"}
    assert list(found.corners()) == [
        {"train.batch.sampler": "random"},
        {"train.batch.sampler": "identity", "train.batch.instances": 2},
        {"train.batch.sampler": "identity", "train.batch.instances": 4},
    ]


def test_a_condition_on_what_is_not_searched_is_settled(tmp_path):
    arms = "design: explicit\narms: {full: {}, groups: {train.batch.sampler: identity}}\n"
    found = spaces(tmp_path, f"{GROUPS}, model.temperature", arms)
    assert found["full"][1] == ("train.batch.instances",)
    (instances, _), lacking = found["groups"][0].dimensions, found["groups"][1]
    assert (instances.name, dict(instances.when), lacking) == ("train.batch.instances", {}, ())


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (
            "{path: train.accumulate, values: [1, 2], when: {train.batch.instances: [2]}}, "
            "{path: train.batch.instances, values: [2, 4], when: {train.accumulate: [1]}}",
            "train.accumulate: its conditions go round in a circle",
        ),
        ("{path: train.accumulate, values: [1, 2], when: {train.accumulate: [1]}}", "it cannot depend on itself"),
        ("model.temperature, {path: train.accumulate, values: [1], when: {model.temperature: [1]}}", "has a range"),
        (
            "train.batch.sampler, {path: train.accumulate, values: [1], when: {train.batch.sampler: [randm]}}",
            "'randm' is no value of train.batch.sampler (searched: random, identity)",
        ),
        ("{path: train.accumulate, values: [1], when: {train.batch.sampl: [a]}}", "train.batch.sampl: no such knob"),
        ("{path: train.accumulate, values: [1, 1]}", "values: 1 is listed twice"),
        ("model.adapter", "is a mapping; search the fields inside it"),
        ("train.accumulate", "no range is declared for it; give low and high, or values"),
        ("train.augment.erase_value", "is no number; give values"),
    ],
)
def test_ranges_and_conditions_that_are_none(tmp_path, search, said):
    found = lines(tmp_path, f"tune: {{search: [{search}]}}\n")
    assert any(said in line for line in found), found


def test_a_patch_needs_its_values_and_no_others():
    found = Space((Dimension("a", "float", 0.0, 1.0),))
    for values in ({}, {"a": 1.0, "b": 2}):
        with pytest.raises(KeyError):
            found.patch(values)


def test_corners_of_a_large_space_hold_every_pair():
    found = Space(tuple(Dimension(name, "float", 0.0, 1.0) for name in "abcdefghij"))
    corners = list(found.corners())
    assert len(corners) < 2**10
    for one in "abcdefghij":
        for other in "abcdefghij":
            if one != other:
                assert {(c[one], c[other]) for c in corners} == {(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)}
