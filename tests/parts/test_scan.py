"""The selective scan against its recurrence, one token at a time, in float64; stability; the layer around it."""

import pytest
import torch
import torch.nn.functional as F

from reid_lab.parts import scan
from reid_lab.parts.scan import SelectiveStateSpace, selective_scan


def given(samples, length, width, states, kind=torch.float64, longest=1.0):
    """u, delta, A, B and C."""
    generator = torch.Generator().manual_seed(length)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=kind)

    delta = longest * torch.rand(samples, length, width, generator=generator, dtype=kind)
    decay = -16 * torch.rand(width, states, generator=generator, dtype=kind)
    tensors = (draw(samples, length, width), delta, decay, draw(samples, length, states), draw(samples, length, states))
    return [tensor.requires_grad_() for tensor in tensors]


def recurrence(u, delta, a, b, c):
    """As the paper writes it, the state discretised by zero-order hold for A and by Euler's rule for B."""
    state, out = u.new_zeros(len(u), *a.shape), []
    for t in range(u.shape[1]):
        state = torch.exp(delta[:, t, :, None] * a) * state + (delta * u)[:, t, :, None] * b[:, t, None]
        out.append((state * c[:, t, None]).sum(-1))
    return torch.stack(out, dim=1)


@pytest.mark.parametrize("length", [1, 5, 31, 32, 33, 70])
def test_the_recurrence_and_its_gradient(length):
    """Lengths that fill no chunk, some, and a part of the last."""
    inputs = given(3, length, 5, 4)
    ours, wanted = selective_scan(*inputs), recurrence(*inputs)
    torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)
    asked = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=ours.dtype)
    found, expected = (torch.autograd.grad(out, inputs, asked) for out in (ours, wanted))
    for name, one, other in zip(("u", "delta", "a", "b", "c"), found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11, msg=name)


def test_the_gradient_of_samples_apart_is_that_of_all(monkeypatch):
    inputs = given(4, 9, 3, 2)
    whole = torch.autograd.grad(selective_scan(*inputs).square().sum(), inputs)
    monkeypatch.setattr(scan, "ELEMENTS", 1)
    apart = torch.autograd.grad(selective_scan(*inputs).square().sum(), inputs)
    for one, other in zip(whole, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_long_and_fast_states_stay_finite():
    """Steps of up to 50 at rates of up to 16 (factors of exp(-800)) over 387 tokens: float32 follows float64."""
    exact = given(1, 387, 4, 16, longest=50.0)
    inputs = [tensor.detach().float().requires_grad_() for tensor in exact]
    ours, wanted = selective_scan(*inputs), recurrence(*exact)
    torch.testing.assert_close(ours.double(), wanted, rtol=1e-4, atol=1e-3)
    for gradient in torch.autograd.grad(ours.sum(), inputs):
        assert gradient.isfinite().all()


def test_a_step_of_0_is_a_token_that_is_not_there():
    u, delta, a, b, c = given(2, 40, 3, 4)
    there = torch.ones(40, dtype=torch.bool)
    there[10:25] = False
    masked = selective_scan(u, delta * there[:, None], a, b, c)[:, there]
    shorter = selective_scan(u[:, there], delta[:, there], a, b[:, there], c[:, there])
    torch.testing.assert_close(masked, shorter, rtol=1e-12, atol=1e-12)


def test_half_precision_in_and_out_float32_within():
    inputs = given(2, 33, 4, 4)
    halves = [tensor.detach().bfloat16() for tensor in inputs]
    with torch.autocast("cpu", torch.bfloat16):
        ours = selective_scan(*halves)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours, selective_scan(*(half.float() for half in halves)).bfloat16())


def test_no_sample_at_all():
    inputs = given(0, 6, 3, 2)
    out = selective_scan(*inputs)
    assert out.shape == (0, 6, 3)
    assert not torch.autograd.grad(out.sum(), inputs)[2].any()


def test_the_layer_is_that_of_a_plain_loop():
    torch.manual_seed(0)
    layer = SelectiveStateSpace(6, 4, 2, "s6").double()
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    with torch.no_grad():
        low, write, read = (x @ layer.read.weight.T).split([2, 4, 4], dim=-1)
        delta = F.softplus(low @ layer.step.weight.T + layer.step.bias)
        y = recurrence(x, delta, -layer.log_rate.exp(), write, read) + layer.skip * x
        torch.testing.assert_close(layer(x), layer.norm(y), rtol=1e-10, atol=1e-10)


def test_how_the_layer_begins():
    """S6: rates of 1, 2, …, steps between .001 and .1; as published all steps are softplus(0)."""
    torch.manual_seed(0)
    layer, published = (SelectiveStateSpace(64, 5, 4, start) for start in ("s6", "as_published"))
    torch.testing.assert_close(layer.log_rate.exp(), torch.arange(1.0, 6).repeat(64, 1))
    steps = F.softplus(layer.step.bias)
    assert steps.min() >= 0.99e-3
    assert steps.max() <= 0.101
    assert steps.max() / steps.min() > 10
    assert not published.step.bias.any()
    assert published.read.weight.std() < 0.025
