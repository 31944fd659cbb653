"""One trunk for several modalities: equality with CLIP, with one pass each, and how tokenizers start."""

import json

import pytest
import torch

from reid_lab.errors import DataError
from reid_lab.parts.lora import Lora, adapt
from reid_lab.parts.modalities import ModalText, ModalVision
from reid_lab.parts.towers import ClipConfig, ClipTrunk, TextConfig, VisionConfig
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import clip_tokenizer_files
from reid_lab.seeding import stream

CHANNELS = {"rgb": 3, "nir": 1, "cpencil": 3, "sketch": 1}
SIZE = (24, 16)
VOCABULARY = len(json.loads(clip_tokenizer_files(["a", "man"], 16)["vocab.json"]))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def clip():
    vision = VisionConfig(TransformerConfig(16, 2, 2, 32, "quick_gelu"), 8, 3)
    text = TextConfig(TransformerConfig(12, 2, 2, 24, "quick_gelu"), VOCABULARY, 16)
    with stream(0, "test"):
        return ClipTrunk(ClipConfig(vision, text, 8), SIZE)


def vision(channels=CHANNELS, lora=None, trained=False, **knobs):
    model = ModalVision(clip(), channels, **knobs)
    if lora is not None:
        adapt(model.blocks, model.roles, lora, seed=0, part="mer")
    if trained:
        generator = torch.Generator().manual_seed(1)
        for name, value in model.named_parameters():
            if name.endswith("lora_up"):
                value.data.normal_(generator=generator)
    return model


def pixels(channels=CHANNELS, counts=(3, 1, 2, 2)):
    generator = torch.Generator().manual_seed(2)
    return {
        role: torch.randn(n, c, *SIZE, generator=generator)
        for (role, c), n in zip(channels.items(), counts, strict=True)
    }


@pytest.mark.parametrize("lora", [None, Lora(4, 0.25)])
@pytest.mark.parametrize("own", ["patches", "tokenizer"])
def test_fresh_adapters_and_no_noise_are_clip_bit_for_bit(lora, own):
    three = dict.fromkeys(CHANNELS, 3)
    given = pixels(three)
    model, plain = vision(three, lora, own=own), clip()
    tokens = model(given)
    whole = plain.image_tokens(torch.cat(list(given.values())))
    assert torch.equal(torch.cat(list(tokens.values())), whole)
    assert torch.equal(model.features({"rgb": given["rgb"]})["rgb"], plain.image_features(given["rgb"]))


def test_noise_is_on_every_patch_embedding_but_rgb_s():
    clean, noisy, again = vision(), vision(noise=0.02), vision({"sketch": 1, "rgb": 3}, noise=0.02)
    for role in CHANNELS:
        a, b = (model.tokenizers[role].embed.conv.weight for model in (clean, noisy))
        if role == "rgb":
            assert torch.equal(a, b)
        else:
            assert 0.015 < (a - b).std() < 0.025
    for role in ("sketch", "rgb"):
        assert torch.equal(again.tokenizers[role].embed.conv.weight, noisy.tokenizers[role].embed.conv.weight)


def test_one_channel_is_the_mean_or_the_sum_of_three():
    given = torch.randn(2, 1, *SIZE)
    grey = clip().image_features(given.repeat(1, 3, 1, 1))
    close(vision(grey="sum").features({"nir": given})["nir"], grey)
    close(vision(grey="mean").features({"nir": 3 * given})["nir"], grey)


def test_what_each_modality_has_of_its_own():
    patches, whole = vision(), vision(own="tokenizer")
    assert patches.tokenizers["nir"].embed.positions is patches.tokenizers["rgb"].embed.positions
    assert patches.tokenizers["nir"].norm_pre is patches.tokenizers["rgb"].norm_pre
    names = {name for name, _ in whole.named_parameters()} - {name for name, _ in patches.named_parameters()}
    kinds = ("embed.class_token", "embed.positions", "norm_pre.weight", "norm_pre.bias")
    assert names == {f"tokenizers.{role}.{kind}" for role in ("nir", "cpencil", "sketch") for kind in kinds}


@pytest.mark.parametrize("own", ["patches", "tokenizer"])
def test_one_pass_equals_one_pass_per_modality(own):
    one, each = (vision(lora=Lora(4, 0.25), trained=True, own=own, noise=0.02) for _ in range(2))
    given = pixels()
    together = one.features(given)
    alone = {role: each.features({role: images})[role] for role, images in given.items()}
    weights = {role: torch.randn_like(feature) for role, feature in together.items()}
    sum((together[role] * weights[role]).sum() for role in given).backward()
    sum((alone[role] * weights[role]).sum() for role in given).backward()
    assert list(together) == list(given)
    for role in given:
        close(together[role], alone[role])
    for (name, a), b in zip(one.named_parameters(), each.parameters(), strict=True):
        close(a.grad, b.grad)
        assert a.grad.abs().max() > 0, name


def test_modalities_differ_by_their_adapters():
    three = dict.fromkeys(CHANNELS, 3)
    model, same = vision(three, Lora(4, 1.0), trained=True), torch.randn(1, 3, *SIZE)
    rows = torch.cat([model.features({role: same})[role] for role in three])
    assert torch.pdist(rows).min() > 1e-3


def test_the_order_of_roles_in_a_batch_does_not_matter():
    model, given = vision(lora=Lora(4, 1.0), trained=True), pixels()
    turned = dict(reversed(given.items()))
    for role, feature in model.features(turned).items():
        close(feature, model.features(given)[role])


def test_no_images_and_unknown_modalities():
    assert vision()({}) == {}
    with pytest.raises(DataError, match=r"unknown modality 'sketsh'; allowed: .*; did you mean 'sketch'"):
        vision()({"sketsh": torch.randn(1, 1, *SIZE)})


def test_text_with_adapters():
    ids = torch.tensor([[2, 4, VOCABULARY - 1, 0, 0], [3, VOCABULARY - 1, 0, 0, 0]])
    text = ModalText(clip())
    close(text.features(ids), clip().text_features(ids))
    assert torch.equal(text(ids), clip().text_tokens(ids))
    adapt(text.tower.blocks, ("caption",), Lora(4, 0.25), seed=0, part="mer")
    close(text.features(ids), clip().text_features(ids))
    for name, value in text.named_parameters():
        if name.endswith("lora_up"):
            torch.nn.init.normal_(value)
    assert not torch.allclose(text.features(ids), clip().text_features(ids), atol=1e-2)
