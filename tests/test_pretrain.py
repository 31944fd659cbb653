"""`reid-lab pretrain` on a small world, and the trunks that are shipped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertModel, CLIPModel, ViTModel

import reid_lab
from reid_lab import pretrain
from reid_lab.architectures.pretrain import BertSpec, ClipSpec, TowerSpec, VitSpec
from reid_lab.catalogue import cache_folder
from reid_lab.data import open_dataset
from reid_lab.data.synthetic import SyntheticSpec, vocabulary
from reid_lab.parts import backbones
from reid_lab.tracking.runs import RunFolder
from tests.lab import Lab, records, status

SIZE = (96, 48)  # of the images
TEXTS = ["a woman with a red shirt and black trousers", "a man in a blue coat"]
WEIGHTS = Path(reid_lab.__file__).parent / "weights"
SMALL = TowerSpec(width=32, layers=1, heads=2)
WORLD = {"preset": "pretrain", "train_identities": 20, "val_identities": 6, "test_identities": 1}
STEPS = 3


def small_world(**fields) -> SyntheticSpec:
    """The pretraining world with a few people; any preset that is asked for."""
    return SyntheticSpec(**{**WORLD, "train_images": 2, "eval_images": 2, **fields})


def small_trunks():
    words = vocabulary()
    sizes = {
        "tiny-clip": ClipSpec(words=words, vision=SMALL, text=SMALL, projection=16),
        "tiny-vit": VitSpec(vision=SMALL),
        "tiny-bert": BertSpec(words=words, text=SMALL),
    }
    return tuple(replace(trunk, model=sizes[trunk.folder], steps=STEPS) for trunk in TRUNKS)


TRUNKS = pretrain.trunks()


def small_spec(make):
    """The run of a trunk as it is shipped, on the small world and untracked."""

    def spec_of(trunk, device):
        spec = make(replace(trunk, steps=200), device)  # a schedule needs the steps of its warm-up
        length = spec.train.length.model_copy(update={"steps": STEPS})
        batch = spec.train.batch.model_copy(update={"size": 16})
        return spec.model_copy(
            update={
                "data": small_world(roles=("rgb", "caption")),
                "train": spec.train.model_copy(update={"length": length, "batch": batch}),
                "tracking": spec.tracking.model_copy(update={"uri": "off", "images": 0}),
                "runtime": spec.runtime.model_copy(update={"threads": 1}),
            }
        )

    return spec_of


@pytest.fixture(scope="module")
def made(tmp_path_factory, world_cache):
    """The folder that the command wrote, and its runs."""
    folder = tmp_path_factory.mktemp("pretrain")
    lab = Lab(folder, folder, world_cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REID_LAB_CACHE", str(world_cache))
        patch.setattr(pretrain, "trunks", small_trunks)
        patch.setattr(pretrain, "spec_of", small_spec(pretrain.spec_of))
        patch.setattr(pretrain, "SyntheticSpec", small_world)
        command = ("pretrain", str(folder / "weights"), "--runs", str(lab.runs), "--device", "cpu")
        done = lab.call(*command)
        assert done.code == 0, done.err
        before = {path: path.read_bytes() for path in (folder / "weights").rglob("*.safetensors")}
        again = lab.call(*command)
        assert again.code == 0, again.err
        assert sum("is finished already" in line for line in again.out) == 3
        assert {path: path.read_bytes() for path in before} == before
    return folder / "weights", lab


def models(folder: Path):
    """Each trunk as plain transformers loads it, and as we do."""
    loading = {"output_loading_info": True}
    clip, of_clip = CLIPModel.from_pretrained(folder / "tiny-clip", **loading)
    vit, of_vit = ViTModel.from_pretrained(folder / "tiny-vit", **loading)
    bert, of_bert = BertModel.from_pretrained(folder / "tiny-bert", **loading)
    for info in (of_clip, of_vit, of_bert):
        assert not info["missing_keys"]
        assert not info["mismatched_keys"]
    return clip.eval(), vit.eval(), bert.eval()


def assert_equal_features(folder: Path) -> None:
    """Our trunks and those of transformers make the same features of the same inputs."""
    clip, vit, bert = models(folder)
    side = clip.config.vision_config.image_size
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    ours = backbones.clip(str(folder / "tiny-clip"), image_size=(side, side))
    ids = ours.tokenizer(TEXTS, 64)
    theirs = AutoTokenizer.from_pretrained(folder / "tiny-clip")(TEXTS, padding="max_length", max_length=64)
    mask = torch.tensor(theirs["attention_mask"])  # we pad with 0, as IRRA does, and they with the end token
    assert torch.equal(ids * mask, torch.tensor(theirs["input_ids"]) * mask)
    with torch.no_grad():
        close = {"rtol": 1e-5, "atol": 1e-5}
        wanted = clip.visual_projection(clip.vision_model(pixel_values=images).pooler_output)
        torch.testing.assert_close(ours.eval().image_features(images), wanted, **close)
        wanted = clip.text_projection(clip.text_model(input_ids=ids, attention_mask=mask).pooler_output)
        torch.testing.assert_close(ours.text_features(ids), wanted, **close)

        wanted = vit(pixel_values=images).last_hidden_state[:, 0]
        found = backbones.vit(str(folder / "tiny-vit"), image_size=(side, side)).eval().image_features(images)
        torch.testing.assert_close(found, wanted, **close)

        theirs = AutoTokenizer.from_pretrained(folder / "tiny-bert")(TEXTS, padding=True, return_tensors="pt")
        wanted = bert(**theirs).last_hidden_state[:, 0]
        found = backbones.bert(str(folder / "tiny-bert")).eval().text_features(theirs["input_ids"])
        torch.testing.assert_close(found, wanted, **close)


def test_three_folders_that_transformers_loads(made):
    folder, _ = made
    assert_equal_features(folder)


def test_each_trunk_is_a_run_like_any_other(made):
    _, lab = made
    runs = {run.summary()["name"]: run for run in lab.folders()}
    assert runs.keys() == {"pretrain tiny-clip", "pretrain tiny-vit", "pretrain tiny-bert"}
    for run in runs.values():
        assert isinstance(run, RunFolder)
        assert run.summary()["stages"] == ["fit", "test"]
        assert status(run) == ("finished", "")
    assert {r.name for r in records(runs["pretrain tiny-clip"], "loss")} == {
        "loss/contrast",
        "loss/attributes",
        "loss/total",
    }


def test_the_card(made):
    folder, _ = made
    card = (folder / "README.md").read_text()
    for words in ("## tiny-clip", "## tiny-vit", "## tiny-bert", "reid-lab pretrain", "zero-shot", "random weights"):
        assert words in card
    assert card.count("chance") == 2
    assert f"{STEPS} steps of" in card


def test_the_pretraining_world_shares_nobody_with_the_benchmark(world_cache, monkeypatch):
    """Other namespaces draw other people: no identity of one is an identity of the other."""
    monkeypatch.setenv("REID_LAB_CACHE", str(world_cache))
    captions = {}
    for preset in ("pretrain", "smoke"):
        spec = small_world(preset=preset, roles=("rgb", "id_caption"), train_identities=30)
        dataset = open_dataset(spec, cache_folder())
        items = dataset.items
        captions[preset] = dataset.images((items.role == "rgb").nonzero()[0], None)
    assert len(captions["pretrain"]) == len(captions["smoke"])
    assert not (captions["pretrain"] == captions["smoke"]).all(axis=(1, 2, 3)).any()


def test_the_shipped_folders():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12_000_000
    assert_equal_features(WEIGHTS)
    for name, kind in (("tiny-clip", "clip"), ("tiny-vit", "vit"), ("tiny-bert", "bert")):
        assert json.loads((WEIGHTS / name / "config.json").read_text())["model_type"] == kind


def test_the_shipped_card_names_what_was_shipped():
    card = (WEIGHTS / "README.md").read_text()
    for trunk in TRUNKS:
        assert f"## {trunk.folder}" in card
        assert f"{trunk.steps} steps of" in card
