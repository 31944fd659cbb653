"""Adapters: the update they add, their routes, where they stand, and what they leave alone."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from reid_lab.errors import SpecError
from reid_lab.parts.lora import TARGETS, Lora, LoraSpec, LowRankLinear, adapt
from reid_lab.parts.trunk import Blocks, TransformerConfig

CONFIG = TransformerConfig(12, 3, 3, 24, "quick_gelu")
NAMES = ("rgb", "nir", "sketch")


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def fresh():
    torch.manual_seed(0)
    return Blocks(CONFIG)


def adapted(lora=None, *, trained=True, names=NAMES, seed=0):
    """Blocks with adapters; `trained` ones have up-projections that do something."""
    blocks = fresh()
    adapt(blocks, names, lora or Lora(4, 0.25), seed=seed, part="mer")
    if trained:
        torch.manual_seed(1)
        for name, value in blocks.named_parameters():
            if name.endswith("lora_up"):
                value.data.normal_()
    return blocks


def merged(blocks, adapter):
    """Plain blocks whose weights hold one adapter."""
    plain = fresh()
    state = plain.state_dict()
    for name, module in blocks.named_modules():
        if isinstance(module, LowRankLinear):
            state[f"{name}.weight"] = module.weight.detach() + module.update(adapter).detach()
    plain.load_state_dict(state)
    return plain


@pytest.mark.parametrize("targets", [TARGETS, ("q", "v"), ("k",), ("fc1", "fc2"), ("out",)])
@pytest.mark.parametrize("layers", [None, 1, 2])
def test_each_item_goes_through_the_adapter_of_its_route(targets, layers):
    blocks = adapted(Lora(2, 0.7, layers=layers, targets=targets))
    x, route = torch.randn(7, 5, 12), torch.tensor([2, 0, 1, -1, 1, 0, 2])
    y = blocks(x, route=route)
    for i, number in enumerate(route.tolist()):
        plain = fresh() if number < 0 else merged(blocks, number)
        close(y[i], plain(x[i : i + 1])[0])
    assert not torch.allclose(y[0], y[1])


def test_updates_are_written_out_by_hand():
    linear = torch.nn.Linear(6, 9)
    routed = LowRankLinear(linear, 2, Lora(2, 0.5), places=(0, 2), of=3)
    torch.nn.init.normal_(routed.lora_down)
    torch.nn.init.normal_(routed.lora_up)
    x = torch.randn(1, 4, 6)
    want = F.linear(x, linear.weight, linear.bias).detach().clone()
    q = 0.5 * (x @ routed.lora_down[0, 1].T) @ routed.lora_up[0, 1]
    v = 0.5 * (x @ routed.lora_down[1, 1].T) @ routed.lora_up[1, 1]
    want += torch.cat([q, torch.zeros_like(q), v], dim=2)
    close(routed(x, torch.tensor([1])), want)
    assert routed.update(1)[3:6].abs().max() == 0, "k is not adapted"


def test_zero_up_projections_change_no_bit():
    blocks, plain = adapted(trained=False), fresh()
    x = torch.randn(6, 5, 12)
    assert torch.equal(blocks(x, route=torch.tensor([0, 1, 2, 2, 1, -1])), plain(x))
    assert torch.equal(blocks(x), plain(x))


def test_gradients_are_those_of_one_pass_per_route():
    one, each = adapted(), adapted()
    x, weight = torch.randn(6, 5, 12, requires_grad=True), torch.randn(6, 5, 12)
    route = torch.tensor([2, 0, 1, 1, 0, -1])
    (one(x, route=route) * weight).sum().backward()
    whole = x.grad.clone()
    x.grad = None
    for number in (-1, 0, 1, 2):
        chosen = route == number
        (each(x[chosen], route=route[chosen]) * weight[chosen]).sum().backward()
    close(x.grad, whole)
    for (name, a), b in zip(one.named_parameters(), each.parameters(), strict=True):
        close(a.grad, b.grad)
        assert a.grad.abs().max() > 0, name


def test_an_adapter_learns_from_its_own_items_only():
    blocks = adapted()
    blocks(torch.randn(4, 5, 12), route=torch.tensor([1, 1, -1, 1])).square().sum().backward()
    for name, value in blocks.named_parameters():
        if "lora" in name:
            assert value.grad[:, 1].abs().max() > 0, name
            assert value.grad[:, [0, 2]].abs().max() == 0, name


def test_weights_keep_their_names_and_other_adapters_their_values():
    plain, few, many = fresh().state_dict(), adapted(trained=False, names=("rgb", "sketch")), adapted(trained=False)
    assert plain.keys() <= many.state_dict().keys()
    for key, value in plain.items():
        assert torch.equal(value, many.state_dict()[key]), key
    wide = many.state_dict()
    for key, value in few.state_dict().items():
        if key.endswith("lora_down"):
            assert torch.equal(value, wide[key][:, [0, 2]]), key
    only_v = adapted(Lora(4, 0.25, layers=1, targets=("v",)), trained=False).state_dict()
    assert torch.equal(only_v["2.attention.qkv.lora_down"], wide["2.attention.qkv.lora_down"][2:])


def test_start_and_size():
    blocks = adapted(trained=False)
    layer = blocks[0].attention.qkv
    assert tuple(layer.lora_down.shape) == (3, 3, 4, 12)
    assert layer.lora_up.abs().max() == 0
    bound = 12**-0.5  # Kaiming with a = sqrt 5: uniform in 1/sqrt(in)
    assert layer.lora_down.abs().max() <= bound
    assert layer.lora_down.abs().max() > 0.9 * bound
    assert not torch.equal(layer.lora_down[0, 0], layer.lora_down[0, 1])
    assert torch.equal(layer.lora_down, adapted(trained=False)[0].attention.qkv.lora_down)
    assert not torch.equal(layer.lora_down, adapted(trained=False, seed=1)[0].attention.qkv.lora_down)


def test_rank_4_on_vit_b_has_the_published_number_of_elements():
    with torch.device("meta"):
        blocks = Blocks(TransformerConfig(768, 12, 12, 3072))
    count = 0
    for block in blocks:
        for linear, places, of in [(block.attention.qkv, (0, 1, 2), 3), (block.attention.out, (0,), 1)]:
            count += sum(v.numel() for n, v in _low(linear, places, of))
        for linear in (block.mlp.fc1, block.mlp.fc2):
            count += sum(v.numel() for n, v in _low(linear, (0,), 1))
    assert count == 663_552


def _low(linear, places, of):
    return [(n, v) for n, v in LowRankLinear(linear, 1, Lora(4, 0.25), places, of).named_parameters() if "lora" in n]


def test_dropout_acts_in_training_alone_and_on_the_update_alone():
    blocks = adapted(Lora(4, 1.0, dropout=0.5))
    x, route = torch.randn(3, 5, 12), torch.tensor([0, 1, 2])
    assert not torch.equal(blocks(x, route=route), blocks(x, route=route))
    off = torch.full((3,), -1)
    assert torch.equal(blocks(x, route=off), blocks(x, route=off))
    blocks.eval()
    assert torch.equal(blocks(x, route=route), adapted(Lora(4, 1.0)).eval()(x, route=route))


def test_adapters_run_in_bfloat16():
    blocks, x, route = adapted(), torch.randn(3, 5, 12), torch.tensor([0, 1, 2])
    plain = fresh()
    for value in (v for n, v in blocks.named_parameters() if n.endswith("lora_up")):
        value.data.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        y = blocks(x, route=route)
        assert torch.equal(y, plain(x))
    y.float().sum().backward()
    assert all(v.grad is not None and v.grad.isfinite().all() for v in blocks.parameters())


def test_a_copy_is_a_copy():
    blocks = adapted()
    assert set(deepcopy(blocks).state_dict()) == set(blocks.state_dict())


def test_spec():
    assert LoraSpec().lora() == Lora(4, 0.25)
    assert LoraSpec(rank=8, alpha=2.0, layers=2, targets=("fc1",)).lora() == Lora(8, 0.25, 0.0, 2, ("fc1",))
    with pytest.raises(ValidationError, match="a rank of 0 adapts nothing; allowed: 1 and above, or null"):
        LoraSpec(rank=0)
    with pytest.raises(ValidationError, match=r"unknown adapter target 'fc3'; allowed: .*; did you mean 'fc"):
        LoraSpec(targets=("q", "fc3"))
    with pytest.raises(ValidationError, match="name at least one of"):
        LoraSpec(targets=())
    with pytest.raises(ValidationError, match=r"scaling is alpha / rank \(0.5 here\)"):
        LoraSpec(rank=4, alpha=2.0, scaling=1.0)
    with pytest.raises(SpecError, match="adapters in the last 4 layers of a transformer that has 3"):
        adapted(Lora(4, 0.25, layers=4))
