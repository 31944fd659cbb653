"""The blocks' own promises; equality with whole models stands in test_towers."""

import pytest
import torch
from torch import nn

from reid_lab.parts.pairing import pairs
from reid_lab.parts.towers import ClipConfig, ClipTrunk, TextConfig, VisionConfig, end_of_text
from reid_lab.parts.trunk import Attention, Blocks, CrossAttention, TransformerConfig

CONFIG = TransformerConfig(12, 2, 3, 24, "quick_gelu")


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def reference(attention, width, heads):
    """torch's own multi-head attention with the same weights."""
    module = nn.MultiheadAttention(width, heads, batch_first=True)
    state = {"in_proj_weight": attention.qkv.weight, "in_proj_bias": attention.qkv.bias}
    module.load_state_dict({**state, "out_proj.weight": attention.out.weight, "out_proj.bias": attention.out.bias})
    return module


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_cross_attention_equals_torch_s(heads):
    attention = CrossAttention(8, heads)
    x, memory = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    close(attention(x, memory), reference(attention, 8, heads)(x, memory, memory, need_weights=False)[0])


def test_self_attention_with_padding_equals_torch_s():
    attention = Attention(8, 2)
    x, mask = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True, True, False, False, False]])
    close(attention(x, mask), reference(attention, 8, 2)(x, x, x, key_padding_mask=~mask, need_weights=False)[0])


def test_causal_blocks_do_not_see_what_follows():
    blocks = Blocks(CONFIG, causal=True)
    x = torch.randn(2, 6, 12)
    close(blocks(x)[:, :4], blocks(x[:, :4]))
    assert not torch.allclose(Blocks(CONFIG)(x)[:, :4], Blocks(CONFIG)(x[:, :4]))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 10 is not a multiple of 4 heads"):
        Attention(10, 4)
    with pytest.raises(ValueError, match="width 10 is not a multiple of 4 heads"):
        CrossAttention(10, 4)


def test_every_projection_comes_from_the_factory():
    made = []

    def linear(inside, outside):
        made.append((inside, outside))
        return nn.Linear(inside, outside)

    Blocks(CONFIG, linear=linear)
    assert made == [(12, 36), (12, 12), (12, 24), (24, 12)] * 2


def test_text_is_pooled_at_the_highest_id():
    tokens = torch.arange(24.0).view(2, 4, 3)
    ids = torch.tensor([[8, 3, 9, 0], [8, 9, 0, 0]])
    assert torch.equal(end_of_text(tokens, ids), torch.stack([tokens[0, 2], tokens[1, 1]]))


def test_every_parameter_of_a_fresh_trunk_is_initialised():
    """Two builds from one seed agree, which uninitialised memory would not."""
    config = ClipConfig(VisionConfig(CONFIG, 8, 2), TextConfig(CONFIG, 20, 6), 8)
    trunks = []
    for _ in range(2):
        torch.manual_seed(1)
        trunks.append(ClipTrunk(config, (16, 16)))
    for (name, a), b in zip(trunks[0].named_parameters(), trunks[1].parameters(), strict=True):
        assert torch.equal(a, b), name
        assert a.isfinite().all(), name


def test_pairs():
    first, second = pairs(torch.tensor([2, 0, 3]), torch.tensor([0, 1, 2, 2]), 4)
    assert first.tolist() == [1, 0, 0]
    assert second.tolist() == [0, 2, 3]
    none = pairs(torch.tensor([0]), torch.tensor([1]), 2)
    assert none[0].tolist() == none[1].tolist() == []
