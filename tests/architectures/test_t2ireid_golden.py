"""T2IReID against the values of an independent build of its note (tests/golden/t2ireid.*), loaded through interop."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reid_lab.architectures.t2ireid import (
    AdversarySpec,
    DecoupleSpec,
    FusionSpec,
    GrlSpec,
    MatchSpec,
    Spec,
    T2IReID,
)
from reid_lab.contracts import Batch, Facts, Input
from reid_lab.errors import CheckpointError
from reid_lab.interop import unwrap
from reid_lab.interop.t2ireid import load_t2ireid
from reid_lab.parts import backbones
from reid_lab.parts.towers import BertTrunk, TextConfig, VisionConfig, VitTrunk
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.schedules import Progress

GOLDEN = Path(__file__).parent.parent / "golden"
NOW = Progress(0, 10, 100)


def read_golden():
    spec = importlib.util.spec_from_file_location("golden", GOLDEN / "golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = read_golden()
SETTINGS = json.loads((GOLDEN / "t2ireid.json").read_text())
INNER = TransformerConfig(SETTINGS["width"], 2, 2, 128, "gelu", 1e-12)
VISION, TEXT = VisionConfig(INNER, SETTINGS["patch_size"], 4), TextConfig(INNER, 200, 100)
PUBLISHED = {
    "hidden": SETTINGS["hidden"],
    "output": SETTINGS["output"],
    "norm": "as_published",
    "fusion": FusionSpec(kind="as_published"),
    "grl": GrlSpec(site="as_published", shape="constant", maximum=SETTINGS["grl_alpha"]),
    "cloth": None,
    "cloth_adv": None,
    "cloth_match": MatchSpec(form="as_published"),
    "decouple": DecoupleSpec(form="as_published"),
    "retrieval": "as_published",
}


def tensors(arrays):
    return {name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}


def close(ours, theirs, rtol=1e-5, atol=1e-6):
    torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(theirs), rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def values():
    return tensors(golden.values("t2ireid"))


@pytest.fixture(scope="module")
def weights():
    return unwrap({"state_dict": {f"module.{k}": v for k, v in tensors(golden.parameters("t2ireid")).items()}})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("golden")
    backbones.write_vit_folder(place / "vit", VitTrunk(VISION, (64, 64)))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(195))]
    backbones.write_bert_folder(place / "bert", BertTrunk(TEXT), {"vocab.txt": "\n".join(words) + "\n"})
    return place


@pytest.fixture(scope="module")
def make(folders, weights):
    def build(**knobs):
        given = {**PUBLISHED, **knobs}
        trunks = {"backbone": str(folders / "vit"), "text_backbone": str(folders / "bert"), "pretrained": False}
        facts = Facts(
            SETTINGS["identities"],
            image_size=tuple(SETTINGS["image_size"]),
            roles=("rgb", "id_caption", "cloth_caption"),
        )
        model = T2IReID(Spec(**trunks, **given), facts, 0).eval()
        return model, load_t2ireid(model, weights, VISION, TEXT, model.vision.embed.grid)

    return build


@pytest.fixture(scope="module")
def model(make):
    return make()[0]


def batch(values, *roles):
    rows = torch.arange(6)
    given = {
        "rgb": values["in.image"],
        "id_caption": values["in.id_input_ids"],
        "cloth_caption": values["in.cloth_input_ids"],
    }
    return Batch({"pids": values["in.pids"]}, {role: Input(given[role], rows) for role in roles or given})


def test_every_key_is_used(make):
    model, report = make()
    fresh = {name for name in report.reinitialised if not name.endswith("num_batches_tracked")}
    assert fresh == {"fused.head.linear.weight", "fused.head.linear.bias"}
    assert all(".pooler." in key for key in report.unused)
    assert len(report.loaded) + len(report.reinitialised) == len(model.state_dict())


def test_padding_is_where_the_masks_say(values):
    for kind in ("id", "cloth"):
        assert torch.equal(values[f"in.{kind}_input_ids"] != 0, values[f"in.{kind}_attention_mask"] == 1)


def test_features(model, values):
    with torch.no_grad():
        found = model.values(model.encode(batch(values)), NOW)
    names = {
        "image": "image_embeds",
        "id_text": "id_text_embeds",
        "fused": "fused_embeds",
        "id_logits": "id_logits",
        "id_embeds": "id_embeds",
        "cloth_embeds": "cloth_embeds",
        "cloth_text": "cloth_text_embeds",
        "cloth_image": "cloth_image_embeds",
    }
    for ours, theirs in names.items():
        close(found[ours], values[f"out.{theirs}"])
    close(torch.stack([found["image_weight"], 1 - found["image_weight"]], dim=1), values["out.gate_weights"])


def test_losses_and_gradients(model, values):
    """Each loss by itself: its value, and what it asks of the clothes projection and of the patches."""
    found = model.values(model.encode(batch(values)), NOW)
    head = model.identity.linear
    assert torch.equal(found["logits"][:6], head(found["id_embeds"]))
    seen = set()
    for term in model.terms:
        if term.name == "bio":
            continue  # the note does not define it
        given = {need: found[need] for need in term.needs}
        if term.name == "cls":
            given = {"logits": found["id_logits"], "labels": found["image_pids"]}  # the fused feature's are our own
        out = term.fn(**given)
        loss = out.total / out.count
        close(loss.detach(), values[f"out.loss.{term.name}"])
        model.zero_grad()
        loss.backward(retain_graph=True)
        patches, clothes = model.vision.embed.conv.weight.grad, model.clothes.projection.weight.grad
        close(patches.norm(), values[f"out.gradient.{term.name}.patch_embedding_norm"], rtol=1e-4)
        wanted = values[f"out.gradient.{term.name}.cloth_projection"]
        close(torch.zeros(1) if clothes is None else clothes, wanted)
        seen.add(term.name)
    assert {f"out.loss.{name}" for name in seen} == {name for name in values if name.startswith("out.loss.")}


def test_published_queries_and_gallery(model, values):
    """A group with both is fused, the leak; one alone is its own feature."""
    with torch.no_grad():
        fused = torch.nn.functional.normalize(values["out.fused_embeds"], dim=1)
        close(model.embed(batch(values, "rgb", "id_caption")), fused)
        close(model.embed(batch(values, "rgb")), values["out.image_embeds"])
        close(model.embed(batch(values, "id_caption", "cloth_caption")), values["out.id_text_embeds"])
        close(model.embed(batch(values, "cloth_caption")), values["out.cloth_text_embeds"])


def test_a_checkpoint_fills_the_corrected_forms_too(make, values):
    """One BatchNorm of theirs fills both branches; in evaluation the features are the same."""
    knobs = {"norm": "batch_per_branch", "decouple": DecoupleSpec(form="hsic"), "grl": None}
    model, _ = make(**knobs, retrieval="single_modality", retrieval_clothes=1.0, cloth_adv=AdversarySpec())
    with torch.no_grad():
        found = model.embed(batch(values, "rgb")) * 2**0.5
    close(found, torch.cat([values["out.image_embeds"], values["out.cloth_image_embeds"]], dim=1))


def test_what_does_not_fit_is_told(make, weights):
    model, _ = make()
    broken = {k: v for k, v in weights.items() if k != "shared_mlp.bias"} | {"mystery": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        load_t2ireid(model, broken, VISION, TEXT, model.vision.embed.grid)
    told = [fault.what for fault in caught.value.faults]
    assert told == ["the checkpoint: missing key shared_mlp.bias", "the checkpoint: surplus key mystery"]


def test_a_classifier_of_other_identities_stays_fresh(make, weights):
    model, _ = make()
    before = model.identity.linear.weight.detach().clone()
    other = {**weights, "id_classifier.weight": torch.zeros(4, 64), "id_classifier.bias": torch.zeros(4)}
    report = load_t2ireid(model, other, VISION, TEXT, model.vision.embed.grid)
    assert {"identity.linear.weight", "identity.linear.bias"} <= set(report.reinitialised)
    assert torch.equal(model.identity.linear.weight, before)
