"""Reading foreign checkpoints: containers, exact keys, the report, and what is refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from reid_lab.errors import CheckpointError
from reid_lab.interop import Source, load, openai_clip, read_tensors, unwrap
from reid_lab.interop.irra import CLASSIFIER, load_irra, table
from reid_lab.parts.towers import ClipConfig, ClipTrunk, TextConfig, VisionConfig
from reid_lab.parts.trunk import TransformerConfig

INNER = TransformerConfig(64, 2, 1, 256, "quick_gelu")
CONFIG = ClipConfig(VisionConfig(INNER, 8, 4), TextConfig(INNER, 30, 9), 16)


def openai_tensors(trunk):
    names = openai_clip.clip_table(trunk.config)
    found = {}
    for key, value in trunk.state_dict().items():
        found |= names[key].write(value)
    return found


@pytest.fixture
def trunk():
    torch.manual_seed(0)
    return ClipTrunk(CONFIG, (32, 32))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"model": tensors, "optimizer": {"lr": 0.1}, "epoch": 3},
        lambda tensors: {"state_dict": {f"module.{key}": value for key, value in tensors.items()}},
    ],
)
def test_containers(wrap, tmp_path):
    tensors = {"a.weight": torch.ones(2), "b": torch.zeros(3)}
    torch.save(wrap(tensors), tmp_path / "x.pth")
    found = read_tensors(tmp_path / "x.pth")
    assert found.keys() == tensors.keys()
    assert torch.equal(found["a.weight"], torch.ones(2))
    save_file(tensors, tmp_path / "x.safetensors")
    assert read_tensors(tmp_path / "x.safetensors").keys() == tensors.keys()


class Trap:
    """Unpickling this would call a function."""

    def __reduce__(self):
        return (np.save, ("/nowhere/at/all", 1))


def test_unsafe_and_broken_files_are_refused(tmp_path):
    torch.save({"model": {"a": Trap()}}, tmp_path / "trap.pth")
    with pytest.raises(
        CheckpointError, match=r"trap\.pth is not a file of plain tensors \(read with weights_only=True\)"
    ):
        read_tensors(tmp_path / "trap.pth")
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(CheckpointError, match=r"noise\.pth is not a file of plain tensors"):
        read_tensors(tmp_path / "noise.pth")
    with pytest.raises(CheckpointError, match="no weights file at"):
        read_tensors(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="holds a list, not a dict"):
        unwrap([1, 2])
    with pytest.raises(CheckpointError, match="entries that are no tensors: epoch"):
        unwrap({"a": torch.ones(1), "epoch": 3})


def test_openai_layout_round_trip_upcast_and_configuration(trunk):
    tensors = {key: value.half() for key, value in openai_tensors(trunk).items()}
    extra = {"logit_scale": torch.tensor(4.6), "input_resolution": torch.tensor(32), "vocab_size": torch.tensor(30)}
    assert openai_clip.read_config(tensors) == CONFIG
    other = ClipTrunk(CONFIG, (32, 32))
    report = openai_clip.load_clip(other, {**tensors, **extra})
    for key, value in trunk.state_dict().items():
        assert other.state_dict()[key].dtype == torch.float32
        assert torch.equal(other.state_dict()[key], value.half().float()), key
    assert set(report.loaded) == set(trunk.state_dict())
    assert report.unused == ("input_resolution", "logit_scale", "vocab_size")


def test_the_report_says_what_became_of_each_key(trunk):
    model = nn.ModuleDict(
        {"trunk": ClipTrunk(CONFIG, (32, 16)), "identity": nn.ModuleDict({"linear": nn.Linear(16, 5)})}
    )
    tensors = {f"base_model.{key}": value for key, value in openai_tensors(trunk).items()}
    tensors |= {"classifier.weight": torch.zeros(9, 16), "classifier.bias": torch.zeros(9)}
    tensors["base_model.logit_scale"] = torch.ones(())
    before = model["identity"]["linear"].weight.clone()
    report = load_irra(model, tensors, CONFIG, (4, 2), depth=4)
    assert report.resized == ("trunk.vision.embed.positions",)
    assert report.reinitialised == CLASSIFIER
    assert report.unused == ("base_model.logit_scale",)
    assert len(report.loaded) == len(model.state_dict()) - 3
    assert torch.equal(model["identity"]["linear"].weight, before)
    lines = report.table().splitlines()
    assert lines[0].split() == ["loaded", str(len(report.loaded))]
    assert [line.split()[-1] for line in lines[1:4]] == ["1", "2", "1"]
    assert "  re-initialised: identity.linear.bias" in lines


def test_missing_surplus_and_misshapen_keys_are_one_error_and_change_nothing(trunk):
    tensors = openai_tensors(trunk)
    del tensors["visual.proj"]
    tensors["ln_final.weight"] = torch.zeros(3)
    tensors["suffix.visual.proj"] = torch.zeros(64, 16)
    other = ClipTrunk(CONFIG, (32, 32))
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        openai_clip.load_clip(other, tensors, where="file.pt")
    assert sorted(str(fault) for fault in error.value.faults) == [
        "file.pt: ln_final.weight has shape (3,), (64,) is needed",
        "file.pt: missing key visual.proj",
        "file.pt: surplus key suffix.visual.proj",
    ]
    assert all(torch.equal(before[key], value) for key, value in other.state_dict().items())


def test_matching_is_exact_where_suffixes_are_not(trunk):
    """IRRA's own loader matches by suffix: `visual.ln_post` would also fit a top-level `ln_post`."""
    names = table(CONFIG, 2)
    assert names["mlm.ln_out.weight"].keys == ("ln_post.weight",)
    assert names["trunk.vision.norm.weight"].keys == ("base_model.visual.ln_post.weight",)
    used = [key for source in names.values() for key in source.keys]
    assert len(used) == len(set(used))


def test_a_module_with_an_unknown_tensor_is_refused():
    with pytest.raises(CheckpointError, match=r"no rule for our tensor bias"):
        load(nn.Linear(2, 2), {"w": torch.zeros(2, 2)}, {"weight": Source(("w",))})


def test_other_layouts_are_recognised_as_such():
    with pytest.raises(CheckpointError, match=r"not OpenAI's CLIP layout of a ViT: missing visual\.conv1\.weight"):
        openai_clip.read_config({"vision_model.x": torch.zeros(1)})


@pytest.mark.parametrize("source", [Source(("a", "b", "c")), Source(("a",), transpose=True), Source(("a",), lead=2)])
def test_writing_is_the_inverse_of_reading(source):
    value = torch.randn(6, 4)
    assert torch.equal(source.read(source.write(value)), value)
