"""The trunks against transformers' own models, on random small configurations, through folders."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file

from reid_lab.parts import backbones
from reid_lab.parts.towers import BertTrunk, ClipConfig, ClipTrunk, TextConfig, VisionConfig, VitTrunk
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import bert_tokenizer_files, clip_tokenizer_files
from reid_lab.seeding import stream

WORDS = ["a", "man", "in", "red", "reading", "shirt", "t-shirt", "woman's", "backpack", "black"]
SEEDS = range(4)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def inner(draw: random.Random, activation: str, eps: float) -> TransformerConfig:
    heads, depth = draw.choice([1, 2, 3]), draw.choice([4, 8, 16])
    width = heads * depth
    return TransformerConfig(width, draw.randint(1, 3), heads, width * draw.choice([2, 3, 4]), activation, eps)


def perturb(trunk: torch.nn.Module, seed: int) -> None:
    """Biases and norms are constant at the start; random ones would show a swapped or dropped one."""
    generator = torch.Generator().manual_seed(seed)
    for value in trunk.parameters():
        value.data += 0.1 * torch.randn(value.shape, generator=generator)


def load_hugging_face(cls, folder):
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    return model.eval()


@pytest.mark.parametrize("seed", SEEDS)
def test_clip_equals_clip_model(seed, tmp_path):
    from transformers import CLIPModel

    draw = random.Random(seed)
    activation = draw.choice(["quick_gelu", "gelu"])
    vision = VisionConfig(inner(draw, activation, draw.choice([1e-5, 1e-6])), patch := draw.choice([4, 8]), 3)
    files = clip_tokenizer_files(WORDS, 20)
    vocabulary = len(json.loads(files["vocab.json"]))
    text = TextConfig(inner(draw, activation, 1e-5), vocabulary, 20)
    with stream(seed, "test"):
        trunk = ClipTrunk(ClipConfig(vision, text, draw.choice([8, 12])), (3 * patch, 3 * patch))
    perturb(trunk, seed)
    backbones.write_clip_folder(tmp_path, trunk, files, logit_scale=1.5)
    model = load_hugging_face(CLIPModel, tmp_path)
    ours = backbones.clip(str(tmp_path), image_size=(3 * patch, 3 * patch))

    pixels = torch.randn(5, 3, 3 * patch, 3 * patch)
    ids = ours.tokenizer(["a man in red", "reading", "a black backpack in red", "", "zebra!"], 12)
    with torch.no_grad():
        images, words = model.vision_model(pixels), model.text_model(ids)
        close(ours.image_tokens(pixels), images.last_hidden_state)
        close(ours.vision.norm(ours.image_tokens(pixels)[:, 0]), images.pooler_output)
        close(ours.image_features(pixels), model.visual_projection(images.pooler_output))
        close(ours.text.norm(ours.text_tokens(ids)), words.last_hidden_state)
        close(ours.text_features(ids), model.text_projection(words.pooler_output))
    assert model.logit_scale.item() == 1.5


@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_vit_equals_vit_model(seed, renamed, tmp_path):
    from safetensors.torch import save_file
    from transformers import ViTModel

    draw = random.Random(seed)
    patch = draw.choice([4, 8])
    config = VisionConfig(inner(draw, "gelu", draw.choice([1e-12, 1e-6])), patch, 4, draw.choice([1, 3]))
    trunk = VitTrunk(config, (4 * patch, 4 * patch))
    perturb(trunk, seed)
    backbones.write_vit_folder(tmp_path, trunk)
    model = load_hugging_face(ViTModel, tmp_path)
    if renamed:
        save_file(model.state_dict(), tmp_path / "model.safetensors")
        assert "layers.0.attention.q_proj.weight" in load_file(tmp_path / "model.safetensors")
    ours = backbones.vit(str(tmp_path), image_size=(4 * patch, 4 * patch))
    pixels = torch.randn(5, config.channels, 4 * patch, 4 * patch)
    with torch.no_grad():
        close(ours.image_tokens(pixels), model(pixels).last_hidden_state)
        close(ours.image_features(pixels), model(pixels).last_hidden_state[:, 0])


@pytest.mark.parametrize("seed", SEEDS)
def test_bert_equals_bert_model(seed, tmp_path):
    from transformers import BertModel

    draw = random.Random(seed)
    files = bert_tokenizer_files(WORDS, 24)
    config = TextConfig(inner(draw, "gelu", draw.choice([1e-12, 1e-6])), len(files["vocab.txt"].split()), 24)
    trunk = BertTrunk(config)
    perturb(trunk, seed)
    backbones.write_bert_folder(tmp_path, trunk, files)
    model = load_hugging_face(BertModel, tmp_path)
    ours = backbones.bert(str(tmp_path))
    ids = ours.tokenizer(["a man in red", "reading", "a black backpack, in red", "zebra!"], 20)
    mask = ids != 0
    with torch.no_grad():
        theirs = model(ids, attention_mask=mask.long()).last_hidden_state
        close(ours.text_tokens(ids)[mask], theirs[mask])
        close(ours.text_features(ids), theirs[:, 0])
