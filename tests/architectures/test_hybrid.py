"""The hybrid: each trunk alone is the other architecture; both are fused; pixels, rates and names of weights."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from reid_lab.architectures import hybrid
from reid_lab.architectures.hybrid import AttentionSpec, ClipSpec, ConcatSpec, GateSpec, Hybrid, VitSpec
from reid_lab.architectures.vit_multiscale import Spec as VitMultiscaleSpec
from reid_lab.architectures.vit_multiscale import VitMultiscale
from reid_lab.catalogue import load_spec
from reid_lab.errors import SpecError
from reid_lab.parts.branches import STATISTICS, Renormalise
from reid_lab.parts.windows import WindowSpec
from reid_lab.schedules import Progress
from reid_lab.spec.schedule import build as schedule
from tests.architectures import probe
from tests.architectures.alike import close, compare

PAPER = Path(__file__).parents[2] / "experiments" / "paper" / "hybrid_msmt17.yaml"
WINDOWS = WindowSpec(scales=(2, 4))


@pytest.fixture
def build(folders):
    """The hybrid over tiny random trunks."""

    def of(seed=0, clip=(), vit=(), **knobs):
        slots = {
            "clip": None if clip is None else ClipSpec(backbone=folders["clip"], **dict(clip)),
            "vit": None if vit is None else VitSpec(backbone=folders["vit"], **{"windows": WINDOWS, **dict(vit)}),
        }
        return Hybrid(hybrid.Spec(**slots, **knobs), probe.FACTS, seed)

    return of


def test_the_vit_alone_is_vit_multiscale(build, folders):
    """The same initial weights under the same names, and the same numbers after all of them moved."""
    ours = build(clip=None, vit={"stride": 6})
    other = VitMultiscale(VitMultiscaleSpec(backbone=folders["vit"], stride=6, windows=WINDOWS), probe.FACTS, 0)
    assert ours.state_dict().keys() == other.state_dict().keys()
    for key, value in other.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key
    compare(probe.disturb(ours), probe.disturb(other), {"feature": "feature", "logits": "logits"})


def test_a_slot_leaves_all_other_initial_weights_alone(build):
    both = build().state_dict()
    for alone in (build(clip=None), build(vit=None)):
        shared = {k: v for k, v in alone.state_dict().items() if k in both and v.shape == both[k].shape}
        assert len(shared) > 20
        assert all(torch.equal(both[key], value) for key, value in shared.items())


def test_both_null_is_an_error():
    with pytest.raises(ValidationError, match="both trunks are null"):
        hybrid.Spec(clip=None, vit=None)


@pytest.mark.parametrize("kind", [ConcatSpec, GateSpec, AttentionSpec])
def test_every_fusion_begins_as_the_two_features_side_by_side(build, kind):
    model = build(fusion=kind()).eval()
    given = probe.batch(model)
    pixels, ids = given.inputs["rgb"].values, given.groups["camids"]
    with torch.no_grad():
        tokens = [branch(pixels, ids, ids) for branch in (model.clip, model.vit)]
        apart = [branch.feature(t) for branch, t in zip((model.clip, model.vit), tokens, strict=True)]
        close(model.features(pixels, ids, ids), torch.cat(apart, dim=1))


def test_a_gate_weighs_one_trunk_against_the_other(build):
    model = build(fusion=GateSpec()).eval()
    given = probe.batch(model)
    pixels, ids = given.inputs["rgb"].values, given.groups["camids"]
    with torch.no_grad():
        before = model.features(pixels, ids, ids)
        model.fusion.gate.bias.fill_(50.0)
        after = model.features(pixels, ids, ids)
    width = model.clip.width
    close(after[:, :width], 2 * before[:, :width])
    assert not after[:, width:].any()


def test_attention_is_that_of_a_plain_loop(build):
    model = build(fusion=AttentionSpec(heads=2)).eval()
    fuse = model.fusion
    generator = torch.Generator().manual_seed(1)
    seen = [
        (torch.randn(3, branch.width, generator=generator), torch.randn(3, 5, branch.depth, generator=generator))
        for branch in (model.clip, model.vit)
    ]
    with torch.no_grad():
        for gate in fuse.gates:
            gate.fill_(0.5)
        found = fuse(seen)
        wanted = []
        for (feature, _), (_, tokens), look in zip(seen, seen[::-1], fuse.looks, strict=True):
            rows = []
            for x, memory in zip(feature, tokens, strict=True):
                q, k, v = look.q(x), look.k(memory), look.v(memory)
                half = len(q) // 2
                heads = []
                for part in (slice(0, half), slice(half, None)):
                    weights = (k[:, part] @ q[part] / half**0.5).softmax(dim=0)
                    heads.append(weights @ v[:, part])
                rows.append(x + 0.5 * look.out(torch.cat(heads)))
            wanted.append(torch.stack(rows))
    torch.testing.assert_close(found, torch.cat(wanted, dim=1), rtol=1e-5, atol=1e-6)


def test_heads_that_do_not_divide_are_refused(build):
    with pytest.raises(SpecError, match="heads 3 does not divide the 16 channels"):
        build(fusion=AttentionSpec(heads=3))


def test_each_trunk_sees_its_own_normalisation(build):
    """Pixels are normalised once, as the first trunk wants them; the ViT gets what its own statistics would give."""
    model = build(vit={"pixels": "vit"}).eval()
    assert (model.inputs["rgb"].mean, model.inputs["rgb"].std) == STATISTICS["clip"]
    assert build(clip=None, vit={"pixels": "vit"}).inputs["rgb"].mean == STATISTICS["vit"][0]
    raw = torch.rand(2, 3, 32, 16, generator=torch.Generator().manual_seed(2))
    as_wanted = {
        name: (raw - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
        for name, (mean, std) in STATISTICS.items()
    }
    torch.testing.assert_close(model.vit.adjust(as_wanted["clip"]), as_wanted["vit"])
    torch.testing.assert_close(model.clip.adjust(as_wanted["clip"]), as_wanted["clip"], rtol=0, atol=0)
    there = Renormalise(STATISTICS["imagenet"], STATISTICS["clip"])
    torch.testing.assert_close(there(as_wanted["imagenet"]), as_wanted["clip"])


def test_rates_of_the_groups(build):
    model = build(clip={"lr_factor": 0.5}, vit={"lr_factor": 2.0}, new_lr_factor=5.0, fusion=GateSpec())
    rates = {}
    for name, _ in model.named_parameters():
        rule = model.group_rule(name)
        rates[rule.name] = rule.lr_factor
    assert rates == {"clip": 0.5, "clip.bias": 1.0, "vit": 2.0, "vit.bias": 4.0, "new": 5.0, "new.bias": 10.0}
    assert model.group_rule("clip.vision.blocks.0.norm1.weight").name == "clip"
    assert model.group_rule("clip.projection.weight").name == "clip"
    assert model.group_rule("vit.windows.windows.fuse_in.weight").name == "new"
    assert model.group_rule("vit.sie.embedding").name == "new"


@pytest.mark.parametrize("name", ["ViT-B-16", "ViT-B/16", "vit_base_patch16_224", "ViT-B-16-CLIP", "vit-b16"])
@pytest.mark.parametrize("kind", [ClipSpec, VitSpec, VitMultiscaleSpec])
def test_a_name_of_two_trunks_is_refused_with_both(kind, name):
    with pytest.raises(ValidationError) as caught:
        kind(backbone=name)
    assert "openai/clip-vit-base-patch16" in str(caught.value)
    assert "google/vit-base-patch16-224" in str(caught.value)


@pytest.mark.parametrize("name", ["openai/clip-vit-base-patch16", "google/vit-base-patch16-224", "tiny-vit"])
def test_names_in_full_are_taken(name):
    assert VitSpec(backbone=name).backbone == name


def test_the_paper_settings_are_those_of_clip_reid():
    """Its second stage: Adam at 5e-6, decay 1e-4; 10 epochs from .1 of it, a tenth from 30 and 50; 60 of 16 x 4."""
    spec = load_spec(PAPER).spec
    optimizer, batches, model = spec.train.optimizer, spec.train.batch, spec.model
    assert (optimizer.kind, optimizer.lr, optimizer.weight_decay) == ("adam", 5e-6, 1e-4)
    assert (batches.sampler, batches.size, batches.instances) == ("identity", 64, 4)
    assert (spec.train.length.epochs, spec.runtime.precision) == (60, "fp16")
    assert (model.id, model.triplet, model.bias_lr_factor) == (0.25, 1.0, 2.0)
    factor = schedule(spec.train.schedule)
    for epoch in range(60):
        wanted = 0.1 + 0.9 * epoch / 10 if epoch < 10 else 1.0 if epoch < 30 else 0.1 if epoch < 50 else 0.01
        assert factor(Progress(epoch * 7 + 3, 7, 420)) == pytest.approx(wanted, abs=1e-12), epoch
