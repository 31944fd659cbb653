"""Small CLIP, ViT and BERT folders with random weights, in place of the shipped ones."""

import json

import pytest

from reid_lab.parts import backbones
from reid_lab.parts.towers import BertTrunk, ClipConfig, ClipTrunk, TextConfig, VisionConfig, VitTrunk
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import bert_tokenizer_files, clip_tokenizer_files
from reid_lab.seeding import stream

WORDS = ["a", "man", "woman", "in", "with", "wearing", "red", "blue", "black", "white", "shirt", "trousers", "shoes"]


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "clip"
    files = clip_tokenizer_files(WORDS, 24)
    vision = VisionConfig(TransformerConfig(32, 2, 2, 64, "quick_gelu"), 8, 4)
    text = TextConfig(TransformerConfig(24, 2, 2, 48, "quick_gelu"), len(json.loads(files["vocab.json"])), 24)
    with stream(0, "fixture"):
        trunk = ClipTrunk(ClipConfig(vision, text, 16), (32, 16))
    backbones.write_clip_folder(folder, trunk, files)
    return str(folder)


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "vit"
    with stream(0, "vit fixture"):
        trunk = VitTrunk(VisionConfig(TransformerConfig(32, 2, 2, 64), 8, 4), (32, 16))
    backbones.write_vit_folder(folder, trunk)
    return str(folder)


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "bert"
    files = bert_tokenizer_files(WORDS, 32)
    with stream(0, "bert fixture"):
        trunk = BertTrunk(TextConfig(TransformerConfig(24, 2, 2, 48), len(files["vocab.txt"].split()), 32))
    backbones.write_bert_folder(folder, trunk, files)
    return str(folder)


@pytest.fixture(scope="session")
def folders(tmp_path_factory, vit_folder, bert_folder):
    """By kind; this CLIP has more blocks of images than any knob counts from the end."""
    folder = tmp_path_factory.mktemp("weights") / "deep"
    files = clip_tokenizer_files(WORDS, 24)
    vision = VisionConfig(TransformerConfig(32, 5, 2, 64, "quick_gelu"), 8, 4)
    text = TextConfig(TransformerConfig(24, 2, 2, 48, "quick_gelu"), len(json.loads(files["vocab.json"])), 24)
    with stream(0, "fixture"):
        trunk = ClipTrunk(ClipConfig(vision, text, 16), (32, 16))
    backbones.write_clip_folder(folder, trunk, files)
    return {"clip": str(folder), "vit": vit_folder, "bert": bert_folder}
