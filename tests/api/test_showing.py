"""`rl.show`, `rl.inspect`, `rl.items`."""

from __future__ import annotations

import pytest
from yaml import safe_load

import reid_lab as rl
from reid_lab.catalogue import load_spec
from reid_lab.spec.show import resolved_yaml
from tests.lab import WORLD


def test_show_is_the_resolved_spec(lab):
    assert rl.show(lab.file, seed=3) == resolved_yaml(load_spec(lab.file, ["seed=3"]))
    with pytest.raises(rl.UserError, match="did you mean 'train'"):
        rl.show(lab.file, trian={})


def test_inspect_builds_and_checks(lab):
    found = rl.inspect(lab.file, identities=24, data={"image_size": [32, 16]})
    assert found["architecture"] == "irra"
    assert all(check["passed"] for check in found["checks"])


def test_items_of_a_data_set(lab):
    world = safe_load(WORLD)
    frame = rl.items("synthetic", **world)
    train = rl.items("synthetic", split="train", **world)
    assert train.equals(frame[frame.split == "train"].reset_index(drop=True))
    assert train.groupby("role").size().to_dict() == {"caption": 48, "rgb": 48}
    assert train[train.role == "caption"].caption.str.len().min() > 10
    for wrong, told in (({"split": "tset"}, "unknown split 'tset'"), ({"presett": 1}, "did you mean 'preset'")):
        with pytest.raises(rl.UserError, match=told):
            rl.items("synthetic", **wrong)
    with pytest.raises(rl.UserError, match="unknown data set 'market'"):
        rl.items("market")
