"""The multi-scale ViT: overlapping patches, windows over runs and over the grid, side information, what is refused."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from reid_lab.architectures.vit_multiscale import Spec, VitMultiscale
from reid_lab.catalogue import load_spec
from reid_lab.contracts import Batch, Input
from reid_lab.errors import DataError, SpecError
from reid_lab.parts.sie import SideSpec
from reid_lab.parts.windows import WindowSpec
from reid_lab.schedules import Progress
from reid_lab.spec.schedule import build as schedule
from tests.architectures import probe

PAPER = Path(__file__).parents[2] / "experiments" / "paper" / "vit_multiscale_msmt17.yaml"
PUBLISHED = {"nonlinearity": "as_published", "injection": "add", "pooling": "mean", "overlap": 0.0}


@pytest.fixture
def build(folders):
    """The model over a tiny random ViT: images of 32x16 pixels in patches of 8."""

    def of(seed=0, **knobs):
        return probe.disturb(VitMultiscale(Spec(backbone=folders["vit"], **knobs), probe.FACTS, seed)).eval()

    return of


def tokens_of(model):
    given = probe.batch(model)
    pixels, ids = given.inputs["rgb"].values, given.groups["camids"]
    with torch.no_grad():
        return model.vit(pixels, ids, ids)


def published_feature(model, tokens, rows, columns, *, square):
    """Class token + windows, window by window: kernel = stride = scale, clipped; the mean; two maps with a ReLU."""
    windows = model.vit.windows.windows
    found = []
    for name, scale in windows.scales.items():
        size, weight, bias = int(name), scale.conv.weight, scale.conv.bias
        grid = tokens[:, 1:].view(len(tokens), rows, columns, -1)
        tall, wide = (min(size, rows), min(size, columns)) if square else (1, size)
        grid = grid if square else grid.reshape(len(tokens), 1, rows * columns, -1)
        seen = []
        for top in range(0, grid.shape[1] - tall + 1, tall):
            for left in range(0, grid.shape[2] - wide + 1, wide):
                total = bias.expand(len(tokens), -1)
                for y in range(tall):
                    for x in range(wide):
                        kernel = weight[:, :, y, x] if square else weight[:, :, x]
                        total = total + grid[:, top + y, left + x] @ kernel.T
                seen.append(total)
        found.append(torch.stack(seen).mean(dim=0))
    hidden = torch.relu(windows.fuse_in(torch.cat(found, dim=1)))
    return tokens[:, 0] + windows.fuse_out(hidden)


@pytest.mark.parametrize("stride", [8, 6, 4])
@pytest.mark.parametrize("kind", ["conv1d", "conv2d"])
def test_published_windows_are_those_of_a_plain_loop(build, kind, stride):
    """2-D: a 4x4 window is clipped to the width of a narrow grid."""
    grid = (32 - 8) // stride + 1, (16 - 8) // stride + 1
    scales = (2, 3, 4) if kind == "conv2d" else (2, 5, 8)
    model = build(stride=stride, windows=WindowSpec(kind=kind, scales=scales, **PUBLISHED))
    assert model.vit.trunk.embed.grid == grid
    tokens = tokens_of(model)
    assert tokens.shape[1] == 1 + grid[0] * grid[1]
    with torch.no_grad():
        wanted = published_feature(model, tokens, *grid, square=kind == "conv2d")
        torch.testing.assert_close(model.vit.feature(tokens), wanted, rtol=1e-5, atol=1e-5)
    if kind == "conv2d" and grid[1] < 4:
        assert model.vit.windows.windows.scales["4"].conv.kernel_size == (4, grid[1])


def test_a_run_longer_than_the_tokens_is_their_mean_with_one_warning(build):
    with pytest.warns(UserWarning, match="9, 16 tokens over 8 tokens") as caught:
        model = build(windows=WindowSpec(scales=(4, 9, 16), **PUBLISHED))
    assert len(caught) == 1
    tokens = tokens_of(model)
    for name in ("9", "16"):
        torch.testing.assert_close(model.vit.windows.windows.scales[name](tokens[:, 1:]), tokens[:, 1:].mean(dim=1))


def test_a_square_larger_than_the_grid_is_refused(build):
    with pytest.raises(SpecError, match="5x5 window is larger than the grid of 4x2 tokens"):
        build(windows=WindowSpec(kind="conv2d", scales=(2, 5)))


@pytest.mark.parametrize(("scales", "told"), [((0, 4), "a scale must be 1 or above"), ((), "at least one scale")])
def test_scales_that_are_none_are_refused(scales, told):
    with pytest.raises(ValidationError, match=told):
        Spec(windows={"scales": scales})


def test_the_gate_leaves_the_trunk_as_it_is_at_the_start(folders):
    with_windows, without = (
        VitMultiscale(Spec(backbone=folders["vit"], windows=windows), probe.FACTS, 0).eval()
        for windows in (WindowSpec(), None)
    )
    given = probe.batch(without)
    with torch.no_grad():
        assert torch.equal(with_windows.embed(given), without.embed(given))


def test_a_camera_that_was_not_trained_adds_nothing(build):
    model = build(sie=SideSpec(site="all_tokens"))
    bare = build(sie=None)
    given = probe.batch(model)
    pixels, unknown = given.inputs["rgb"].values, torch.full_like(given.groups["camids"], 7)
    with torch.no_grad():
        assert torch.equal(model.vit(pixels, unknown, unknown), bare.vit(pixels, unknown, unknown))
        assert not torch.equal(model.vit(pixels, 0 * unknown, unknown), bare.vit(pixels, unknown, unknown))


def test_cameras_that_the_data_does_not_tell_are_refused(folders):
    with pytest.raises(SpecError, match="the data tells no cameras"):
        VitMultiscale(Spec(backbone=folders["vit"]), type(probe.FACTS)(identities=5, image_size=(32, 16)), 0)


def test_losses_read_the_feature_in_front_of_the_neck_and_the_logits_behind_it(build):
    model = build(smoothing=0.1, margin=0.3).train()
    given = probe.batch(model)
    with torch.no_grad():
        encoded = model.encode(given)
        values = model.values(encoded, probe.BEGIN)
        feature = encoded.items["feature"].values
        found = {name: total / count for name, (total, count) in probe.losses(model, given).items()}
    assert torch.equal(values["feature"], feature)
    normal = (feature - feature.mean(dim=0)) / (feature.var(dim=0, unbiased=False) + 1e-5).sqrt()
    logits = (normal * model.neck.norm.weight + model.neck.norm.bias) @ model.identity.linear.weight.T
    torch.testing.assert_close(values["logits"], logits, rtol=1e-4, atol=1e-4)
    assert model.identity.linear.bias is None
    wanted = torch.nn.functional.cross_entropy(values["logits"], given.groups["pids"], label_smoothing=0.1)
    torch.testing.assert_close(found["id"], wanted, rtol=1e-4, atol=1e-5)


def test_retrieval_behind_the_neck(build):
    before, after = build(), build(retrieval="neck")
    given = probe.batch(before)
    with torch.no_grad():
        feature = before.encode(given).items["feature"].values
        torch.testing.assert_close(before.embed(given), torch.nn.functional.normalize(feature, dim=1))
        behind = torch.nn.functional.normalize(after.neck(feature), dim=1)
        torch.testing.assert_close(after.embed(given), behind)
    assert not torch.allclose(behind, before.embed(given), atol=1e-3)


def test_groups_without_an_image_are_counted(build):
    model = build()
    given = probe.batch(model)
    rgb = given.inputs["rgb"]
    some = Batch(given.groups, {"rgb": Input(rgb.values[:3], rgb.rows[:3])})
    for batch, told in ((some, "5 of 8 groups"), (Batch(given.groups, {}), "8 of 8 groups")):
        with pytest.raises(DataError, match=told):
            model.embed(batch)


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"id": None, "smoothing": 0.1}, "id is off"),
        ({"triplet": None, "margin": 0.3}, "triplet is off"),
        ({"neck": False, "retrieval": "neck"}, "there is no neck"),
        ({"id": None, "retrieval": "neck"}, "there is no neck"),
    ],
)
def test_knobs_of_what_is_off_are_refused(knobs, told):
    with pytest.raises(ValidationError, match=told):
        Spec(**knobs)


def test_optimiser_groups_are_those_of_transreid(build):
    """dec5504: one rate, a bias twice as fast, the same decay; what is new may be faster here."""
    model = build(new_lr_factor=3.0)
    for name, _ in model.named_parameters():
        rule = model.group_rule(name)
        new = not name.startswith("vit.trunk.")
        assert rule.lr_factor == (3.0 if new else 1.0) * (2.0 if name.endswith("bias") else 1.0), name
        assert rule.weight_decay_factor == 1.0


def test_the_paper_schedule_against_the_authors():
    """dec5504: e < 5 linear from .01; then the cosine over 120 to .002 that began in epoch 0."""
    factor = schedule(load_spec(PAPER).spec.train.schedule)
    for epoch in range(1, 121):
        ours = factor(Progress((epoch - 1) * 10 + 3, 10, 1200))
        theirs = 0.01 + 0.198 * epoch if epoch < 5 else 0.002 + 0.499 * (1 + math.cos(math.pi * epoch / 120))
        assert ours == pytest.approx(theirs, abs=1e-12), epoch
    assert ours == pytest.approx(0.002)


def test_the_paper_settings_are_those_of_transreid():
    """SGD at .008, momentum .9, decay 1e-4; the sum of both losses; 120 epochs of 16 x 4; fp16."""
    spec = load_spec(PAPER).spec
    optimizer, batches, model = spec.train.optimizer, spec.train.batch, spec.model
    assert (optimizer.kind, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ("sgd", 8e-3, 0.9, 1e-4)
    assert (batches.sampler, batches.size, batches.instances) == ("identity", 64, 4)
    assert (spec.train.length.epochs, spec.runtime.precision) == (120, "fp16")
    assert (model.id, model.triplet, model.margin, model.new_lr_factor) == (1.0, 1.0, None, 1.0)
