"""Attention beside the forward pass: equal to a softmax written out, and leaving every output as it is."""

import math

import numpy as np
import pytest
import torch

from reid_lab.looking import attention
from reid_lab.parts.layout import PADDED
from reid_lab.parts.lora import Lora, adapt
from reid_lab.parts.modalities import ModalVision
from reid_lab.parts.synergy import SynergisticBlocks
from reid_lab.parts.towers import ClipConfig, ClipTrunk, TextConfig, VisionConfig, VitTrunk
from reid_lab.parts.trunk import Attention, Blocks, TransformerConfig

SIZES = TransformerConfig(24, 3, 4, 48)


def plain(module: Attention, x: torch.Tensor, mask=None) -> np.ndarray:
    """softmax(q kᵀ / √d), one item, head and query at a time."""
    n, length, width = x.shape
    depth = width // module.heads
    weight, bias = module.qkv.weight.detach().double().numpy(), module.qkv.bias.detach().double().numpy()
    qkv = x.double().numpy() @ weight.T + bias
    found = np.zeros((n, module.heads, length, length))
    for item in range(n):
        for head in range(module.heads):
            q, k = (qkv[item, :, part * width + head * depth :][:, :depth] for part in (0, 1))
            for query in range(length):
                seen = [
                    j for j in range(length) if (mask is None or mask[item, j]) and not (module.causal and j > query)
                ]
                powers = [math.exp(float(q[query] @ k[j]) / math.sqrt(depth)) for j in seen]
                found[item, head, query, seen] = np.array(powers) / sum(powers)
    return found


@pytest.fixture
def tokens():
    torch.manual_seed(0)
    return torch.randn(2, 7, 24)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_are_the_softmax_and_make_the_output(tokens, causal, masked):
    torch.manual_seed(1)
    module = Attention(24, 4, causal=causal)
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3]) if masked and not causal else None
    found = attention.weights(module, tokens, mask)
    np.testing.assert_allclose(found.detach().numpy(), plain(module, tokens, mask), atol=1e-6)
    values = module.qkv(tokens).chunk(3, dim=-1)[2].view(2, 7, 4, 6).transpose(1, 2)
    again = module.out((found @ values).transpose(1, 2).reshape(2, 7, 24))
    torch.testing.assert_close(again, module(tokens, mask, None, PADDED), atol=1e-6, rtol=1e-5)


def test_adapters_of_the_route_are_in_the_weights(tokens):
    torch.manual_seed(2)
    blocks = Blocks(SIZES)
    adapt(blocks, ("rgb", "nir"), Lora(2, 1.0), seed=0, part="mer")
    torch.nn.init.normal_(blocks[0].attention.qkv.lora_up)
    route = torch.tensor([0, 1])
    with attention.recorded(blocks) as kept:
        blocks(tokens, route=route)
    inner = blocks[0].attention
    merged = Attention(24, 4)
    for item in range(2):
        merged.qkv.weight.data = inner.qkv.weight + inner.qkv.update(item)
        merged.qkv.bias.data = inner.qkv.bias.data
        wanted = plain(merged, blocks[0].norm1(tokens[item : item + 1]).detach())
        np.testing.assert_allclose(kept[0][item].detach().numpy(), wanted[0], atol=1e-5)


def test_recording_changes_no_bit_and_leaves_no_hook(tokens):
    torch.manual_seed(3)
    blocks = Blocks(SIZES)
    before = blocks(tokens)
    with attention.recorded(blocks) as kept:
        during = blocks(tokens)
    assert torch.equal(before, during)
    assert [tuple(layer.shape) for layer in kept] == [(2, 4, 7, 7)] * 3
    blocks(tokens)
    assert len(kept) == 3
    assert not any(module._forward_pre_hooks for module in blocks.modules())


def test_rollout_is_the_product_of_averaged_layers():
    rng = np.random.default_rng(0)
    layers = [rng.dirichlet(np.ones(5), size=(2, 3, 5)) for _ in range(4)]
    found = attention.rollout([torch.from_numpy(layer).float() for layer in layers], 4).numpy()
    for item in range(2):
        whole = np.eye(5)
        for layer in layers:
            whole = (0.5 * layer[item].mean(axis=0) + 0.5 * np.eye(5)) @ whole
        np.testing.assert_allclose(found[item], whole[0, 1:], atol=1e-6)
    last = attention.last_layer([torch.from_numpy(layer) for layer in layers], 4).numpy()
    np.testing.assert_allclose(last, layers[-1].mean(axis=1)[:, 0, 1:])


def test_prompts_behind_the_patches_are_left_out(tokens):
    torch.manual_seed(4)
    blocks = Blocks(SIZES)
    from reid_lab.parts.synergy import PromptSpec

    around = SynergisticBlocks(3, 24, 2, adapter=None, prompt=PromptSpec(tokens=2), seed=0)
    with attention.recorded(blocks) as kept:
        around(blocks, tokens, torch.tensor([0, 1]))
    assert kept[0].shape[-1] > 7
    assert attention.rollout(kept, 6).shape == (2, 6)
    assert attention.last_layer(kept, 6).shape == (2, 6)
    assert (attention.last_layer(kept, 6).sum(dim=1) < 1).all()


def test_trunks_and_the_place_of_their_patches():
    vision = VisionConfig(TransformerConfig(24, 1, 2, 48), 8, 4)
    vit = VitTrunk(vision, (32, 16), stride=4)
    (found,) = attention.image_trunks(torch.nn.ModuleDict({"trunk": vit}), "rgb")
    assert (found.name, found.embed.grid, found.patches) == ("trunk", (7, 3), 21)
    assert found.cells == (2.0, 14.0, 30.0, 2.0)  # overlapping patches: cells around their middles
    clip = ClipTrunk(ClipConfig(vision, TextConfig(TransformerConfig(24, 1, 2, 48), 50, 16), 16), (32, 16))
    (found,) = attention.image_trunks(clip, "rgb")
    assert (found.name, found.embed.grid, found.cells) == ("vision", (4, 2), (0.0, 16.0, 32.0, 0.0))
    modal = ModalVision(clip, {"rgb": 3, "nir": 1})
    assert [trunk.name for trunk in attention.image_trunks(torch.nn.ModuleDict({"v": modal}), "nir")] == ["v"]
    assert attention.image_trunks(modal, "tir") == []
    assert attention.image_trunks(torch.nn.Linear(2, 2), "rgb") == []
