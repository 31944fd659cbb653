"""Trunks alone: in each container, under each generation of names, as a run that evaluates and as a backbone."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from reid_lab.architectures.irra import Irra
from reid_lab.architectures.irra import Spec as IrraSpec
from reid_lab.architectures.t2ireid import Spec as TextSpec
from reid_lab.architectures.t2ireid import T2IReID
from reid_lab.architectures.vit_multiscale import Spec, VitMultiscale
from reid_lab.contracts import Facts
from reid_lab.data.synthetic import vocabulary
from reid_lab.interop import openai_clip
from reid_lab.interop.transreid import timm_table
from reid_lab.parts import backbones
from reid_lab.parts import huggingface as hf
from reid_lab.parts.towers import BertTrunk, TextConfig, VisionConfig, VitTrunk
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import bert_tokenizer_files
from tests.imported import disturbed, evaluated, rebuilt, searched, world

SIZE = (32, 16)
TIMM = VisionConfig(TransformerConfig(64, 2, 1, 128, eps=1e-6), 8, 4)
GOOGLE = VisionConfig(TransformerConfig(64, 2, 2, 128, eps=1e-12), 8, 4)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def bring(lab):
    """`reid-lab import` of a file or folder over the embedded world; the lines that it says."""

    def call(source, path, file, *sets, out="runs/brought"):
        words = [word for value in sets for word in ("--set", value)]
        done = lab.call("import", source, str(path), "--spec", str(file), "--out", out, *words)
        assert done.code == 0, done.err
        return done.out

    return call


def written(trunk, names):
    found = {}
    for key, value in trunk.state_dict().items():
        found |= names[key].write(value)
    return found


def counts(out):
    """Loaded, resized, re-initialised, unused: the numbers of the report's table."""
    return [int(line.split()[-1]) for line in out[:4]]


# CLIP


class Tree(nn.Module):
    """Modules that hold tensors under dotted names, as other code's; numbers are buffers, a mask is neither."""

    def __init__(self, tensors):
        super().__init__()
        for name in dict.fromkeys(key.partition(".")[0] for key in tensors):
            below = {key.partition(".")[2]: v for key, v in tensors.items() if key.startswith(f"{name}.")}
            if below:
                self.add_module(name, Tree(below))
            elif tensors[name].is_floating_point():
                self.register_parameter(name, nn.Parameter(tensors[name].clone()))
            else:
                self.register_buffer(name, tensors[name].clone())
        self.attn_mask = torch.ones(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture
def captioned(lab):
    return world(lab, ["rgb", "caption"], "text_to_image", f"{{name: irra, backbone: {lab.clip}, mlm: {{depth: 1}}}}")


@pytest.fixture
def clip(lab):
    """IRRA's model of a CLIP alone, and the CLIP's tensors in OpenAI's layout, with the table of a 4x4 grid."""
    spec = IrraSpec(backbone=str(lab.clip), mlm=None, id=None)
    model = disturbed(Irra(spec, Facts(3, image_size=SIZE), 5))
    content = written(model.trunk, openai_clip.clip_table(model.trunk.config))
    return model, content | {"logit_scale": torch.tensor(4.6), "input_resolution": torch.tensor(32)}


def saved_plain(folder, content):
    torch.save({"state_dict": {f"module.{key}": value for key, value in content.items()}}, folder / "clip.pt")
    return folder / "clip.pt"


def saved_archive(folder, content):
    torch.jit.script(Tree(content)).save(folder / "clip.pt")
    return folder / "clip.pt"


@pytest.mark.parametrize("saved", [saved_plain, saved_archive])
def test_openai_s_clip_evaluates_with_its_features(lab, captioned, clip, bring, saved):
    """A state dict, and the archive of TorchScript in which OpenAI publishes."""
    model, content = clip
    out = bring("openai_clip", saved(lab.folder, content), captioned)
    assert counts(out)[:3] == [len(model.state_dict()), 0, 0]
    assert "  unused: logit_scale" in out
    evaluated(lab, "runs/brought", model)
    assert lab.call("evaluate", "runs/brought").code == 0
    assert lab.call("search", "brought", "a man in red", "--top", "3").code == 0


def test_a_hugging_face_folder_of_clip(lab, captioned, clip, bring):
    """Its own configuration and tokenizer serve; a folder of the run is a backbone, with the logit scale kept."""
    model, _ = clip
    words = {name: (lab.clip / name).read_text() for name in ("vocab.json", "merges.txt")}
    backbones.write_clip_folder(lab.folder / "hf", model.trunk, words, logit_scale=3.5)
    text = captioned.read_text().replace(f"backbone: {lab.clip}", "backbone: no/where")
    captioned.write_text(text)
    out = bring("openai_clip", lab.folder / "hf", captioned)
    assert counts(out)[:2] == [len(model.state_dict()) - 1, 1]  # the table of positions is a square one there
    evaluated(lab, "runs/brought", model)
    again = load_file("runs/brought/backbone/model.safetensors")
    assert again.keys() == load_file(lab.folder / "hf" / "model.safetensors").keys()
    assert float(again["logit_scale"]) == 3.5


def test_the_trunk_s_folder_is_a_backbone(lab, captioned, clip, bring):
    """Another model begins from it: with other heads, at another size."""
    model, content = clip
    bring("openai_clip", saved_plain(lab.folder, content), captioned)
    trunk = backbones.clip("runs/brought/backbone", image_size=SIZE)
    assert all(torch.equal(value, trunk.state_dict()[key]) for key, value in model.trunk.state_dict().items())
    shown = lab.call("inspect", str(captioned), "--identities", "4", "--set", "model.backbone=runs/brought/backbone")
    assert shown.code == 0, shown.err
    assert lab.call("evaluate", "brought").code == 0


def test_a_run_that_was_moved_is_told_where_its_backbone_is(lab, captioned, clip, bring):
    _, content = clip
    bring("openai_clip", saved_plain(lab.folder, content), captioned)
    (lab.runs / "brought").rename(lab.runs / "moved")
    done = lab.call("evaluate", "moved")
    assert done.code == 2
    assert len(done.complaints) == 1
    assert "model.backbone" in done.complaints[0]
    assert lab.call("evaluate", "moved", "--set", "model.backbone=runs/moved/backbone").code == 0


# ViT


@pytest.fixture
def photographs(lab):
    return world(lab, ["rgb"], "image_to_image", "{name: vit_multiscale, pixels: vit}")


def alone(lab, config, size=SIZE):
    """A ViT as `vit_multiscale` without anything besides; its trunk at the size that the world has."""
    backbones.write_vit_folder(lab.folder / "vit", VitTrunk(config, (32, 32)))
    spec = Spec(backbone=str(lab.folder / "vit"), windows=None, sie=None, id=None, pixels="vit")
    return disturbed(VitMultiscale(spec, Facts(1, image_size=size, roles=("rgb",)), 0))


@pytest.mark.parametrize("wrap", [dict, lambda t: {"model": t}, lambda t: {"state_dict": t}])
def test_timm_s_vit_evaluates_with_its_features(lab, photographs, bring, wrap):
    """Its configuration is told by shapes; the head of ImageNet is left."""
    model = alone(lab, TIMM)
    content = written(model.vit.trunk, timm_table(2)) | {"head.weight": torch.ones(9, 64), "head.bias": torch.ones(9)}
    torch.save(wrap({f"module.{key}": value for key, value in content.items()}), "timm.pth")
    out = bring("timm_vit", "timm.pth", photographs)
    assert counts(out) == [len(model.state_dict()), 0, 0, 2]
    evaluated(lab, "runs/brought", model)
    assert lab.call("evaluate", "runs/brought").code == 0
    searched(lab, "brought", "rgb")
    settings = json.loads((lab.runs / "brought" / "backbone" / "config.json").read_text())
    assert (settings["layer_norm_eps"], settings["num_attention_heads"], settings["patch_size"]) == (1e-6, 1, 8)


def test_timm_s_positions_are_resized_and_kept_in_the_folder(lab, photographs, bring):
    model = alone(lab, TIMM)
    content = written(model.vit.trunk, timm_table(2))
    content["pos_embed"] = torch.randn(1, 17, 64)
    save_file(content, "timm.safetensors")
    out = bring("timm_vit", "timm.safetensors", photographs)
    assert "  resized: vit.trunk.embed.positions" in out
    kept = load_file("runs/brought/backbone/model.safetensors")["embeddings.position_embeddings"]
    assert torch.equal(kept, content["pos_embed"])


def old(config):
    return hf.vit_table(config)


def new(config):
    return hf.vit_table(config, renamed=True)


@pytest.mark.parametrize(("names", "prefix"), [(old, ""), (old, "vit."), (new, ""), (new, "vit.")])
def test_hugging_face_s_vit_evaluates_with_its_features(lab, photographs, bring, names, prefix):
    """Old and new names, with and without the prefix of a task model; from its folder, with its configuration."""
    model = alone(lab, GOOGLE)
    content = {prefix + key: value for key, value in written(model.vit.trunk, names(GOOGLE)).items()}
    if prefix:
        content |= {"classifier.weight": torch.ones(3, 64), "classifier.bias": torch.ones(3)}
    folder = lab.folder / "google"
    folder.mkdir()
    settings = hf.vit_settings(GOOGLE, 4) | {"architectures": ["ViTForImageClassification"]}
    (folder / "config.json").write_text(json.dumps(settings))
    torch.save(content, folder / "pytorch_model.bin")
    out = bring("hf_vit", folder, photographs)
    assert counts(out) == [len(model.state_dict()), 0, 0, 2 if prefix else 0]
    evaluated(lab, "runs/brought", model)
    searched(lab, "brought", "rgb")
    vit = backbones.vit("runs/brought/backbone", image_size=SIZE)
    assert all(torch.equal(value, vit.state_dict()[key]) for key, value in model.vit.trunk.state_dict().items())


def test_a_vit_without_configuration_has_a_head_for_64_channels(lab, photographs, bring):
    model = alone(lab, TIMM)
    torch.save(written(model.vit.trunk, hf.vit_table(TIMM)), "vit.bin")
    bring("hf_vit", "vit.bin", photographs)
    config = rebuilt("runs/brought").vit.trunk.config
    assert (config.transformer.heads, config.transformer.eps, config.side) == (1, 1e-12, 4)


# BERT


@pytest.fixture
def described(lab):
    model = "{name: t2ireid, cloth: {labels: words}, cloth_adv: null, text_length: 24}"
    file = world(lab, ["rgb", "id_caption", "cloth_caption"], "text_to_image", model)
    file.write_text(
        file.read_text().replace("protocol: text_to_image", "queries: [id_caption], protocol: text_to_image")
    )
    return file


@pytest.fixture
def bert(lab):
    """A folder of a BERT that knows the captions' words, and the BERT."""
    files = bert_tokenizer_files(vocabulary(), 32)
    config = TextConfig(TransformerConfig(64, 2, 2, 96, eps=1e-12), len(files["vocab.txt"].splitlines()), 32)
    trunk = disturbed(BertTrunk(config))
    backbones.write_bert_folder(lab.folder / "bert", trunk, files)
    return trunk


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_bert_is_the_text_trunk_of_a_run(lab, described, bert, bring, prefix):
    """With the names of its first release, too (gamma, beta). All but the trunk is untrained, and said to be."""
    content = load_file(lab.folder / "bert" / "model.safetensors")
    if prefix:
        swap = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
        for new_name, old_name in swap:
            content = {key.replace(new_name, old_name): value for key, value in content.items()}
        content = {prefix + key: value for key, value in content.items()} | {"cls.predictions.bias": torch.ones(3)}
        (lab.folder / "bert" / "model.safetensors").unlink()
        torch.save(content, lab.folder / "bert" / "pytorch_model.bin")
    out = bring("hf_bert", lab.folder / "bert", described)
    model = rebuilt("runs/brought")
    assert counts(out)[:2] == [len(bert.state_dict()), 0]
    assert "  re-initialised: shared_mlp.weight" in out
    assert not any("re-initialised: vision." in line for line in out)
    assert "told by the tensors: nothing of vision.*, which stays the experiment's" in out
    ids = model.text.tokenizer(["a man in a red coat", "a woman"], 24)
    with torch.no_grad():
        assert torch.equal(model.text.text_features(ids), bert.text_features(ids))
    again = backbones.bert("runs/brought/backbone")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in bert.state_dict().items())
    evaluated(lab, "runs/brought", model)
    searched(lab, "brought", "rgb")
    tested = lab.call("evaluate", "runs/brought")
    assert tested.code == 0, tested.err
    assert any("tensors untrained" in line for line in tested.out)


def test_a_model_of_the_bert_s_trunks_gives_the_same(lab, described, bert, bring):
    """The run's model is the experiment's with this text trunk, its other parts as its seed begins them."""
    bring("hf_bert", lab.folder / "bert", described)
    spec = TextSpec(text_backbone=str(lab.folder / "bert"), cls=None, fusion=None, cloth_adv=None, text_length=24)
    facts = Facts(1, roles=("rgb", "id_caption", "cloth_caption"), image_size=SIZE)
    model = T2IReID(spec, facts, 0)
    again = rebuilt("runs/brought").state_dict()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items() if key in again)


# What is refused


def refused(lab, *words):
    done = lab.call("import", *map(str, words), "--out", "bent")
    assert done.code == 2
    assert not (lab.folder / "bent").exists()
    assert len(done.complaints) == 1, done.err
    return done.complaints[0].removeprefix("reid-lab: ")


def test_faults_are_one_line_each(lab, photographs, captioned, clip):
    _, content = clip
    trunk = written(alone(lab, TIMM).vit.trunk, timm_table(2))
    for change, told in (
        ({"dist_token": torch.ones(1, 1, 64)}, "timm.pth: surplus key dist_token (--allow-unused leaves it out)"),
        ({"pos_embed": torch.ones(3)}, "timm.pth: not timm's ViT's layout: pos_embed has shape (3,)"),
        ({"norm.bias": torch.ones(3)}, "timm.pth: norm.bias has shape (3,), (64,) is needed"),
    ):
        torch.save(trunk | change, "timm.pth")
        assert refused(lab, "timm_vit", "timm.pth", "--spec", photographs) == told
    google = written(alone(lab, GOOGLE).vit.trunk, hf.vit_table(GOOGLE))
    key = "encoder.layer.1.attention.attention.key.weight"
    torch.save(google | {key: torch.ones(3)}, "vit.bin")
    told = refused(lab, "hf_vit", "vit.bin", "--spec", photographs)
    assert key in told
    assert "(192, 64) is needed" in told
    torch.jit.script(Tree(content)).save("clip.pt")
    cut = (lab.folder / "clip.pt").read_bytes()
    (lab.folder / "clip.pt").write_bytes(cut[: len(cut) // 2])
    assert "clip.pt is not a file of plain tensors" in refused(lab, "openai_clip", "clip.pt", "--spec", captioned)


def test_folders_that_are_no_such_model_are_refused(lab, photographs):
    (lab.folder / "empty").mkdir()
    told = refused(lab, "hf_vit", "empty", "--spec", photographs)
    assert told == "empty: no weights in this folder; one of model.safetensors, pytorch_model.bin is needed"
    (lab.folder / "empty" / "model.safetensors.index.json").write_text("{}")
    assert "in several files" in refused(lab, "hf_vit", "empty", "--spec", photographs)
    trunk = VitTrunk(GOOGLE, (32, 32))
    backbones.write_vit_folder(lab.folder / "vit", trunk)
    (lab.folder / "vit" / "config.json").write_text('{"model_type": "swin"}')
    told = refused(lab, "hf_vit", "vit", "--spec", photographs)
    assert told == "vit/config.json: a model of type 'swin'; 'vit' is needed here"
    (lab.folder / "vit" / "config.json").write_text("nothing")
    assert "vit/config.json: no valid JSON" in refused(lab, "hf_vit", "vit", "--spec", photographs)
