"""The shipped experiment files against the real registries and the schema."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from reid_lab.catalogue import load_spec, registries
from reid_lab.errors import SpecError
from reid_lab.spec.loader import load
from reid_lab.spec.schema import json_schema
from reid_lab.spec.show import resolved_yaml
from reid_lab.spec.tree import parse, plain

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments").rglob("*.yaml"))


def listed(value):
    """JSON's view of a tree: lists for tuples."""
    if isinstance(value, dict):
        return {key: listed(inner) for key, inner in value.items()}
    return [listed(inner) for inner in value] if isinstance(value, tuple) else value


@pytest.fixture(scope="module")
def validator():
    return jsonschema.Draft202012Validator(json_schema(registries()))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_an_experiment_loads_and_fits_the_schema(path, validator, tmp_path):
    loaded = load(path, registries=registries())
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(resolved_yaml(loaded), encoding="utf-8")
    assert load_spec(resolved).spec == loaded.spec
    for text in (path.read_text(encoding="utf-8"), resolved_yaml(loaded)):
        tree, _ = parse(text, path.name)
        assert not list(validator.iter_errors(listed(plain(tree))))


def test_the_real_registries_refuse_unknown_names(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("name: x\ndata: {name: cuhk}\nmodel: {name: irra, backbone: tiny-clop}\neval: {protocol: t2i}\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    lines = [str(fault).removeprefix(f"{path}:") for fault in caught.value.faults]
    assert lines[0].startswith("2:14: data.name: 'cuhk' is not allowed")
    assert lines[1].startswith("3:31: model.backbone: unknown backbone 'tiny-clop'; allowed: tiny-bert, tiny-clip")
    assert lines[2].startswith("4:18: eval.protocol: 't2i' is not allowed")
    assert len(lines) == 3
