"""Packed tokens against the padded sequences that they stand for."""

import pytest
import torch

from reid_lab.parts.layout import PADDED, Only, pack
from reid_lab.parts.towers import ClipText, TextConfig, initialise_blocks
from reid_lab.parts.trunk import Blocks, PostNormBlock, PreNormBlock, TransformerConfig

CONFIG = TransformerConfig(12, 3, 3, 24, "quick_gelu")
END = 19
WHOLE = torch.tensor([[1, 5, 9, 7, END, 0], [1, 9, 3, END, 0, 0]])
IDS = torch.tensor([[1, 2, 3, END, 0, 0], [1, 5, 6, 7, END, 0], [1, 2, END, 0, 0, 0], [1, 9, 3, END, 0, 0]])
TWIN = torch.tensor([1, 3])  # IDS[1] differs from WHOLE[0] at 2, IDS[3] and WHOLE[1] are equal


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.fixture
def tower():
    torch.manual_seed(0)
    tower = ClipText(TextConfig(CONFIG, 20, 6))
    initialise_blocks(tower.blocks, CONFIG)
    torch.nn.init.normal_(tower.positions)
    return tower


def packed():
    return pack(WHOLE, IDS, IDS.argmax(dim=1), TWIN)


def test_each_token_is_held_once_and_no_padding_of_the_short_ones():
    layout = packed()
    assert len(layout.place) == 2 * 6 + 4 + 3 + 3 + 0
    assert layout.table[:2].tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert layout.table[3, :5].tolist() == [0, 1, 16, 17, 18]
    assert layout.table[5, :4].tolist() == [6, 7, 8, 9]
    ids = torch.cat([WHOLE, IDS])
    again = layout.spread(layout.collect(ids[..., None]))[..., 0]
    seen = torch.arange(6) <= torch.cat([torch.tensor([5, 5]), IDS.argmax(dim=1)])[:, None]
    assert torch.equal(again[seen], ids[seen])


def test_one_pass_equals_one_for_each(tower):
    """Values and gradients of every parameter."""
    tokens, ends = tower.together(WHOLE, IDS, TWIN)
    separate = tower(IDS)[torch.arange(4), IDS.argmax(dim=1)]
    close(tokens, tower(WHOLE))
    close(ends, separate)
    weights = torch.randn(2, 6, 12), torch.randn(4, 12)
    parameters = [*tower.blocks.parameters(), tower.tokens.weight, tower.positions]
    found = torch.autograd.grad((tokens * weights[0]).sum() + (ends * weights[1]).sum(), parameters)
    naive = (tower(WHOLE) * weights[0]).sum() + (separate * weights[1]).sum()
    for ours, theirs in zip(found, torch.autograd.grad(naive, parameters), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n", "m"), [(0, 4), (0, 0)])
def test_nothing_to_share(tower, n, m):
    tokens, ends = tower.together(WHOLE[:n], IDS[:m], TWIN[:n])
    assert tokens.shape == (n, 6, 12)
    close(ends, tower(IDS)[torch.arange(4), IDS.argmax(dim=1)][:m])


@pytest.mark.parametrize("block", [PreNormBlock, PostNormBlock])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_reading_some_tokens_equals_choosing_them(block, layers):
    torch.manual_seed(0)
    blocks = Blocks(TransformerConfig(12, layers, 3, 24), block=block)
    x, chosen = torch.randn(2, 5, 12), torch.rand(2, 5) < 0.5
    close(blocks.read(x, chosen), blocks(x)[chosen])


def test_the_last_block_computes_no_other_token():
    blocks = Blocks(CONFIG)
    sizes = []
    for block in blocks:
        block.mlp.register_forward_hook(lambda _, given, __: sizes.append(tuple(given[0].shape)))
    blocks.read(torch.randn(2, 5, 12), torch.tensor([[True] + [False] * 4] * 2))
    assert sizes == [(2, 5, 12), (2, 5, 12), (2, 12)]


def test_a_choice_of_a_layout_keeps_its_order():
    x = torch.arange(22.0)[:, None]
    layout, tokens = packed(), torch.tensor([18, 0, 0])
    assert Only(layout, tokens).kept(x)[:, 0].tolist() == [18, 0, 0]
    assert torch.equal(Only(layout, tokens).collect(layout.spread(x)), Only(layout, tokens).kept(x))
    assert torch.equal(PADDED.collect(PADDED.spread(x)), PADDED.kept(x))
