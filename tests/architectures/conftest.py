"""A small CLIP folder with random weights, in place of the shipped one."""

import json

import pytest

from reid_lab.parts import backbones
from reid_lab.parts.towers import ClipConfig, ClipTrunk, TextConfig, VisionConfig
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import clip_tokenizer_files
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
