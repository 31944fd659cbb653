"""ReID5o's checkpoints: both modes of adapters, both shapes of table, what is missing, what is left over."""

import pytest
import torch

from reid_lab.architectures.reid5o import AdapterSpec, FusionSpec, Reid5o, Spec
from reid_lab.contracts import Batch, Facts, Input
from reid_lab.errors import CheckpointError
from reid_lab.interop.reid5o import load_reid5o, read_config, stacked, table
from reid_lab.parts.lora import TARGETS
from reid_lab.parts.weights import Source

GRID = (2, 1)


@pytest.fixture
def reid5o():
    def build(size=(32, 16), identities=5, seed=0, **knobs):
        spec = Spec(pretrained=False, **{"fusion": FusionSpec(depth=1), "lora": AdapterSpec(layers=1), **knobs})
        model = Reid5o(spec, Facts(identities=identities, image_size=size), seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("lora_up"):
                    parameter.normal_(generator=torch.Generator().manual_seed(seed))
        return model

    return build


def written(model):
    """A model's tensors as the authors' code would write them."""
    names = table(model.state_dict())
    found = {}
    for name, value in model.state_dict().items():
        source: Source = names[name]
        key = source.keys[0]
        owner, _, kind = key.rpartition(".")
        if ".mlp." in key and kind.startswith("lora_"):
            for number, matrix in enumerate(value[0]):
                side = ("A", matrix) if kind == "lora_down" else ("B", matrix.T)
                found[f"{owner}.loras_{side[0]}.{number}"] = side[1].clone()
        elif kind.startswith("lora_"):
            for number in range(value.shape[1]):
                place = f"{owner}_weight_withloras.{number}.lora_"
                if kind == "lora_down":
                    found[f"{place}B_param"] = value[0, number].T.clone()  # one for q, k and v
                else:
                    found[f"{place}A_param"] = torch.cat(list(value[:, number]), dim=1)
        else:
            found |= source.write(value)
    return found


def images(model):
    rows = torch.arange(2)
    generator = torch.Generator().manual_seed(3)
    pixels = {r: Input(torch.randn(2, 3, 32, 16, generator=generator), rows) for r in model.vision.roles}
    return Batch({"pids": rows}, pixels)


@pytest.mark.parametrize("targets", [("fc1", "fc2"), TARGETS])
def test_a_checkpoint_gives_the_model_back(reid5o, targets):
    first, second = (reid5o(seed=seed, lora=AdapterSpec(layers=1, targets=targets)) for seed in (0, 1))
    with torch.no_grad():
        for name, parameter in first.named_parameters():
            if name.endswith("qkv.lora_down"):
                parameter.copy_(parameter[:1].expand_as(parameter))  # the authors' q, k and v share one
    tensors = written(first)
    tensors["vision_encoder.transformer.resblocks.3.mlp.c_fc.loras_A.4"] = torch.zeros(4, 144)  # made, never used
    report = load_reid5o(second, tensors, GRID)
    assert not report.resized
    assert not report.reinitialised
    assert all("lora" in key for key in report.unused)
    assert torch.equal(first.embed(images(first)), second.embed(images(first)))


def test_positions_are_resized_and_the_classifier_may_differ(reid5o):
    small, large = reid5o(size=(32, 32)), reid5o(size=(64, 32), identities=9, seed=1)
    fresh = large.identity.linear.weight.clone()
    report = load_reid5o(large, written(small), (4, 2))
    assert set(report.resized) == {f"vision.tokenizers.{role}.embed.positions" for role in large.vision.roles}
    assert report.reinitialised == ("identity.linear.weight", "identity.linear.bias")
    assert torch.equal(large.identity.linear.weight, fresh)


def test_slots_that_are_null_fit_a_checkpoint_without_them(reid5o):
    bare = {"fusion": None, "lora": None, "id": None}
    first, second = reid5o(**bare), reid5o(seed=1, **bare)
    load_reid5o(second, written(first), GRID)
    assert torch.equal(first.embed(images(first)), second.embed(images(first)))


def test_what_is_missing_and_left_over_is_told_at_once(reid5o):
    tensors = written(reid5o())
    del tensors["vision_encoder.transformer.resblocks.3.mlp.c_fc.loras_A.2"], tensors["sk_tokenizer.class_embedding"]
    with pytest.raises(CheckpointError) as error:
        load_reid5o(reid5o(), tensors | {"nonsense": torch.ones(1)}, GRID, where="x.pth")
    told = str(error.value)
    assert "x.pth: missing key vision_encoder.transformer.resblocks.3.mlp.c_fc.lora_down" in told
    assert "x.pth: missing key sk_tokenizer.class_embedding" in told
    assert "x.pth: surplus key nonsense" in told
    with pytest.raises(CheckpointError, match=r"surplus key classifier\.weight"):
        load_reid5o(reid5o(id=None), written(reid5o()), GRID)


def test_shapes_tell_the_configuration(reid5o):
    model = reid5o(size=(96, 96))
    config = read_config(written(model), heads=(3, 4))
    assert (config.vision.transformer.width, config.vision.transformer.layers, config.vision.patch) == (144, 4, 16)
    assert (config.text.vocabulary, config.text.context, config.projection) == (1119, 64, 128)
    with pytest.raises(CheckpointError, match=r"missing visual\.conv1\.weight"):
        read_config({"classifier.weight": torch.ones(2, 2)})


def test_stacking_leaves_the_rest_alone():
    tensors = {"classifier.weight": torch.ones(2, 3), "a.c_fc.loras_A.0": torch.ones(4, 8)}
    assert stacked(tensors).keys() == tensors.keys()
