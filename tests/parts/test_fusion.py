"""Fusions of an image's and a text's feature."""

from typing import get_args

import pytest
import torch
from torch import nn

from reid_lab.parts.fusion import GATED, Kind, NoFusion, Tokens, fusion

WIDTH, OUT, MEMORY = 16, 12, (20, 24)
KINDS = get_args(Kind)


def made(kind, seed=0, dropout=0.0):
    return fusion(kind, WIDTH, output=OUT, heads=4, dropout=dropout, memory=MEMORY, seed=seed)


def inputs(n=5, length=7):
    draw = torch.Generator().manual_seed(3)
    image, text = torch.randn(2, n, WIDTH, generator=draw)
    patches, words = (torch.randn(n, length, width, generator=draw) for width in MEMORY)
    mask = torch.arange(length)[None, :] < torch.arange(1, n + 1)[:, None]
    return image, text, Tokens(patches), Tokens(words, mask)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_gates_and_no_rows(kind):
    part = made(kind)
    for n in (0, 1, 5):
        found = part(*inputs(n))
        assert found["fused"].shape == (n, part.output)
        assert found["fused"].isfinite().all()
        assert ("image_weight" in found) == (kind in GATED)
        if kind in GATED:
            assert ((found["image_weight"] > 0) & (found["image_weight"] < 1)).all()
    assert part.output == (WIDTH if kind in ("sum", "product") else OUT)


def test_the_published_attention_is_torchs_over_a_sequence_of_one():
    """nn.MultiheadAttention with the batch as rows of length 1, residual and norm: the module of the note."""
    part = made("as_published").eval()
    theirs = nn.MultiheadAttention(WIDTH, 4)
    own = part.image_attn
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([own.q.weight, own.k.weight, own.v.weight]))
        theirs.in_proj_bias.copy_(torch.cat([own.q.bias, own.k.bias, own.v.bias]).normal_())
        for layer, bias in zip((own.q, own.k, own.v), theirs.in_proj_bias.chunk(3), strict=True):
            layer.bias.copy_(bias)
        theirs.out_proj.weight.copy_(own.out.weight)
        image, text, _, _ = inputs()
        expected, _ = theirs(image[None], text[None], text[None])
        torch.testing.assert_close(own(image, Tokens(text[:, None])), expected[0])
        torch.testing.assert_close(own(image, Tokens(text[:, None])), own.out(own.v(text)))


def test_only_the_published_attention_is_dead():
    for kind in set(KINDS) - {"sum", "product"}:  # these have no parameters
        part = made(kind)
        part(*inputs())["fused"].square().sum().backward()
        silent = {n for n, p in part.named_parameters() if not p.grad.abs().max() > 1e-12}
        published = {f"{side}_attn.{p}.{k}" for side in ("image", "text") for p in "qk" for k in ("weight", "bias")}
        assert silent <= published
        assert (silent == published) == (kind == "as_published")
        assert bool(part.dead) == (kind == "as_published")


def test_token_attention_looks_at_tokens_and_not_at_padding():
    part = made("token_attention").eval()
    image, text, patches, words = inputs()
    before = part(image, text, patches, words)["fused"]
    padded = words.values.masked_fill(~words.mask[:, :, None], 9.0)
    torch.testing.assert_close(part(image, text, patches, Tokens(padded, words.mask))["fused"], before)
    turned = Tokens(patches.values.roll(1, dims=0))
    assert not torch.allclose(part(image, text, turned, words)["fused"], before)
    assert made("token_attention").reads_tokens
    assert not made("as_published").reads_tokens


def test_sum_and_product():
    image, text, _, _ = inputs()
    assert torch.equal(made("sum")(image, text)["fused"], image + text)
    assert torch.equal(made("product")(image, text)["fused"], image * text)
    assert NoFusion()(image, text) == {}


def test_what_two_kinds_share_begins_alike():
    published, tokens, gate = (made(kind).state_dict() for kind in ("as_published", "token_attention", "gate"))
    for one in (published, tokens):
        shared = [name for name in gate if name in one]
        assert len(shared) == len(gate)
        assert all(torch.equal(one[name], gate[name]) for name in shared)
    assert torch.equal(published["image_attn.q.weight"], tokens["image_attn.q.weight"])
    assert not torch.equal(published["image_attn.q.weight"], published["text_attn.q.weight"])
    assert not torch.equal(made("gate", seed=1).state_dict()["gate.fc.weight"], gate["gate.fc.weight"])


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="width 16 is not a multiple of 3 heads"):
        fusion("as_published", 16, output=8, heads=3, memory=MEMORY, seed=0)
