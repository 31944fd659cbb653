"""Checkpoints of image retrieval: from files in their authors' layout to evaluations with the original's features."""

import json

import pytest
import torch

from reid_lab.architectures.clip_window import ClipWindow
from reid_lab.architectures.clip_window import Spec as WindowSpec
from reid_lab.architectures.vit_multiscale import Spec, VitMultiscale
from reid_lab.assembly import open_source
from reid_lab.catalogue import load_spec
from reid_lab.contracts import Facts
from reid_lab.errors import CheckpointError
from reid_lab.importing import import_checkpoint
from reid_lab.interop import clipreid, transreid
from reid_lab.parts import backbones
from reid_lab.parts.sie import VIEWS, SideSpec
from reid_lab.parts.towers import ClipConfig, ClipTrunk, TextConfig, VisionConfig, VitTrunk
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import END, START
from tests.imported import (
    GOLDEN,
    batch,
    disturbed,
    evaluated,
    facts_of,
    normalised,
    read_golden,
    rebuilt,
    searched,
    tensors,
    world,
)
from tests.interop.mambapro_reference import features, file_of
from tests.lab import WORLD

golden = read_golden()
SIZE = (32, 16)
SPECTRA = ("rgb", "nir", "tir")


@pytest.fixture
def bring(lab):
    """`reid-lab import` of tensors over the embedded world; the lines that it says."""

    def call(source, content, file, *sets, options=(), out="runs/brought"):
        torch.save(content, lab.folder / "brought.pth")
        words = [word for value in sets for word in ("--set", value)]
        done = lab.call("import", source, "brought.pth", "--spec", str(file), "--out", out, *words, *options)
        assert done.code == 0, done.err
        return done.out

    return call


@pytest.fixture
def refused(lab):
    """The one line in which an import is refused; nothing of it is left."""

    def call(source, content, file, *sets):
        torch.save(content, lab.folder / "bent.pth")
        words = [word for value in sets for word in ("--set", value)]
        done = lab.call("import", source, "bent.pth", "--spec", str(file), "--out", "bent", *words)
        assert done.code == 2
        assert not (lab.folder / "bent").exists()
        assert len(done.complaints) == 1, done.err
        return done.complaints[0].removeprefix("reid-lab: ")

    return call


def counts(out):
    """Loaded, resized, re-initialised, unused: the numbers of the report's table."""
    return [int(line.split()[-1]) for line in out[:4]]


# TransReID


CONFIG = VisionConfig(TransformerConfig(64, 2, 1, 128, eps=1e-6), 8, 4)


@pytest.fixture
def photographs(lab):
    return world(lab, ["rgb"], "image_to_image", "name: vit_multiscale")


def transreid_model(lab, cameras=6, identities=7, stride=None, **knobs):
    path = lab.folder / "vit"
    backbones.write_vit_folder(path, VitTrunk(CONFIG, (32, 32)))
    given = {"sie": SideSpec(site="all_tokens", coefficient=3.0), **knobs}
    spec = Spec(backbone=str(path), windows=None, stride=stride, **given)
    return disturbed(VitMultiscale(spec, Facts(identities, cameras, ("rgb",), SIZE), 0))


def transreid_file(model):
    names = transreid.table(model.state_dict(), 2)
    found = {}
    for key, value in model.state_dict().items():
        found |= names[key].write(value) if value.ndim else {names[key].keys[0]: value}
    if "base.sie_embed" in found:
        found["base.sie_embed"] = found["base.sie_embed"][:, None]
    return found | {"base.fc.weight": torch.zeros(9, 64), "base.fc.bias": torch.zeros(9)}


SIE = "model.sie={of: camera, coefficient: 3.0, site: all_tokens}"


def test_transreid_evaluates_with_its_features(lab, photographs, bring):
    """Other cameras and identities than those of the data; overlapping patches, told by the table of positions."""
    model = transreid_model(lab, stride=4)
    content = {f"module.{key}": value for key, value in transreid_file(model).items()}
    out = bring("transreid", content, photographs, SIE)
    assert counts(out) == [len(model.state_dict()), 0, 0, 2]
    assert "  unused: base.fc.weight" in out
    assert "told by the tensors: model.stride=4" in out
    facts = facts_of("runs/brought")
    assert (facts.identities, facts.cameras) == (7, 6)
    evaluated(lab, "runs/brought", model)
    searched(lab, "brought", "rgb")
    tested = lab.call("evaluate", "runs/brought")
    assert tested.code == 0, tested.err
    assert any("imported from transreid" in line for line in tested.out)
    listed = lab.call("list", "runs")
    assert any("imported, fitted on unknown data" in line for line in listed.out)
    assert not any("unfinished" in line for line in listed.out)


def test_transreid_without_classifier_and_side_information(lab, photographs, bring):
    model = transreid_model(lab, sie=None, id=None)
    out = bring("transreid", {"model": transreid_file(model)}, photographs)
    assert {"told by the tensors: model.id=null", "told by the tensors: model.sie=null"} <= set(out)
    evaluated(lab, "runs/brought", model)


def test_views_and_pairs_of_camera_and_view(lab, photographs, bring):
    """The table has a row for each; of pairs, the experiment's data tells the views, unless they are given."""
    content = transreid_file(transreid_model(lab))
    bring("transreid", content, photographs, SIE, "model.sie.of=view", out="runs/views")
    assert (facts_of("runs/views").cameras, facts_of("runs/views").labels) == (0, {"scenes": 6})
    torch.save(content, "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth: 6 rows .* are cameras x views .* has 4 views"):
        pairs(lab, photographs, 4, out="never")
    with pytest.raises(CheckpointError, match="the experiment's data has 0 views"):
        pairs(lab, photographs, 0, out="never")
    assert not (lab.folder / "never").exists()
    pairs(lab, photographs, 2, out="runs/pairs")
    assert (facts_of("runs/pairs").cameras, facts_of("runs/pairs").labels) == (3, {"scenes": 2})

    small = [line.replace(": ", "=", 1) for line in WORLD.replace("[rgb, caption]", "[rgb]").splitlines()]
    made = lab.call("data", "make", "market1501", "market", *[word for line in small for word in ("--set", line)])
    assert made.code == 0, made.err
    market = lab.folder / "market.yaml"
    data = "data: {name: market1501, root: market, image_size: [32, 16]}"
    market.write_text(f"name: market\n{data}\nmodel: {{name: vit_multiscale}}\neval: {{protocol: image_to_image}}\n")
    own = open_source(load_spec(market).spec.data).facts.labels[VIEWS]
    many = content | {"base.sie_embed": torch.ones(5 * own, 1, 64)}
    bring("transreid", many, market, SIE, "model.sie.of=both", out="runs/own")
    assert (facts_of("runs/own").cameras, facts_of("runs/own").labels) == (5, {VIEWS: own})
    assert lab.call("evaluate", "own").code == 0


def pairs(lab, file, views, out):
    sets = (SIE, "model.sie.of=both")
    import_checkpoint("transreid", lab.folder / "x.pth", lab.folder / out, experiment=file, sets=sets, views=views)


@pytest.mark.parametrize("name", ["transreid_stride16_cameras4", "transreid_stride12_cameras3_views2"])
def test_transreid_s_golden_values(lab, name):
    """Of the authors' code. Only the number of heads, which no tensor tells, is given."""
    settings = json.loads((GOLDEN / f"{name}.json").read_text())
    values = tensors(golden.values(name))
    weights = {f"base.{key}": value for key, value in tensors(golden.parameters(name)).items()}
    torch.save({"state_dict": weights}, lab.folder / "golden.pth")
    config = transreid.read_config(weights, heads=settings["heads"])
    backbones.write_vit_folder(lab.folder / "vit", VitTrunk(config, (config.patch * config.side,) * 2))
    height, width = settings["image_size"]
    side = f"{{of: {'both' if settings['views'] else 'camera'}, coefficient: 1.5, site: all_tokens}}"
    sets = (f"model.backbone={lab.folder / 'vit'}", f"data.image_size=[{height}, {width}]", f"model.sie={side}")
    found = import_checkpoint(
        "transreid", lab.folder / "golden.pth", lab.folder / "out", sets=sets, views=settings["views"]
    )
    assert f"model.stride={settings['stride']}" in found.notes
    assert len(found.report.loaded) == len(weights)
    model = rebuilt(lab.folder / "out")
    labels = {"camids": values["in.camera_ids"], "scenes": values["in.view_ids"]}
    with torch.no_grad():
        embedded = model.embed(batch(labels, rgb=values["in.images"]))
    torch.testing.assert_close(embedded, normalised(values["out.cls"]), rtol=1e-5, atol=2e-6)


def test_transreid_s_faults_are_one_line(lab, photographs, refused):
    content = transreid_file(transreid_model(lab))
    jpm = content | {"classifier_1.weight": torch.ones(7, 64)}
    assert refused("transreid", jpm, photographs, SIE) == (
        "bent.pth: surplus key classifier_1.weight (--allow-unused leaves it out)"
    )
    for key, told in (
        (
            "base.blocks.1.attn.qkv.weight",
            "bent.pth: base.blocks.1.attn.qkv.weight has shape (3,), (192, 64) is needed",
        ),
        ("classifier.weight", "bent.pth: classifier.weight has shape (3,), (3, 64) is needed"),
        ("base.pos_embed", "bent.pth: not TransReID's layout: base.pos_embed has shape (3,)"),
    ):
        assert refused("transreid", content | {key: torch.ones(3)}, photographs, SIE) == told
    del content["base.norm.bias"]
    assert refused("transreid", content, photographs, SIE) == "bent.pth: missing key base.norm.bias"


# CLIP-ReID


def clipreid_model(lab, **knobs):
    given = {"features": "clip_reid", "windows": None, "pixels": "as_published", **knobs}
    spec = WindowSpec(backbone=str(lab.clip), **given)
    return disturbed(ClipWindow(spec, Facts(7, 6, ("rgb",), SIZE), 0))


def clipreid_file(model):
    names = clipreid.table(2)
    found = {}
    for key, value in model.state_dict().items():
        found |= names[key].write(value) if value.ndim else {names[key].keys[0]: value}
    return found | {"text_encoder.positional_embedding": torch.ones(3), "prompt_learner.cls_ctx": torch.ones(7, 4)}


@pytest.fixture
def clip_photographs(lab):
    return world(lab, ["rgb"], "image_to_image", f"{{name: clip_window, backbone: {lab.clip}, pixels: as_published}}")


def test_clipreid_evaluates_with_its_features(lab, clip_photographs, bring):
    model = clipreid_model(lab, stride=4)
    out = bring("clipreid", {"state_dict": clipreid_file(model)}, clip_photographs)
    assert counts(out) == [len(model.state_dict()), 0, 0, 2]
    assert "told by the tensors: model.stride=4" in out
    assert (facts_of("runs/brought").identities, facts_of("runs/brought").cameras) == (7, 6)
    evaluated(lab, "runs/brought", model)
    searched(lab, "brought", "rgb")
    assert lab.call("evaluate", "runs/brought").code == 0


def test_clipreid_s_positions_are_resized_from_a_square(lab, clip_photographs, bring, refused):
    content = clipreid_file(clipreid_model(lab, sie=None))
    square = content | {"image_encoder.positional_embedding": torch.randn(17, 32)}
    out = bring("clipreid", square, clip_photographs)
    assert "  resized: vision.embed.positions" in out
    assert "told by the tensors: model.sie=null" in out
    odd = content | {"image_encoder.positional_embedding": torch.randn(15, 32)}
    told = refused("clipreid", odd, clip_photographs)
    assert told == "bent.pth: image_encoder.positional_embedding has shape (15, 32), (9, 32) is needed"


def test_clipreid_s_golden_values(lab):
    """Of the authors' image tower with a vector for each camera; 768 and 512 channels side by side."""
    name = "clipreid_visual_stride12"
    settings, values = json.loads((GOLDEN / f"{name}.json").read_text()), tensors(golden.values(name))
    weights = {f"image_encoder.{key}": value for key, value in tensors(golden.parameters(name)).items()}
    torch.save(weights | {"cv_embed": values["in.sie"]}, lab.folder / "golden.pth")
    vision = VisionConfig(TransformerConfig(128, 12, settings["heads"], 512, "quick_gelu"), 16, 4)
    text = TextConfig(TransformerConfig(16, 1, 2, 32, "quick_gelu"), 4, 8)
    files = {"vocab.json": json.dumps({"w": 0, "v": 1, START: 2, END: 3})}
    backbones.write_clip_folder(lab.folder / "clip", ClipTrunk(ClipConfig(vision, text, 64), (64, 64)), files)
    height, width = settings["image_size"]
    sets = (f"model.backbone={lab.folder / 'clip'}", f"data.image_size=[{height}, {width}]")
    words = [word for value in sets for word in ("--set", value)]
    done = lab.call("import", "clipreid", "golden.pth", "--out", "out", *words)
    assert done.code == 0, done.err
    assert counts(done.out) == [len(weights) + 1, 0, 0, 0]
    assert f"told by the tensors: model.stride={settings['stride']}" in done.out
    model, rows = rebuilt(lab.folder / "out"), torch.arange(4)
    with torch.no_grad():
        found = model.embed(batch({"camids": rows}, rgb=values["in.images"]))
    whole = torch.cat([values["out.tokens"][:, 0], values["out.projected_tokens"][:, 0]], dim=1)
    torch.testing.assert_close(found, normalised(whole), rtol=1e-5, atol=1e-6)


# MambaPro


@pytest.fixture
def triples(lab):
    model = f"{{name: clip_window, backbone: {lab.clip}, roles: [rgb, nir, tir], pixels: as_published}}"
    return world(lab, SPECTRA, "multispectral", model)


def spectra(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {role: torch.randn(4, 3, *SIZE, generator=generator) for role in SPECTRA}


def agrees(content, **parts):
    """Whether the imported model embeds as the plain reference does; in float32 they were up to 4.8e-6 apart."""
    images, camids = spectra(), torch.tensor([0, 1, 2, 1])
    with torch.no_grad():
        found = rebuilt("runs/brought").embed(batch({"camids": camids}, **images))
        wanted = normalised(features(content, images, camids, **parts))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("both", [True, False])
def test_mambapro_s_features_are_those_of_a_plain_reference(lab, triples, bring, both):
    content = file_of(both=both)
    out = bring("mambapro", {f"module.{key}": value for key, value in content.items()}, triples)
    model = rebuilt("runs/brought")
    assert counts(out)[:3] == [len(model.state_dict()), 0, 0]
    unused = {line.removeprefix("  unused: ") for line in out if line.startswith("  unused: ")}
    first = {key for key in content if key.startswith("BACKBONE.base.transformer.resblocks.0.adapter_transfer.")}
    assert unused == first | {key for key in content if key.startswith(("BACKBONE.classifier", "BACKBONE.bottleneck"))}
    assert "told by the tensors: model.adapter={ratio: 2.0, gate: as_published}" in out
    assert (facts_of("runs/brought").identities, facts_of("runs/brought").cameras) == (5, 3)
    agrees(content)


def test_mambapro_evaluates(lab, triples, bring):
    bring("mambapro", file_of(), triples)
    done = lab.call("evaluate", "runs/brought")
    assert done.code == 0, done.err
    assert any("mAP" in line for line in done.out)
    searched(lab, "brought", "rgb")


def test_parts_that_were_not_trained_are_left_out(lab, triples, bring):
    """Their tensors are in the file all the same: prompts and biases of 0, a neck that has seen no batch."""
    content = file_of()
    content["bottleneck_fuse.num_batches_tracked"] = torch.tensor(0)
    for key in content:
        if "adapter_prompt" in key or ("adapter_ffn" in key and key.endswith("bias")):
            content[key] = torch.zeros_like(content[key])
    out = bring("mambapro", content, triples)
    for slot in ("adapter", "prompt", "aggregator"):
        assert f"told by the tensors: model.{slot}=null" in out
    agrees(content, prompts=False, adapters=False, aggregate=False)


def test_mambapro_s_other_head(lab, triples, bring):
    """DIRECT: 0, which no tensor tells: the classifier of each image."""
    content = file_of()
    out = bring("mambapro", content, triples, "model.direct=shared")
    assert "  unused: classifier.weight" in out
    assert "  unused: BACKBONE.classifier.weight" not in out


def test_mambapro_s_faults_are_one_line(lab, triples, refused):
    content = file_of()
    surplus = content | {"AAM.ma_block.0.surprise": torch.ones(2)}
    assert refused("mambapro", surplus, triples).startswith("bent.pth: surplus key AAM.ma_block.0.surprise")
    key = "AAM.ma_block.1.SSM_intra.SSM_n_f.D"
    told = refused("mambapro", content | {key: torch.ones(3)}, triples)
    assert told == f"bent.pth: {key} has shape (3,), (32,) is needed"
    without = {key: value for key, value in content.items() if key != "BACKBONE.cv_embed"}
    del without["BACKBONE.base.ln_post.bias"]
    assert refused("mambapro", without, triples) == "bent.pth: missing key BACKBONE.base.ln_post.bias"
