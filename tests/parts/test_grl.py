"""Gradient reversal and its schedule."""

import math

import pytest
import torch
from pydantic import ValidationError

from reid_lab.parts.grl import AlphaSpec, Detached, NoReversal, Reversal, reverse
from reid_lab.schedules import Progress


def gradient_of(module, alpha):
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    out = module(x, alpha)
    assert torch.equal(out, x)
    if out.requires_grad:
        (out * torch.tensor([3.0, 5.0])).sum().backward()
    return x.grad


def test_reversal_is_the_identity_and_turns_the_gradient_round():
    assert gradient_of(Reversal(), 0.3).tolist() == pytest.approx([-0.9, -1.5])
    assert gradient_of(NoReversal(), 0.3).tolist() == [3.0, 5.0]
    assert gradient_of(Detached(), 0.3) is None


def test_two_reversals_undo_each_other():
    x = torch.ones(1, requires_grad=True)
    reverse(reverse(x, 0.5), 0.5).sum().backward()
    assert x.grad.item() == 0.25


def at(spec, epoch, step=0):
    return spec.build()(Progress(10 * epoch + step, 10, 1000))


def test_the_published_alpha():
    for epoch in range(70):
        assert at(AlphaSpec(), epoch) == pytest.approx(min(1.0, 0.1 + 0.02 * epoch), abs=1e-12)
        assert at(AlphaSpec(), epoch, 7) == at(AlphaSpec(), epoch), "held for an epoch"


def test_danns_ramp_and_a_constant():
    ramp = AlphaSpec(shape="sigmoid", start=0.0, ramp=50.0, every="step")
    for step in (0, 3, 77, 250, 499):
        assert at(ramp, 0, step) == pytest.approx(2 / (1 + math.exp(-10 * step / 500)) - 1)
    assert {at(AlphaSpec(shape="constant", maximum=0.3), epoch) for epoch in (0, 5, 90)} == {0.3}


def test_what_alpha_may_be():
    with pytest.raises(ValidationError, match=r"start \(0.5\) is above maximum \(0.2\)"):
        AlphaSpec(start=0.5, maximum=0.2)
    with pytest.raises(ValidationError):
        AlphaSpec(ramp=0.0)
    assert AlphaSpec(shape="constant", start=0.5, maximum=0.2).maximum == 0.2
