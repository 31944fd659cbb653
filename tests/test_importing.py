"""Checkpoints of other projects become runs that evaluate, and give the features of the original."""

import json

import numpy as np
import pytest
import torch

from reid_lab.architectures.clip_mer import ClipMer
from reid_lab.architectures.clip_mer import Spec as ClipMerSpec
from reid_lab.architectures.irra import Irra, Spec
from reid_lab.architectures.reid5o import Reid5o
from reid_lab.architectures.t2ireid import T2IReID
from reid_lab.catalogue import load_spec
from reid_lab.contracts import Facts
from reid_lab.importing import EXPERIMENTS
from reid_lab.interop import irra, openai_clip, reid5o, t2ireid
from reid_lab.interop.layouts import LAYOUTS
from reid_lab.parts import backbones
from reid_lab.parts.towers import BertTrunk, ClipTrunk, TextConfig, VisionConfig, VitTrunk
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import END, MASK, START
from reid_lab.tracking.runs import RunFolder
from tests.imported import (
    GOLDEN,
    batch,
    disturbed,
    evaluated,
    normalised,
    read_golden,
    rebuilt,
    searched,
    tensors,
    world,
)

golden = read_golden()


def clip_folder(folder, config, size):
    """A trunk of this configuration whose words are numbers."""
    words = [f"w{i}" for i in range(config.text.vocabulary - 3)] + [MASK, START, END]
    files = {"vocab.json": json.dumps({word: i for i, word in enumerate(words)})}
    backbones.write_clip_folder(folder, ClipTrunk(config, size), files)
    return folder


def test_irra_s_checkpoint_gives_its_authors_features(lab, tmp_path):
    settings = json.loads((GOLDEN / "irra.json").read_text())
    values, weights = tensors(golden.values("irra")), tensors(golden.parameters("irra"))
    height, width = settings["image_size"]
    pretrained = settings["pretrained_parameters"], settings["pretrained_seed"]
    shapes = tensors({key: golden.parameter(key, shape, pretrained[1]) for key, shape in pretrained[0].items()})
    config = openai_clip.read_config(shapes, heads=(settings["heads"],) * 2)
    trunk = clip_folder(tmp_path / "clip", config, (64, 64))
    torch.save({"model": {f"module.{k}": v for k, v in weights.items()}, "epoch": 59}, tmp_path / "best.pth")

    out = tmp_path / "imported"
    sets = (f"model.backbone={trunk}", f"data.image_size=[{height}, {width}]")
    done = lab.call("import", "irra", "best.pth", "--out", str(out), *[w for s in sets for w in ("--set", s)])
    assert done.code == 0, done.err
    assert done.out[0].split() == ["loaded", str(len(weights))]
    assert [line.split()[-1] for line in done.out[1:4]] == ["0", "0", "0"]
    assert "told by the tensors: model.mlm={depth: 2}" in done.out

    model = rebuilt(out)
    assert model.state_dict()["identity.linear.weight"].shape[0] == 7
    with torch.no_grad():
        image, text = model.embed(batch(rgb=values["in.images"])), model.embed(batch(caption=values["in.caption_ids"]))
    torch.testing.assert_close(image, normalised(values["out.image_features"]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(text, normalised(values["out.text_features"]), rtol=1e-5, atol=1e-6)


def golden_import(lab, source, name, wrapped, *sets):
    """`reid-lab import` of the golden weights of a project; the lines that it says, and the model that comes out."""
    weights = tensors(golden.parameters(name))
    torch.save({wrapped: {f"module.{k}": v for k, v in weights.items()}}, lab.folder / "best.pth")
    given = [word for value in sets for word in ("--set", value)]
    done = lab.call("import", source, "best.pth", "--out", f"imported_{source}", *given)
    assert done.code == 0, done.err
    return done.out, rebuilt(lab.folder / f"imported_{source}")


def test_reid5o_s_checkpoint_gives_its_authors_features(lab):
    name = "reid5o_mlp_lora"
    settings, values = json.loads((GOLDEN / f"{name}.json").read_text()), tensors(golden.values(name))
    config = reid5o.read_config(tensors(golden.parameters(name)), heads=(settings["heads"],) * 2)
    trunk = clip_folder(lab.folder / "clip", config, (64, 64))
    height, width = settings["image_size"]
    sets = (f"model.backbone={trunk}", f"data.image_size=[{height}, {width}]")
    out, model = golden_import(lab, "reid5o", name, "model", *sets)
    told = "told by the tensors: model.lora={rank: 4, scaling: 0.25, layers: 1, targets: [fc1, fc2]}"
    assert told in out
    assert model.state_dict()["identity.linear.weight"].shape[0] == 6
    given = {"rgb": "rgbs", "nir": "nirs", "cpencil": "cps", "sketch": "sks", "caption": "caption_ids"}
    features = {"rgb": "rgb", "nir": "nir", "cpencil": "cp", "sketch": "sk", "caption": "text"}
    asked = [((role,), f"{short}_features") for role, short in features.items()]
    with torch.no_grad():
        for roles, wanted in (*asked, (("nir", "caption"), "nir_text_fused")):
            found = model.embed(batch(**{role: values[f"in.{given[role]}"] for role in roles}))
            torch.testing.assert_close(found, normalised(values[f"out.{wanted}"]), rtol=1e-5, atol=1e-6)


def test_t2ireid_s_checkpoint_gives_its_features(lab):
    settings, values = json.loads((GOLDEN / "t2ireid.json").read_text()), tensors(golden.values("t2ireid"))
    inner = TransformerConfig(settings["width"], 2, 2, 128, "gelu", 1e-12)
    vision, text = VisionConfig(inner, settings["patch_size"], 4), TextConfig(inner, 200, 100)
    backbones.write_vit_folder(lab.folder / "vit", VitTrunk(vision, (64, 64)))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(195))]
    backbones.write_bert_folder(lab.folder / "bert", BertTrunk(text), {"vocab.txt": "\n".join(words) + "\n"})
    trunks = (f"model.backbone={lab.folder / 'vit'}", f"model.text_backbone={lab.folder / 'bert'}")
    out, model = golden_import(lab, "t2ireid", "t2ireid", "state_dict", *trunks, "data.image_size=[64, 64]")
    assert f"told by the tensors: model.output={settings['output']}" in out
    with torch.no_grad():
        image = model.embed(batch(rgb=values["in.image"]))
        words = model.embed(batch(id_caption=values["in.id_input_ids"]))
        both = model.embed(batch(rgb=values["in.image"], id_caption=values["in.id_input_ids"]))
    for found, wanted in ((image, "image_embeds"), (words, "id_text_embeds"), (both, "fused_embeds")):
        torch.testing.assert_close(found, normalised(values[f"out.{wanted}"]), rtol=1e-5, atol=1e-6)


def documented(model, modalities=("rgb", "ir", "cpencil", "sketch")):
    """The weights of a CLIP+MER model under the names of its design document, written out by hand."""
    own = {key: value.clone() for key, value in model.state_dict().items()}
    found = {"classifier.weight": own["identity.linear.weight"], "classifier.bias": own["identity.linear.bias"]}
    roles = ["rgb", "nir", "cpencil", "sketch"]
    clip = "encoder.clip_model."
    tower = f"{clip}vision_model.embeddings."
    for role, modality in zip(roles, modalities, strict=True):
        found[f"encoder.patch_embeds.{modality}.proj.weight"] = own[f"vision.tokenizers.{role}.embed.conv.weight"]
        found[f"encoder.patch_embeds.{modality}.proj.bias"] = torch.zeros(model.vision.norm.weight.shape[0])
    found[f"{tower}class_embedding"] = own["vision.tokenizers.rgb.embed.class_token"]
    found[f"{tower}position_embedding.weight"] = own["vision.tokenizers.rgb.embed.positions"]
    found[f"{tower}patch_embedding.weight"] = torch.zeros(1)  # CLIP's own, which is not used any more
    for kind in ("weight", "bias"):
        found[f"{clip}vision_model.pre_layrnorm.{kind}"] = own[f"vision.tokenizers.rgb.norm_pre.{kind}"]
        found[f"{clip}vision_model.post_layernorm.{kind}"] = own[f"vision.norm.{kind}"]
        found[f"{clip}text_model.final_layer_norm.{kind}"] = own[f"text.tower.norm.{kind}"]
        found |= {f"semantic.semantic_attn.in_proj_{kind}": torch.cat([own[f"semantic.{p}.{kind}"] for p in "qkv"])}
        found[f"semantic.semantic_attn.out_proj.{kind}"] = own[f"semantic.out.{kind}"]
        for ours, place in (("fc1", 0), ("norm", 1), ("fc2", 3)):
            found[f"semantic.semantic_proj.{place}.{kind}"] = own[f"semantic.{ours}.{kind}"]
    found[f"{clip}visual_projection.weight"] = own["vision.projection.weight"]
    found[f"{clip}text_projection.weight"] = own["text.projection.weight"]
    found[f"{clip}logit_scale"] = torch.tensor(4.6)
    found[f"{clip}text_model.embeddings.token_embedding.weight"] = own["text.tower.tokens.weight"]
    found[f"{clip}text_model.embeddings.position_embedding.weight"] = own["text.tower.positions"]
    for i in range(2):
        text, ours = f"{clip}text_model.encoder.layers.{i}.", f"text.tower.blocks.{i}."
        mer, image = f"encoder.vision_layers.{i}.", f"vision.blocks.{i}."
        for kind in ("weight", "bias"):
            for k, norm in ((1, "norm1"), (2, "norm2")):
                found[f"{text}layer_norm{k}.{kind}"] = own[f"{ours}{norm}.{kind}"]
                found[f"{mer}layer_norm{k}.{kind}"] = own[f"{image}{norm}.{kind}"]
            for place, name in (
                ("attention.out", "self_attn.out_proj"),
                ("mlp.fc1", "mlp.fc1"),
                ("mlp.fc2", "mlp.fc2"),
            ):
                found[f"{text}{name}.{kind}"] = own[f"{ours}{place}.{kind}"]
                found[f"{mer}{name}.shared_linear.{kind}"] = own[f"{image}{place}.{kind}"]
            for k, part in enumerate("qkv"):
                found[f"{text}self_attn.{part}_proj.{kind}"] = own[f"{ours}attention.qkv.{kind}"].chunk(3)[k]
                third = own[f"{image}attention.qkv.{kind}"].chunk(3)[k]
                found[f"{mer}self_attn.{part}_proj.shared_linear.{kind}"] = third
        for place, names in (
            ("attention.qkv", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            ("attention.out", ("self_attn.out_proj",)),
            ("mlp.fc1", ("mlp.fc1",)),
            ("mlp.fc2", ("mlp.fc2",)),
        ):
            down, up = own[f"{image}{place}.lora_down"], own[f"{image}{place}.lora_up"]
            for k, name in enumerate(names):
                for m, modality in enumerate(modalities):
                    found[f"{mer}{name}.loras.{modality}.lora_A.weight"] = down[k, m]
                    found[f"{mer}{name}.loras.{modality}.lora_B.weight"] = up[k, m].T
    return found


@pytest.fixture
def mer(lab):
    """CLIP+MER as its document has it, on the lab's trunk, its adapters and noise at work."""
    spec = ClipMerSpec(backbone=str(lab.clip), fusion_dim=None, fusion=None)
    roles = ("rgb", "nir", "cpencil", "sketch", "caption")
    model = ClipMer(spec, Facts(identities=9, image_size=(32, 16), roles=roles), 3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(len(name))
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def test_clip_mer_s_checkpoint_by_the_names_of_its_document(lab, mer):
    content = documented(mer)
    torch.save({"state_dict": content}, lab.folder / "mer.pth")
    sets = ("--set", f"model.backbone={lab.clip}", "--set", "data.image_size=[32, 16]")
    done = lab.call("import", "clip_mer", "mer.pth", "--out", "mer", *sets)
    assert done.code == 0, done.err
    again = rebuilt(lab.folder / "mer")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in mer.state_dict().items())
    pixels, grey = torch.randn(3, 3, 32, 16), torch.randn(3, 3, 32, 16)
    for inputs in ({"rgb": pixels}, {"nir": grey}, {"sketch": grey, "cpencil": pixels}):
        with torch.no_grad():
            assert torch.equal(mer.embed(batch(**inputs)), again.embed(batch(**inputs)))

    bent = {**content, "encoder.patch_embeds.ir.proj.bias": torch.ones(32)}
    torch.save(bent, lab.folder / "mer.pth")
    line = complaint(lab.call("import", "clip_mer", "mer.pth", "--out", "mer2", *sets))
    assert line.startswith("mer.pth: surplus key patch_embeds.ir.proj.bias")
    del content["encoder.vision_layers.1.mlp.fc2.loras.sketch.lora_B.weight"]
    torch.save(content, lab.folder / "mer.pth")
    assert lab.call("import", "clip_mer", "mer.pth", "--out", "mer2", *sets).code == 2
    assert not (lab.folder / "mer2").exists()


def brought(lab, source, content, file, *sets):
    """`reid-lab import` of tensors over an experiment's world."""
    torch.save({"model": {f"module.{key}": value for key, value in content.items()}}, lab.folder / "brought.pth")
    words = [word for value in sets for word in ("--set", value)]
    done = lab.call("import", source, "brought.pth", "--spec", str(file), "--out", f"runs/{source}", *words)
    assert done.code == 0, done.err
    return done.out


OMNI = ["rgb", "nir", "cpencil", "sketch", "caption"]


def test_reid5o_evaluates_with_its_features(lab):
    knobs = "lora: {layers: 1, targets: [fc1, fc2]}, fusion: {depth: 1}"
    file = world(lab, OMNI, "omni", f"{{name: reid5o, backbone: {lab.clip}, {knobs}}}")
    spec = load_spec(file).spec.model
    model = disturbed(Reid5o(spec, Facts(7, image_size=(32, 16), roles=tuple(OMNI)), 3))
    content = reid5o_file(model)
    out = brought(lab, "reid5o", content, file)
    assert out[0].split() == ["loaded", str(len(model.state_dict()))]
    evaluated(lab, "runs/reid5o", model)
    assert lab.call("evaluate", "reid5o").code == 0
    searched(lab, "reid5o", "rgb")


def reid5o_file(model):
    """Its tensors as the authors would have saved them; the adapters of the MLP by modality."""
    names = reid5o.table(model.state_dict())
    found = {}
    for name, value in model.state_dict().items():
        key = names[name].keys[0]
        owner, _, kind = key.rpartition(".")
        if not kind.startswith("lora_"):
            found |= names[name].write(value)
            continue
        side = "A" if kind == "lora_down" else "B"
        for number, matrix in enumerate(value[0]):
            found[f"{owner}.loras_{side}.{number}"] = (matrix if side == "A" else matrix.T).clone()
    return found


def test_clip_mer_evaluates_with_its_features(lab, mer):
    file = world(lab, OMNI, "omni", f"{{name: clip_mer, backbone: {lab.clip}, fusion_dim: null, fusion: null}}")
    brought(lab, "clip_mer", documented(mer), file)
    evaluated(lab, "runs/clip_mer", mer)
    assert lab.call("evaluate", "clip_mer").code == 0
    searched(lab, "clip_mer", "rgb")


def test_t2ireid_evaluates_with_its_features(lab):
    knobs = "cls: null, fusion: null, grl: null, cloth: {labels: words}, cloth_adv: null, norm: as_published"
    file = world(lab, ["rgb", "id_caption", "cloth_caption"], "text_to_image", f"{{name: t2ireid, {knobs}}}")
    file.write_text(file.read_text().replace("eval: {", "eval: {queries: [id_caption], "))
    spec = load_spec(file).spec.model
    model = disturbed(T2IReID(spec, Facts(1, image_size=(32, 16), roles=("rgb", "id_caption", "cloth_caption")), 3))
    names = t2ireid.table(model.vision.config, model.text.config, model.state_dict())
    content = {}
    for key, value in model.state_dict().items():
        if key in names:
            content |= names[key].write(value) if value.ndim else {names[key].keys[0]: value}
    out = brought(lab, "t2ireid", content, file)
    assert out[0].split() == ["loaded", str(len(names))]
    evaluated(lab, "runs/t2ireid", model)
    assert lab.call("evaluate", "t2ireid").code == 0
    searched(lab, "t2ireid", "rgb")


def test_tensors_of_other_axes_are_one_line(lab, mer, written):
    """Whatever stands where shapes are read, before any is compared."""
    lora = "encoder.vision_layers.0.mlp.fc1.loras.sketch.lora_A.weight"
    down = "vision_encoder.transformer.resblocks.1.mlp.c_fc.loras_A."
    cases = {
        "clip_mer": documented(mer) | {lora: torch.ones(3)},
        "reid5o": {f"{down}{k}": torch.ones(k + 1, 2) for k in range(4)} | {f"{down[:-2]}B.0": torch.ones(2)},
        "irra": written | {"classifier.weight": torch.tensor(2.0)},
    }
    for source, content in cases.items():
        file = world(lab, ["rgb", "caption"], source, f"{{name: {source}, backbone: {lab.clip}}}")
        file.write_text(file.read_text().replace(f"protocol: {source}", "protocol: text_to_image"))
        torch.save(content, "bent.pth")
        done = lab.call("import", source, "bent.pth", "--spec", str(file), "--out", "bent")
        assert done.code == 2
        assert all(line.startswith("reid-lab: bent.pth: ") for line in done.err), done.err
        assert not (lab.folder / "bent").exists()


@pytest.fixture
def model(lab):
    """IRRA on the lab's trunk, for 11 identities."""
    return Irra(Spec(backbone=str(lab.clip)), Facts(identities=11, image_size=(32, 16)), 5)


@pytest.fixture
def written(model):
    """Its tensors as IRRA's authors would have saved them."""
    names = irra.table(model.trunk.config, 4)
    found = {}
    for key, value in model.state_dict().items():
        found |= names[key].write(value)
    return found


@pytest.fixture
def bring(lab):
    """`reid-lab import` of tensors, with the lab's trunk and world."""

    def call(source, content, *options, out="imported", suffix=".pth"):
        file = lab.folder / f"file{suffix}"
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            torch.save(content, file)
        world = lab.folder / "world.yaml"
        text = lab.file.read_text().replace("  mlm: {depth: 1}\n", "")
        world.write_text(text)
        return lab.call("import", source, file.name, "--spec", str(world), "--out", out, *options)

    return call


def test_the_result_evaluates_searches_and_is_listed(lab, bring, written, model):
    assert bring("irra", {"state_dict": written}, out="runs/irra").code == 0
    evaluated(lab, "runs/irra", model)
    tested = lab.call("evaluate", "runs/irra")
    assert tested.code == 0, tested.err
    assert any("fitted on unknown data: imported from irra" in line for line in tested.out)
    assert any("mAP" in line for line in tested.out)
    found = lab.call("search", "irra", "a man in red", "--top", "3")
    assert found.code == 0, found.err
    listed = lab.call("list", "runs")
    assert any("imported, fitted on unknown data: imported from irra" in line for line in listed.out)
    shown = lab.call("inspect", "irra")
    assert shown.code == 0, shown.err
    notes = json.loads((RunFolder(lab.runs / "irra").path / "import.json").read_text())
    assert notes["source"] == "irra"
    assert len(notes["keys"]["loaded"]) == len(model.state_dict())
    again = rebuilt(lab.runs / "irra")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_slots_follow_what_the_file_holds(bring, lab, written):
    bare = {key: value for key, value in written.items() if key.startswith("base_model.")}
    assert bring("irra", bare).code == 0
    model = rebuilt(lab.folder / "imported")
    assert {term.name for term in model.terms} == {"sdm"}
    assert all(key.startswith("trunk.") for key in model.state_dict())


def test_openai_s_clip_is_irra_s_trunk_in_half_precision(bring, lab, model):
    names = openai_clip.clip_table(model.trunk.config)
    found = {}
    for key, value in model.trunk.state_dict().items():
        found |= names[key].write(value.half())
    found |= {"logit_scale": torch.tensor(4.6), "input_resolution": torch.tensor(224)}
    height, width = model.trunk.vision.embed.grid
    assert (height, width) == (4, 2)
    found["visual.positional_embedding"] = torch.randn(17, 32)
    done = bring("openai_clip", found)
    assert done.code == 0, done.err
    assert "  resized: trunk.vision.embed.positions" in done.out
    assert "  unused: logit_scale" in done.out
    again = rebuilt(lab.folder / "imported").state_dict()
    assert {value.dtype for value in again.values()} == {torch.float32}
    weight = "vision.embed.conv.weight"
    assert torch.equal(again[f"trunk.{weight}"], model.trunk.state_dict()[weight].half().float())


def test_an_unknown_key_is_an_error_unless_it_is_allowed(bring, lab, written):
    more = {**written, "surprise.weight": torch.ones(3)}
    done = bring("irra", more)
    assert done.code == 2
    assert done.complaints == [
        "reid-lab: file.pth: surplus key surprise.weight (--allow-unused leaves it out)",
    ]
    assert not (lab.folder / "imported").exists()
    allowed = bring("irra", more, "--allow-unused")
    assert allowed.code == 0, allowed.err
    assert "  unused: surprise.weight" in allowed.out


def complaint(done):
    assert done.code == 2
    assert len(done.complaints) == 1, done.err
    return done.complaints[0].removeprefix("reid-lab: ")


class Trap:
    """Unpickling this would call a function."""

    def __reduce__(self):
        return (np.save, ("/nowhere/at/all", 1))


def test_bad_files_are_one_line_each_and_leave_nothing(bring, lab, written, tmp_path):
    without = {key: value for key, value in written.items() if key != "base_model.visual.proj"}
    assert complaint(bring("irra", without)) == "file.pth: missing key base_model.visual.proj"
    bent = {**written, "base_model.ln_final.bias": torch.zeros(3)}
    assert complaint(bring("irra", bent)) == "file.pth: base_model.ln_final.bias has shape (3,), (24,) is needed"
    torch.save(written, tmp_path / "whole.pth")
    cut = (tmp_path / "whole.pth").read_bytes()[:5000]
    assert "file.pth is not a file of plain tensors (read with weights_only=True)" in complaint(bring("irra", cut))
    assert "is not a readable safetensors file" in complaint(bring("irra", cut, suffix=".safetensors"))
    assert "file.pth is not a file of plain tensors" in complaint(bring("irra", {"model": {"a": Trap()}}))
    assert complaint(bring("irra", {"encoder.weight": torch.zeros(2)})).startswith(
        "file.pth: not IRRA's layout: missing base_model.visual.conv1.weight"
    )
    assert "did you mean 'irra'" in complaint(bring("ira", written))
    (lab.folder / "imported").mkdir()
    (lab.folder / "imported" / "mine.txt").write_text("kept")
    assert "exists already" in complaint(bring("irra", written))
    assert [path.name for path in (lab.folder / "imported").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_every_source_has_an_experiment_to_evaluate_with(name):
    spec = load_spec(EXPERIMENTS / f"{name}.yaml").spec
    assert spec.model.name == LAYOUTS[name].architecture
    assert spec.data.image_size == LAYOUTS[name].image_size
