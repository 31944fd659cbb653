"""Trunks by name: presets, folders, hub ids, fresh weights, and what goes wrong with each."""

import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from reid_lab.errors import CheckpointError, SpecError
from reid_lab.parts import backbones, locate
from reid_lab.parts.tokenizers import resize_positions
from reid_lab.parts.towers import BertTrunk, ClipConfig, ClipTrunk, TextConfig, VisionConfig, VitTrunk
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import bert_tokenizer_files, clip_tokenizer_files

INNER = TransformerConfig(16, 2, 2, 32)
FILES = clip_tokenizer_files(["red", "man"], 12)
CLIP = ClipConfig(VisionConfig(INNER, 8, 12), TextConfig(INNER, len(json.loads(FILES["vocab.json"])), 12), 8)


@pytest.fixture
def clip_folder(tmp_path):
    torch.manual_seed(0)
    backbones.write_clip_folder(tmp_path / "clip", ClipTrunk(CLIP, (96, 48)), FILES)
    return tmp_path / "clip"


@pytest.fixture
def vit_folder(tmp_path):
    torch.manual_seed(0)
    backbones.write_vit_folder(tmp_path / "vit", VitTrunk(VisionConfig(INNER, 8, 4), (32, 32)))
    return tmp_path / "vit"


@pytest.fixture
def bert_folder(tmp_path):
    files = bert_tokenizer_files(["red"], 12)
    config = TextConfig(INNER, len(files["vocab.txt"].split()), 12)
    backbones.write_bert_folder(tmp_path / "bert", BertTrunk(config), files)
    return tmp_path / "bert"


def test_a_trunk_trained_on_a_tall_grid_comes_back_bit_for_bit(tmp_path):
    trunk = ClipTrunk(CLIP, (96, 48))
    backbones.write_clip_folder(tmp_path / "clip", trunk, FILES)
    stored = load_file(tmp_path / "clip" / "model.safetensors")["vision_model.embeddings.position_embedding.weight"]
    assert stored.shape == (1 + 12 * 12, 16)
    assert json.loads((tmp_path / "clip" / "config.json").read_text())["vision_config"]["image_size"] == 96
    again = backbones.clip(str(tmp_path / "clip"), image_size=(96, 48))
    for name, value in trunk.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_another_image_size_resizes_the_positions(clip_folder):
    stored = load_file(clip_folder / "model.safetensors")["vision_model.embeddings.position_embedding.weight"]
    trunk = backbones.clip(str(clip_folder), image_size=(64, 32), stride=4)
    assert trunk.vision.embed.grid == (15, 7)
    assert torch.equal(trunk.vision.embed.positions, resize_positions(stored, (12, 12), (15, 7)))


def test_a_square_of_as_many_patches_is_still_resized(vit_folder):
    """4x4 and 8x2 have 16 patches each: the count alone does not tell."""
    stored = load_file(vit_folder / "model.safetensors")["embeddings.position_embeddings"][0]
    trunk = backbones.vit(str(vit_folder), image_size=(64, 16))
    assert torch.equal(trunk.embed.positions, resize_positions(stored, (4, 4), (8, 2)))


def test_fresh_weights_follow_the_seed_and_openai_s_scheme(clip_folder):
    first, same, other = (
        backbones.clip(str(clip_folder), image_size=(96, 48), pretrained=False, seed=seed) for seed in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(first.text.tokens.weight, other.text.tokens.weight)
    assert first.text.tokens.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert first.text.positions.std().item() == pytest.approx(0.01, rel=0.2)
    block = first.text.blocks[0]
    assert block.attention.qkv.weight.std().item() == pytest.approx(16**-0.5, rel=0.1)
    assert block.attention.out.weight.std().item() == pytest.approx(16**-0.5 * 4**-0.5, rel=0.15)
    assert block.mlp.fc1.weight.std().item() == pytest.approx(32**-0.5, rel=0.1)
    assert not block.attention.qkv.bias.any()


def test_building_reads_no_global_random_state(clip_folder):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    backbones.clip(str(clip_folder), image_size=(96, 48))
    assert torch.equal(before, torch.get_rng_state())


def test_no_transformers_to_build_a_trunk(clip_folder, vit_folder, bert_folder):
    code = (
        "import sys; from reid_lab.parts import backbones as b;"
        f"b.clip({str(clip_folder)!r}, image_size=(96, 48)); b.vit({str(vit_folder)!r}, image_size=(32, 32));"
        f"t = b.bert({str(bert_folder)!r}).tokenizer; t.mask_id;"
        "assert not {'transformers', 'tokenizers'} & set(sys.modules); t(['red'], 4);"
        "assert 'transformers' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_half_precision_files_are_upcast(clip_folder):
    path = clip_folder / "model.safetensors"
    save_file({key: value.half() for key, value in load_file(path).items()}, path)
    trunk = backbones.clip(str(clip_folder), image_size=(96, 48))
    assert {value.dtype for value in trunk.state_dict().values()} == {torch.float32}


def test_torch_files_and_task_models_are_read(bert_folder, vit_folder):
    expected = backbones.bert(str(bert_folder)).state_dict()
    tensors = load_file(bert_folder / "model.safetensors")
    old = {
        "bert." + key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in tensors.items()
    }
    extra = {"cls.predictions.bias": torch.zeros(3), "bert.embeddings.position_ids": torch.arange(12)[None]}
    (bert_folder / "model.safetensors").unlink()
    torch.save({**old, **extra}, bert_folder / "pytorch_model.bin")
    found = backbones.bert(str(bert_folder)).state_dict()
    assert all(torch.equal(expected[key], found[key]) for key in expected)

    path = vit_folder / "model.safetensors"
    tensors = {"vit." + key: value for key, value in load_file(path).items() if not key.startswith("pooler")}
    save_file({**tensors, "classifier.weight": torch.zeros(2, 16)}, path)
    backbones.vit(str(vit_folder), image_size=(32, 32))


def test_wrong_keys_and_shapes_are_one_error_that_lists_all(clip_folder):
    path = clip_folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["visual_projection.weight"]
    tensors["text_projection.weight"] = torch.zeros(3, 16)
    tensors["vision_model.embeddings.position_embedding.weight"] = torch.zeros(11, 16)
    tensors["surprise"] = torch.zeros(1)
    save_file(tensors, path)
    with pytest.raises(CheckpointError) as error:
        backbones.clip(str(clip_folder), image_size=(96, 48))
    text = str(error.value)
    assert len(error.value.faults) == 4
    assert "missing key visual_projection.weight" in text
    assert "text_projection.weight has shape (3, 16), (8, 16) is needed" in text
    assert "position_embedding.weight has shape (11, 16), (73, 16) is needed" in text
    assert "surplus key surprise" in text


def test_names_that_lead_nowhere(tmp_path, monkeypatch):
    size = {"image_size": (32, 32)}
    with pytest.raises(SpecError, match=r"unknown backbone 'tiny_clip'; allowed: .*; did you mean 'tiny-clip'"):
        backbones.clip("tiny_clip", **size)
    monkeypatch.setattr(locate, "WEIGHTS", tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"'tiny-vit': its weights are not installed; .*reid-lab pretrain"):
        backbones.vit("tiny-vit", **size)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty holds no config\.json"):
        backbones.bert(str(tmp_path / "empty"))


def test_a_hub_id_that_is_not_cached_says_what_to_do(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"'openai/no-such-clip'.*`hf download openai/no-such-clip`"):
        backbones.clip("openai/no-such-clip", image_size=(32, 32))


def test_a_hub_id_is_found_in_the_cache(clip_folder, tmp_path):
    """The layout of the Hugging Face cache, written by hand."""
    repository = tmp_path / "hub" / "models--somebody--small-clip"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    (repository / "snapshots").mkdir()
    clip_folder.rename(repository / "snapshots" / "abc123")
    code = (
        "from reid_lab.parts import backbones as b;"
        "t = b.clip('somebody/small-clip', image_size=(96, 48)); print(t.tokenizer(['red'], 4).shape)"
    )
    environment = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "torch.Size([1, 4])", done.stderr


def test_folders_of_the_wrong_kind_or_without_files(clip_folder, vit_folder, tmp_path):
    with pytest.raises(CheckpointError, match="of type 'vit'; 'clip' is needed"):
        backbones.clip(str(vit_folder), image_size=(32, 32))
    (vit_folder / "model.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(CheckpointError, match="is not a readable safetensors file"):
        backbones.vit(str(vit_folder), image_size=(32, 32))
    (vit_folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        backbones.vit(str(vit_folder), image_size=(32, 32))
    (vit_folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="no valid JSON"):
        backbones.vit(str(vit_folder), image_size=(32, 32))
    config = json.loads((clip_folder / "config.json").read_text())
    config["text_config"]["hidden_act"] = "relu"
    (clip_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"hidden_act 'relu' is not supported; allowed: gelu, quick_gelu"):
        backbones.clip(str(clip_folder), image_size=(32, 32))


def test_a_tokenizer_that_does_not_fit(clip_folder):
    bigger = clip_tokenizer_files(["red", "man", "woman"], 12)
    (clip_folder / "vocab.json").write_text(bigger["vocab.json"])
    with pytest.raises(CheckpointError, match="the tokenizer has"):
        backbones.clip(str(clip_folder), image_size=(96, 48))
    (clip_folder / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(CheckpointError, match=r"the vocabulary has no \[CLS\] and no \[SEP\]"):
        backbones.clip(str(clip_folder), image_size=(96, 48))
    (clip_folder / "vocab.json").unlink()
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        backbones.clip(str(clip_folder), image_size=(96, 48))


def test_a_fingerprint_follows_the_weights(clip_folder):
    before = locate.fingerprint(str(clip_folder))
    assert locate.fingerprint(str(clip_folder)) == before
    tensors = load_file(clip_folder / "model.safetensors")
    tensors["logit_scale"] = torch.tensor(3.0)
    save_file(tensors, clip_folder / "model.safetensors")
    assert locate.fingerprint(str(clip_folder)) != before


ODD = st.text(alphabet="abc XYZ019.,!?'\"\t\n éÅ中😀<|>_-/\u00a0\u2028\ufb01İς\u0301\u200b", max_size=24)
SPECIAL = ["<|mask|>", "<|endoftext|> x", "<|startoftext|>y", "don't it's we're", "A<|MASK|>b", "  red   MAN  ", ""]


@pytest.fixture(scope="module")
def both_tokenizers():
    from transformers import CLIPTokenizer

    folder = locate.resolve("tiny-clip")
    return backbones.ClipBpe.of(folder), CLIPTokenizer.from_pretrained(folder, local_files_only=True)


@settings(max_examples=300, deadline=None)
@given(odd=ODD, special=st.sampled_from(SPECIAL), words=st.lists(st.sampled_from(["red", "coat", "woman"]), max_size=6))
@pytest.mark.parametrize("length", [5, 48])
def test_the_light_tokenizer_gives_transformers_ids(both_tokenizers, length, odd, special, words):
    ours, theirs = both_tokenizers
    texts = [odd + special + " ".join(words), " ".join(words) + odd]
    wanted = theirs(texts, truncation=True, max_length=length, padding=False)["input_ids"]
    assert ours(texts, max_length=length)["input_ids"] == wanted


def test_a_tiny_trunk_opens_without_transformers():
    code = (
        "import sys; from reid_lab.parts import backbones; "
        "t = backbones.clip('tiny-clip', image_size=(96, 48)); t.tokenizer(['a red coat'], 8); "
        "assert not {'transformers', 'sympy'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
