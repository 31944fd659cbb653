"""Losses and diagnostics by the names of the values that they read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reid_lab.contracts import Sum, Term


def named(fn: Callable[..., Sum], needs: tuple[str, ...], sign: float = 1.0) -> Callable[..., Sum]:
    """The loss, reading the values of these names in the order of its arguments."""

    def loss(**values: Tensor) -> Sum:
        found = fn(*(values[need] for need in needs))
        return Sum(sign * found.total, found.count)

    return loss


def reaching(term: Term) -> Callable[..., Sum]:
    """The norm of the gradient that the image trunk's output receives from a loss of weight 1."""

    def norm(trunk: Tensor, **values: Tensor) -> Sum:
        with torch.enable_grad():
            loss = term.fn(**values)
            if not (trunk.requires_grad and loss.total.requires_grad and float(loss.count)):
                return Sum(trunk.sum() * 0.0, torch.zeros((), device=trunk.device))
            mean = loss.total / loss.count
            (gradient,) = torch.autograd.grad(mean, trunk, retain_graph=True, allow_unused=True)
        found = torch.zeros((), device=trunk.device) if gradient is None else gradient.norm()
        return Sum(found, torch.ones((), device=trunk.device))

    return norm
