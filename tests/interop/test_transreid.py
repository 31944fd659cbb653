"""Checkpoints in TransReID's layout: exact keys, the jigsaw branch, resized positions, what is reported and refused."""

import pytest
import torch

from reid_lab.architectures.vit_multiscale import Spec, VitMultiscale
from reid_lab.contracts import Facts
from reid_lab.errors import CheckpointError
from reid_lab.interop import unwrap
from reid_lab.interop.transreid import load_transreid, read_config, renamed, table, timm_table
from reid_lab.parts import backbones
from reid_lab.parts.sie import SideSpec
from reid_lab.parts.towers import VisionConfig, VitTrunk
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.weights import load

CONFIG = VisionConfig(TransformerConfig(64, 3, 1, 128, eps=1e-6), 8, 4)
SIZE = (32, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("transreid") / "vit"
    torch.manual_seed(0)
    backbones.write_vit_folder(path, VitTrunk(CONFIG, SIZE))
    return str(path)


@pytest.fixture
def build(folder):
    def of(cameras=4, identities=6, size=SIZE, seed=0):
        spec = Spec(backbone=folder, pretrained=False, windows=None, sie=SideSpec(site="all_tokens"))
        model = VitMultiscale(spec, Facts(identities, cameras, ("rgb",), size), seed)
        with torch.no_grad():
            for i, value in enumerate(model.state_dict().values()):
                if value.is_floating_point():
                    generator = torch.Generator().manual_seed(100 * seed + i)
                    value += 0.05 * torch.rand(value.shape, generator=generator)
        return model.eval()

    return of


def file_of(model):
    """The tensors as the authors' code saves them: SIE with an axis of one, and the head of ImageNet."""
    names = table(model.state_dict(), 3)
    assert names.keys() == model.state_dict().keys()
    found = {}
    for key, value in model.state_dict().items():
        found |= names[key].write(value) if value.ndim else {names[key].keys[0]: value}
    found["base.sie_embed"] = found["base.sie_embed"][:, None]
    return found | {"base.fc.weight": torch.zeros(1000, 64), "base.fc.bias": torch.zeros(1000)}


def features(model, size=SIZE):
    pixels = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(5))
    ids = torch.tensor([0, 2, 3])
    with torch.no_grad():
        return model.features(pixels, ids, ids)


def test_all_keys_find_their_place(build):
    source, model = build(seed=0), build(seed=1)
    tensors = file_of(source)
    assert tensors["base.cls_token"].shape == (1, 1, 64)
    assert tensors["base.pos_embed"].shape == (1, 9, 64)
    report = load_transreid(model, unwrap({f"module.{key}": value for key, value in tensors.items()}), (4, 2))
    assert set(report.loaded) == model.state_dict().keys()
    assert report.unused == ("base.fc.bias", "base.fc.weight")
    assert report.table().splitlines()[0].split() == ["loaded", str(len(report.loaded))]
    assert torch.equal(features(model), features(source))
    assert read_config(tensors) == VisionConfig(CONFIG.transformer, 8, 3)


def test_other_identities_and_cameras_keep_fresh_weights(build):
    model = build(cameras=2, identities=9, seed=1)
    before = model.vit.sie.embedding.clone()
    report = load_transreid(model, file_of(build()), (4, 2))
    assert report.reinitialised == ("vit.sie.embedding", "identity.linear.weight")
    assert torch.equal(model.vit.sie.embedding, before)


def test_of_a_jigsaw_checkpoint_the_global_branch_is_read(build):
    """It is `b1`, a trained copy of the last block and of the norm; the originals and the local ones are not its."""
    source, model = build(seed=0), build(seed=1)
    tensors = file_of(source)
    for key in list(tensors):
        for place, copy in (("base.blocks.2.", "b1.0."), ("base.norm.", "b1.1.")):
            if key.startswith(place):
                tensors[copy + key.removeprefix(place)] = tensors[key].clone()
                tensors[key] = torch.full_like(tensors[key], 7.0)
    report = load_transreid(model, tensors, (4, 2))
    assert not report.reinitialised
    assert torch.equal(features(model), features(source))

    local = {"b2.1.weight": torch.ones(64), "classifier_1.weight": torch.ones(6, 64)}
    with pytest.raises(CheckpointError) as caught:
        load_transreid(model, tensors | local, (4, 2))
    assert [str(fault).split(": ")[-1] for fault in caught.value.faults] == [
        "surplus key b2.1.weight",
        "surplus key classifier_1.weight",
    ]


def test_positions_are_resized(build):
    """A square table of another size, bilinearly, the class token's row kept."""
    tensors = file_of(build())
    tensors["base.pos_embed"] = torch.arange(10 * 64.0).view(1, 10, 64)
    model = build(seed=1)
    report = load_transreid(model, tensors, (4, 2))
    assert report.resized == ("vit.trunk.embed.positions",)
    grid = tensors["base.pos_embed"][:, 1:].view(1, 3, 3, 64).permute(0, 3, 1, 2)
    wanted = torch.nn.functional.interpolate(grid, size=(4, 2), mode="bilinear", align_corners=False)
    positions = model.vit.trunk.embed.positions.detach()
    torch.testing.assert_close(positions[1:], wanted[0].flatten(1).T)
    assert torch.equal(positions[0], tensors["base.pos_embed"][0, 0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("base.blocks.1.attn.qkv.bias"), "missing key base.blocks.1.attn.qkv.bias"),
        (lambda t: t.update({"base.blocks.1.attn.bias": torch.ones(1)}), "surplus key base.blocks.1.attn.bias"),
        (
            lambda t: t.update({"base.norm.weight": torch.ones(5)}),
            "base.norm.weight has shape (5,), (64,) is needed",
        ),
    ],
)
def test_a_key_that_does_not_fit_is_one_line(build, change, told):
    tensors = file_of(build())
    change(tensors)
    with pytest.raises(CheckpointError) as caught:
        load_transreid(build(), tensors, (4, 2), where="x.pth")
    assert [str(fault) for fault in caught.value.faults] == [f"x.pth: {told}"]


def test_another_layout_is_refused():
    with pytest.raises(CheckpointError, match=r"missing base\.patch_embed\.proj\.weight, base\.pos_embed"):
        read_config({"base.blocks.0.mlp.fc1.weight": torch.ones(4, 2)})


def test_timm_weights_fill_a_trunk():
    """timm's own files have no prefix; their head is left."""
    torch.manual_seed(3)
    source, trunk = VitTrunk(CONFIG, SIZE), VitTrunk(CONFIG, SIZE)
    names = timm_table(3)
    tensors = {k: v for key, value in source.state_dict().items() for k, v in names[key].write(value).items()}
    load(trunk, tensors | {"head.weight": torch.ones(2)}, names, ignore=(r"head\..*",))
    assert all(torch.equal(value, trunk.state_dict()[key]) for key, value in source.state_dict().items())
    assert renamed(tensors).keys() == tensors.keys()
