"""Parameter groups by rule, and optimisers that compute what torch's plain loops compute."""

import copy

import pytest
import torch
from torch import nn

from reid_lab.contracts import GroupRule
from reid_lab.engine import optim
from reid_lab.engine.plan import OptimizerPlan
from reid_lab.errors import SpecError
from tests.engine.toys import Contrastive


def test_groups_follow_the_rules():
    model = Contrastive()
    model.words.requires_grad_(False)
    groups = optim.parameter_groups(model, OptimizerPlan(lr=0.1, weight_decay=0.01))
    found = {g["name"]: (g["names"], g["base_lr"], g["weight_decay"]) for g in groups}
    assert found == {
        "heads": (["scale", "vocabulary.weight"], 0.1, 0.01),
        "trunk": (["image.weight"], 0.1, 0.01),
        "bias": (["image.bias", "vocabulary.bias"], 0.2, 0.0),
    }
    assert [g["name"] for g in groups] == ["heads", "trunk", "bias"]


def test_one_name_has_one_rule(monkeypatch):
    model = Contrastive()
    monkeypatch.setattr(model, "group_rule", lambda name: GroupRule("all", 2.0 if "bias" in name else 1.0))
    with pytest.raises(ValueError, match="group 'all' has two rules"):
        optim.parameter_groups(model, OptimizerPlan())


def test_nothing_to_train_is_an_error():
    with pytest.raises(SpecError, match="no parameter is trainable"):
        optim.build(Contrastive().requires_grad_(False), OptimizerPlan())


@pytest.mark.parametrize(
    ("plan", "plain"),
    [
        (OptimizerPlan("adam", 0.01, 0.1, (0.8, 0.99), 1e-3), (torch.optim.Adam, {"betas": (0.8, 0.99), "eps": 1e-3})),
        (OptimizerPlan("adamw", 0.01, 0.1), (torch.optim.AdamW, {})),
        (OptimizerPlan("sgd", 0.01, 0.1, momentum=0.7), (torch.optim.SGD, {"momentum": 0.7})),
    ],
)
def test_updates_equal_plain_loops(plan, plain):
    ours, theirs = Contrastive(), Contrastive()
    kind, settings = plain
    fused = optim.build(ours, plan)
    loop = kind(theirs.parameters(), lr=0.01, weight_decay=0.1, foreach=False, fused=False, **settings)
    for group in fused.param_groups:
        group["base_lr"], group["weight_decay"] = 0.01, 0.1
    for factor in (1.0, 0.5, 0.25):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = b.grad = torch.sin(a.detach() * 50)
        assert set(optim.set_rate(fused, factor).values()) == {0.01 * factor}
        for group in loop.param_groups:
            group["lr"] = 0.01 * factor
        fused.step()
        loop.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_state_is_restored_exactly(kind):
    def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        for p in model.parameters():
            p.grad = torch.cos(p.detach() * 10 + seed)
        model.words.weight.grad = None
        optimizer.step()

    plan = OptimizerPlan(kind, lr=0.01)
    model = Contrastive()
    optimizer = optim.build(model, plan)
    step(model, optimizer, 1)
    other = copy.deepcopy(model)
    restored = optim.build(other, plan)
    state = optim.get_state(optimizer)
    assert not any(name.startswith("words.") for name in state)
    optim.set_state(restored, state)
    step(model, optimizer, 2)
    step(other, restored, 2)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
