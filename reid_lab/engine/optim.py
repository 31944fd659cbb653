"""Parameter groups, optimisers and the learning-rate factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from reid_lab.contracts import Architecture, GroupRule
from reid_lab.engine.plan import OptimizerPlan
from reid_lab.errors import SpecError, nearest


def set_trainable(model: nn.Module, patterns: Sequence[str]) -> None:
    """Lets exactly the parameters that match a pattern learn.

    Raises SpecError for every pattern that matches no parameter.
    """
    check_trainable(model, patterns)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in patterns))


def check_trainable(model: nn.Module, patterns: Sequence[str]) -> None:
    """Raises SpecError for every pattern that matches no parameter."""
    names = [name for name, _ in model.named_parameters()]
    faults = []
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = nearest(pattern, names)
            hint = f"; did you mean '{near}'?" if near else ""
            faults.append(f"trainable pattern '{pattern}' matches none of {len(names)} parameters{hint}")
    if faults:
        raise SpecError(*faults)


def parameter_groups(model: Architecture, plan: OptimizerPlan) -> list[dict[str, Any]]:
    """The trainable parameters by the architecture's group rules, in the order of their first parameter.

    Each group holds `name`, `params`, `names`, `base_lr` (with the group's factor), `lr` and
    `weight_decay`.
    """
    rules: dict[str, GroupRule] = {}
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rule = model.group_rule(name)
        if rules.setdefault(rule.name, rule) != rule:
            raise ValueError(f"group '{rule.name}' has two rules: {rules[rule.name]} and {rule} (parameter '{name}')")
        lr = plan.lr * rule.lr_factor
        group = groups.setdefault(
            rule.name,
            {
                "name": rule.name,
                "params": [],
                "names": [],
                "base_lr": lr,
                "lr": lr,
                "weight_decay": plan.weight_decay * rule.weight_decay_factor,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def build(model: Architecture, plan: OptimizerPlan) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters.

    The fused kernels update each number by itself, in one pass: deterministic on every device.
    Raises SpecError when nothing is trainable.
    """
    groups = parameter_groups(model, plan)
    if not groups:
        raise SpecError("nothing to train: no parameter is trainable")
    if plan.kind == "sgd":
        return torch.optim.SGD(groups, lr=plan.lr, momentum=plan.momentum, fused=True)
    kind = torch.optim.AdamW if plan.kind == "adamw" else torch.optim.Adam
    return kind(groups, lr=plan.lr, betas=plan.betas, eps=plan.eps, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Applies the schedule's factor to every group; returns the learning rate by group name."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return {group["name"]: group["lr"] for group in optimizer.param_groups}


def trainable(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's parameters by name."""
    return {n: p for g in optimizer.param_groups for n, p in zip(g["names"], g["params"], strict=True)}


def get_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as `PARAMETER:KEY` -> tensor; parameters not yet updated have none."""
    return {
        f"{name}:{key}": value
        for name, parameter in trainable(optimizer).items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def set_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Restores what `get_state` returned."""
    parameters = trainable(optimizer)
    for full, value in state.items():
        name, _, key = full.rpartition(":")
        parameter = parameters[name]
        optimizer.state[parameter][key] = value.to(parameter.device).clone()
