"""YAML 1.2's core schema against Python's own number parsing, and the tree's places."""

from __future__ import annotations

import math
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_lab.spec.tree import Array, Scalar, Table, Unreadable, parse, plain
from reid_lab.spec.words import resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.e5", 1e5),
        (".5", 0.5),
        ("-.5E+2", -50.0),
        ("+12", 12),
        ("012", 12),
        ("0o17", 15),
        ("0xfF", 255),
        ("-.inf", -math.inf),
        ("+.INF", math.inf),
        ("~", None),
        ("", None),
        ("Null", None),
        ("TRUE", True),
        ("false", False),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("tRue", "tRue"),
        ("2:30", "2:30"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("-0x1", "-0x1"),
        ("1e", "1e"),
        (".", "."),
        ("2026-01-01", "2026-01-01"),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_core_schema(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_numbers_read_as_python_writes_them(number):
    assert resolve(repr(number)) == number
    assert type(resolve(repr(number))) is type(number)


def test_a_number_of_thousands_of_digits_costs_nothing():
    assert resolve("9" * 5000) == math.inf


def test_every_key_and_value_knows_its_place():
    tree, faults = parse("é: [1, 'x y']\nb:\n  c: &n 2\n  d: *n\n", "f.yaml")
    assert not faults
    assert isinstance(tree, Table)
    first, second = tree.entries["é"], tree.entries["b"].node
    assert isinstance(first.node, Array)
    assert [str(item.mark) for item in first.node.items] == ["f.yaml:1:5", "f.yaml:1:8"]
    assert isinstance(second, Table)
    assert str(second.entries["d"].key) == "f.yaml:4:3"
    assert str(second.entries["d"].node.mark) == "f.yaml:3:6"
    assert plain(tree) == {"é": (1, "x y"), "b": {"c": 2, "d": 2}}


def test_explicit_tags_of_the_core_schema():
    tree, faults = parse("a: !!str 5\nb: !!float 5\nc: ! 5\nd: !!seq []\ne: !!map {}\nf: '5'\n", "f")
    assert not faults
    assert plain(tree) == {"a": "5", "b": 5.0, "c": "5", "d": (), "e": {}, "f": "5"}
    assert isinstance(plain(tree)["b"], float)


def test_an_override_counts_columns_from_its_own_start():
    node, _ = parse("six", "--set seed=six", shift=5)
    assert isinstance(node, Scalar)
    assert str(node.mark) == "--set seed=six:6"


@pytest.mark.parametrize(("copies", "allowed"), [(18, True), (19, False)])
def test_aliases_are_followed_up_to_the_bound(copies, allowed):
    text = f"a: &a [{', '.join(['1'] * 1000)}]\nb: [{', '.join(['*a'] * copies)}]\n"
    if allowed:
        tree, _ = parse(text, "f")
        assert plain(tree)["b"] == ((1,) * 1000,) * copies
    else:
        with pytest.raises(Unreadable, match="more than 20000 values"):
            parse(text, "f")


@given(st.text(max_size=60))
def test_any_text_is_a_tree_or_unreadable(text):
    with suppress(Unreadable):
        parse(text, "f")


def test_specs_import_no_heavy_package():
    code = (
        "import sys, reid_lab.spec.loader, reid_lab.spec.show, reid_lab.spec.schema, reid_lab.spec.identity;"
        "print({'torch', 'mlflow', 'optuna', 'transformers', 'numpy', 'pandas'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
