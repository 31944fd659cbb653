"""Adapters and prompts in the blocks, against loops that follow MambaPro's description image by image."""

import pytest
import torch

from reid_lab.parts.synergy import AdapterSpec, Feedforward, PlainBlocks, PromptSpec, SynergisticBlocks
from reid_lab.parts.towers import initialise_blocks
from reid_lab.parts.trunk import Blocks, TransformerConfig

CONFIG = TransformerConfig(8, 3, 2, 16, "quick_gelu")


@pytest.fixture
def blocks():
    torch.manual_seed(0)
    blocks = Blocks(CONFIG)
    initialise_blocks(blocks, CONFIG)
    return blocks


def disturbed(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return module


def by_hand(part, blocks, x, modality, count):
    """One image (T, D): own prompts carry those of the block before, the others' go through their adapters."""
    x, last = x[None], None
    length = x.shape[1]
    for layer, block in enumerate(blocks):
        before = x
        prompts = part.prompts[layer]
        shown = []
        for other in range(count):
            own = prompts.tokens[other]
            if other != modality:
                own = own + prompts.others[other](own)
            elif last is not None:
                own = own + last + prompts.transfer(last)
            shown.append(own)
        x = torch.cat([x, torch.cat(shown)[None]], dim=1)
        x = x + block.attention(block.norm1(x))
        x = x + block.mlp(block.norm2(x)) + part.adapters[layer](x)
        last = torch.stack(x[0, length:].chunk(count)).mean(0)
        x = x[:, :length]
    return x[0], before[0]


def test_against_a_loop_over_images(blocks):
    part = SynergisticBlocks(3, 8, 3, adapter=AdapterSpec(), prompt=PromptSpec(tokens=2), seed=0)
    disturbed(part)
    x, route = torch.randn(5, 4, 8), torch.tensor([2, 0, 1, 1, 0])
    after, before = part(blocks, x, route)
    for image, modality, ours, early in zip(x, route.tolist(), after, before, strict=True):
        wanted, wanted_early = by_hand(part, blocks, image, modality, 3)
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(early, wanted_early, rtol=1e-4, atol=1e-5)


def test_empty_slots_and_closed_gates_are_the_plain_blocks(blocks):
    x, route = torch.randn(2, 4, 8), torch.zeros(2, dtype=torch.int64)
    after, before = PlainBlocks()(blocks, x, route)
    torch.testing.assert_close(after, blocks(x))
    torch.testing.assert_close(blocks[2](before), after)
    closed = SynergisticBlocks(3, 8, 1, adapter=AdapterSpec(), prompt=None, seed=0)
    torch.testing.assert_close(closed(blocks, x, route)[0], after)
    published = SynergisticBlocks(3, 8, 1, adapter=AdapterSpec(gate="as_published"), prompt=None, seed=0)
    assert (published(blocks, x, route)[0] - after).abs().max() > 1e-6


def test_what_is_not_there_is_not_built():
    """No transfer in front of the first block, no other prompts of a single modality."""
    one = SynergisticBlocks(2, 8, 1, adapter=None, prompt=PromptSpec(), seed=0)
    assert [prompt.transfer is None for prompt in one.prompts] == [True, False]
    assert not len(one.prompts[0].others)
    assert not list(one.adapters)


def test_another_slot_changes_no_weight():
    both = SynergisticBlocks(2, 8, 2, adapter=AdapterSpec(), prompt=PromptSpec(), seed=1).state_dict()
    for alone in ({"adapter": AdapterSpec(), "prompt": None}, {"adapter": None, "prompt": PromptSpec()}):
        for name, value in SynergisticBlocks(2, 8, 2, **alone, seed=1).state_dict().items():
            assert torch.equal(value, both[name]), name
    assert Feedforward(4, 8).gate == 1.0
