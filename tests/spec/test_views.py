"""Resolved view, identity, patches and schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reid_lab.spec.identity import canonical, identity, run_id
from reid_lab.spec.loader import Loaded, load
from reid_lab.spec.patch import ABSENT, Change, diff, put
from reid_lab.spec.run import OptimizerSpec
from reid_lab.spec.schema import json_schema
from reid_lab.spec.section import LATER, Section, walk
from reid_lab.spec.show import resolved_yaml, scalar
from reid_lab.spec.tree import parse, plain
from tests.spec.fakes import GOOD, REGISTRIES


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)

    def read(*sets: str) -> Loaded:
        return load(path, sets, registries=REGISTRIES)

    return read


def test_what_is_local_holds_for_all_that_stands_in_it(good):
    leaves = {leaf.path: leaf.local for leaf in walk(good().spec)}
    assert leaves["checkpoint.every.epochs"] is leaves["runtime.device"] is True
    assert leaves["eval.every.epochs"] is leaves["seed"] is False


@given(st.text() | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_scalar_reads_back(value):
    text = f"key: {scalar(value)}\n"
    tree, _ = parse(text, "f")
    assert plain(tree) == {"key": value}


STAGES = "[{name: a, length: {epochs: 1}, terms: [sdm]}, {name: b, length: {steps: 3}, optimizer: {lr: 0.1}}]"
SCHEDULE = "{kind: chain, segments: [{start: 0, end: 1, length: {fraction: 0.5}}]}"


@pytest.mark.parametrize(
    "sets",
    [
        (),
        (f"train.stages={STAGES}", f"train.schedule={SCHEDULE}", "model.adapter=null"),
        ("description='# not a comment: \"quoted\"'", "data.aliases={vis: rgb, 'no': nir}"),
        (
            "published=[{source: a paper, metrics: {R1: 73.4}}, {source: another, metrics: {}}]",
            "model.adapter.layers=[1]",
        ),
    ],
)
def test_the_resolved_view_loads_to_the_same_spec(good, tmp_path, sets):
    loaded = good(*sets)
    path = tmp_path / "resolved.yaml"
    path.write_text(resolved_yaml(loaded), encoding="utf-8")
    assert load(path, registries=REGISTRIES).spec == loaded.spec


def test_the_resolved_view_names_every_origin(good):
    text = resolved_yaml(good("seed=3"))
    by_key = {line.split(":")[0].strip(): line.rpartition("  # ")[2] for line in text.splitlines() if "  # " in line}
    assert by_key["seed"] == "--set seed=3:6"
    assert by_key["preset"] == "default"
    assert by_key["name"].endswith("good.yaml:3:15")


def test_identity_counts_what_decides_the_result(good):
    parts = {"data": "abc", "metrics": 1}
    base = identity(good().spec, parts)
    assert len(base) == 64
    same = ("runtime.device=cuda", "runtime.workers=3", "data.root=/elsewhere", "name=other", "description=x")
    for override in (*same, "eval.batch=3", "tracking.log_every=1", "train.schedule=1"):
        assert identity(good(override).spec, parts) == base, override
    for override in (
        "seed=1",
        "runtime.precision=bf16",
        "runtime.threads=1",
        "model.adapter=null",
        "model.adapter.rank=8",
    ):
        assert identity(good(override).spec, parts) != base, override
    assert identity(good().spec, {**parts, "metrics": 2}) != base
    assert run_id(base, 2) == f"{base[:12]}-2"


def test_a_later_field_counts_once_it_is_used():
    """A section keeps the identity that it had before it had the field."""

    class Before(Section):
        rank: int = 4

    class After(Before):
        scale: Annotated[float | None, LATER] = None

    class Whole(Section):
        parts: tuple[Before | After, ...]

    assert identity(Whole(parts=(After(),)), {}) == identity(Whole(parts=(Before(),)), {})
    assert identity(Whole(parts=(After(scale=1.0),)), {}) != identity(Whole(parts=(After(),)), {})


def test_canonical_text():
    assert canonical({"b": 1e-5, "a": [True, None, 1.0, 1]}) == '{"a":[true,null,1.0,1],"b":1e-05}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))


plain_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from("abc"), plain_data), st.lists(st.sampled_from("xyz"), min_size=1), plain_data)
def test_what_is_put_is_there_and_nothing_else_changes(data, keys, value):
    before = json.dumps(data)
    after: Any = put(data, ".".join(keys), value)
    assert json.dumps(data) == before
    assert {k: v for k, v in after.items() if k != keys[0]} == data
    for key in keys:
        after = after[key]
    assert after == value


def test_put_reaches_list_items_and_refuses_single_values():
    assert put({"a": [{"b": 1}, 2]}, "a.0.b", 3) == {"a": [{"b": 3}, 2]}
    assert put({"a": [1, 2]}, "a.1", 3) == {"a": [1, 3]}
    for path in ("a.2", "a.0.b", "s.0"):
        with pytest.raises(KeyError):
            put({"a": [1, 2], "s": "text"}, path, 3)


def test_diff_names_the_deepest_changes(good):
    changes = diff(good().spec, good("seed=1", "train.batch.size=8", "model.adapter=null").spec)
    assert [str(c) for c in changes if c.path != "model.adapter"] == ["seed: 0 -> 1", "train.batch.size: 64 -> 8"]
    assert changes[1].path == "model.adapter"
    assert changes[1].after is None
    assert diff({"a": [1, 2]}, {"a": [1], "b": 2}) == [Change("a", [1, 2], [1]), Change("b", ABSENT, 2)]
    assert diff(good().spec, good().spec) == []


@pytest.fixture(scope="module")
def validator():
    schema = json_schema(REGISTRIES)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(json.loads(json.dumps(schema)))


SCHEDULED = {"kind": "chain", "segments": [{"start": 0, "end": 1, "length": {"fraction": 0.5}}]}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"model": {"name": "other", "width": 3}},
        {"model": {"name": "irra", "adapter": None, "pooling": {"kind": "mean"}, "id_weight": 2}},
        {"train": {"schedule": SCHEDULED, "batch": {"size": 4}, "augment": None}},
        {"data": {"name": "pictures", "val": "none", "image_size": [384, 128]}, "eval": {"select_on": "last"}},
    ],
)
def test_the_schema_accepts_what_the_loader_accepts(validator, tmp_path, change):
    data = {**yaml.safe_load(GOOD), **change}
    assert not list(validator.iter_errors(data))
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(data))
    load(path, registries=REGISTRIES)


@pytest.mark.parametrize(
    "change",
    [
        {"sede": 1},
        {"seed": "1"},
        {"model": {"name": "ira"}},
        {"model": {"name": "irra", "backbon": "x"}},
        {"model": {"name": "other"}},
        {"model": {"backbone": "tiny-clip"}},
        {"data": {"name": "pictures", "preset": "huge"}},
        {"eval": {"protocol": "text2image"}},
        {"train": {"batch": {"size": 0}}},
        {"train": {"schedule": {"kind": "chian"}}},
        {"extends": 3},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(validator, change):
    assert list(validator.iter_errors({**yaml.safe_load(GOOD), **change}))


def test_a_file_that_extends_may_be_partial(validator):
    assert not list(validator.iter_errors({"extends": "base.yaml", "model": {"adapter": None}}))
    assert not list(validator.iter_errors({"extends": ["a.yaml", "b.yaml"]}))
    assert list(validator.iter_errors({"model": {"adapter": None}}))


def test_a_section_of_one_architecture_is_checked_when_extended_too(validator):
    assert list(validator.iter_errors({"extends": "base.yaml", "model": {"name": "irra", "adapter": 3}}))


def test_optimizer_search_ranges_survive_in_the_schema_tree():
    schema = json_schema(REGISTRIES)
    assert set(schema["$defs"]["OptimizerSpec"]["properties"]) == set(OptimizerSpec.model_fields)


def test_paths_may_be_strings_or_paths(good, tmp_path):
    assert load(str(tmp_path / "good.yaml"), registries=REGISTRIES).spec == good().spec
    assert good().path == Path(tmp_path / "good.yaml")
