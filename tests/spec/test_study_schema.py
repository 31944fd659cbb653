"""The JSON Schema of study files."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from reid_lab.spec.schema import study_schema
from reid_lab.spec.tree import parse, plain
from tests.spec.test_experiments import listed

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "studies").glob("*.yaml"))


def faults(text: str) -> list[str]:
    tree, _ = parse(text, "s.yaml")
    validator = jsonschema.Draft202012Validator(study_schema())
    return [error.message for error in validator.iter_errors(listed(plain(tree)))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_study_fits(path):
    assert not faults(path.read_text(encoding="utf-8"))


def test_mistakes_do_not_fit():
    assert faults("design: leave_one_out")  # no base
    assert not faults("extends: other.yaml")
    assert faults("base: a.yaml\ndesign: leave_two_out")
    assert faults("base: a.yaml\nsead: [1]")
    assert faults("base: a.yaml\ncomponents: {a: {off: null}}")
    assert faults("base: a.yaml\ntune: {search: []}")
