"""What callers give: values as YAML, runs by name, folders."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lab.api.given import folder, name_of, overrides, words, yaml
from reid_lab.errors import UserError
from reid_lab.spec.tree import parse, plain
from reid_lab.tracking.runs import RunFolder

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=8)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_a_value_is_read_back_as_it_was(value):
    tree, faults = parse(yaml(value), "here")
    assert not faults
    assert json.dumps(plain(tree)) == json.dumps(value)  # 1 and 1.0 differ; lists are tuples


def test_other_values_become_plain_ones():
    assert yaml(np.float64(0.5)) == "0.5"
    assert yaml(np.int64(3)) == "3"
    assert yaml(Path("a b")) == "a b"
    assert yaml((1, 2)) == "[1, 2]"
    assert math.isnan(plain(parse(yaml(math.nan), "")[0]))


@pytest.mark.parametrize(
    ("value", "told"),
    [({"a": [object()]}, "model.a.0: object is no value of a spec"), ({1: 2}, "model: keys are text, got 1")],
)
def test_what_no_spec_can_hold_is_told_with_its_path(value, told):
    with pytest.raises(UserError, match=told):
        overrides((), {"model": value})


def test_overrides_follow_the_sets():
    assert overrides(["seed=1"], {"model": {"mlm": None}, "a.b": "1"}) == [
        "seed=1",
        "model={mlm: null}",
        'a.b="1"',
    ]
    with pytest.raises(UserError, match="expected a list of 'PATH=VALUE', got 'seed=1'"):
        overrides("seed=1", {})


def test_a_run_is_named_by_text_folder_or_result(tmp_path):
    @dataclass
    class Result:
        folder: Path

    assert name_of("abc") == "abc"
    assert name_of(tmp_path) == name_of(Result(tmp_path)) == name_of(RunFolder(tmp_path)) == str(tmp_path)
    for wrong in (None, 3, ""):
        with pytest.raises(UserError, match="a run is named by its id"):
            name_of(wrong)


def test_the_folder_of_runs(monkeypatch):
    monkeypatch.delenv("REID_LAB_RUNS", raising=False)
    assert folder(None) == Path("runs")
    monkeypatch.setenv("REID_LAB_RUNS", "/elsewhere")
    assert folder(None) == Path("/elsewhere")
    assert folder("here") == Path("here")


def test_words():
    assert words("a") == ["a"]
    assert words(("a", Path("b"))) == ["a", "b"]
    with pytest.raises(UserError, match="expected text, got 3"):
        words([3])
