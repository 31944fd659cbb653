"""clip_window: single images and spectral triples, heads, frozen trunks, and what its spec refuses."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from reid_lab.architectures.clip_window import ALL, FUSED, SPECTRA, ClipWindow, Spec
from reid_lab.catalogue import load_spec
from reid_lab.contracts import Facts
from reid_lab.errors import DataError, SpecError
from reid_lab.parts.aggregator import MambaSpec
from reid_lab.parts.sie import SideSpec
from reid_lab.parts.synergy import AdapterSpec, PromptSpec
from reid_lab.parts.windows import WindowSpec
from reid_lab.schedules import Progress
from reid_lab.spec.schedule import build as schedule
from tests.architectures.probe import BEGIN, FACTS, GROUPS, batch, disturb, gradients, losses, ragged

PAPER = Path(__file__).parents[2] / "experiments" / "paper" / "clip_window_rgbnt201.yaml"


@pytest.fixture
def build(clip_folder):
    def of(facts=FACTS, **knobs):
        return ClipWindow(Spec(backbone=clip_folder, **({"roles": SPECTRA} | knobs)), facts, 0)

    return of


def test_windows_with_a_closed_gate_leave_the_zero_shot_feature(build):
    with_windows, without = build(windows=WindowSpec(scales=(4,))), build(windows=None)
    given = batch(without)
    assert torch.equal(with_windows.eval().embed(given), without.eval().embed(given))


def test_adapters_and_prompts_begin_beside_the_trunk(build):
    """A gate of 0 changes nothing; prompts are tokens, and do. One image does not see another's modality."""
    plain, adapted = build(windows=None).eval(), build(windows=None, adapter=AdapterSpec()).eval()
    prompted = build(windows=None, prompt=PromptSpec()).eval()
    given = batch(plain)
    alone = batch(plain, ["nir"])
    with torch.no_grad():
        torch.testing.assert_close(adapted.embed(given), plain.embed(given))
        assert (prompted.embed(given) - plain.embed(given)).abs().max() > 1e-4
        together, by_itself = (prompted.encode(b).items["nir"].values for b in (given, alone))
        torch.testing.assert_close(together, by_itself, rtol=1e-4, atol=1e-5)


def test_a_frozen_trunk_learns_nothing_and_the_rest_does(build):
    model = build(freeze=True, adapter=AdapterSpec(), prompt=PromptSpec())
    names = set(gradients(model))
    assert not any(name.startswith(("vision.", "projection.")) for name in names)
    assert {name.split(".")[0] for name in names} == {"synergy", "windows", "heads", "sie"}


@pytest.mark.parametrize(
    ("direct", "heads"), [("concatenated", [ALL]), ("each", list(SPECTRA)), ("shared", ["shared"])]
)
def test_heads(build, direct, heads):
    """Losses are summed over heads, each over its own images; the concatenated one reads whole triples."""
    model = build(direct=direct).train()
    assert list(model.heads) == heads
    some = batch(model, present={"rgb": range(GROUPS), "nir": [0, 1, 2, 5], "tir": range(6)})
    values = model.values(model.encode(some), BEGIN)
    rows = {name: len(values[f"{name}_pids"]) for name in model.widths}
    assert rows == ({ALL: 4} if direct == "concatenated" else {"rgb": 8, "nir": 4, "tir": 6})
    found = losses(build(direct=direct).train(), some)
    term = next(term for term in model.terms if term.name == "id")
    own = term.fn(**{need: values[need] for need in term.needs})
    by_head = [
        torch.nn.functional.cross_entropy(values[f"{n}_logits"], values[f"{n}_pids"], label_smoothing=0.1) for n in rows
    ]
    torch.testing.assert_close(own.total / own.count, torch.stack(by_head).sum())
    torch.testing.assert_close(found["id"][0], torch.stack(by_head).sum())


@pytest.mark.parametrize("direct", ["concatenated", "each", "shared"])
def test_what_is_aggregated_has_a_head_and_is_what_images_are_found_by(build, direct):
    """Beside the heads of the features; behind a closed gate it is these. Whole triples alone teach it."""
    plain, model = build(direct=direct), build(direct=direct, aggregator=MambaSpec()).train()
    assert set(model.heads) == {*plain.heads, FUSED}
    for key, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    given = batch(model)
    with torch.no_grad():
        assert torch.equal(model.eval().embed(given), plain.eval().embed(given))
    disturb(model)
    some = batch(model, present={"rgb": range(GROUPS), "nir": [0, 1, 2, 5], "tir": range(6)})
    values = model.values(model.train().encode(some), BEGIN)
    assert values[f"{FUSED}_pids"].tolist() == some.groups["pids"][[0, 1, 2, 5]].tolist()
    term = next(term for term in model.terms if term.name == "id")
    assert {f"{name}_logits" for name in model.widths} <= set(term.needs)
    with torch.no_grad():
        items = model.eval().encode(given).items
        fused = torch.cat([items[f"{role}_{FUSED}"].values for role in SPECTRA], dim=1)
        torch.testing.assert_close(model.embed(given), torch.nn.functional.normalize(fused, dim=1))
        assert (fused - torch.cat([items[role].values for role in SPECTRA], dim=1)).abs().max() > 0.01


@pytest.mark.parametrize("tokens", ["as_published", "before_projection"])
@pytest.mark.parametrize("injection", ["add", "concat"])
def test_the_aggregator_reads_projected_tokens(build, tokens, injection):
    model = build(aggregator=MambaSpec(), tokens=tokens, windows=WindowSpec(scales=(4,), injection=injection))
    disturb(model).eval()
    given = batch(model, ["nir"])
    rows = torch.arange(GROUPS)
    with torch.no_grad():
        camids = given.groups["camids"]
        x = model.vision.norm_pre(model.sie(model.vision.embed(given.inputs["nir"].values), camids, camids))
        x, _ = model.synergy(model.vision.blocks, x, rows)
        projected = model.projection(model.vision.norm(x))
        items = model.encode(given).items
        wanted = model.aggregator(items["nir"].values, projected[:, 1:], torch.ones_like(rows), rows)
        torch.testing.assert_close(items[f"nir_{FUSED}"].values, wanted, rtol=1e-4, atol=1e-5)


def test_a_group_that_lacks_a_role_is_aggregated_without_it(build):
    """The other roles of a group are what they would be in a batch where nobody has that role."""
    model = disturb(build(aggregator=MambaSpec(both_ways=True))).eval()
    mixed = batch(model, present={"rgb": range(GROUPS), "nir": [0, 3], "tir": range(GROUPS)})
    with torch.no_grad():
        whole = model.embed(mixed)
        two, all_three = model.embed(batch(model, ["rgb", "tir"])), model.embed(batch(model))
    lacking = [1, 2, 4, 5, 6, 7]
    torch.testing.assert_close(whole[lacking], two[lacking], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole[[0, 3]], all_three[[0, 3]], rtol=1e-4, atol=1e-5)


def test_an_embedding_has_a_place_for_each_role_and_zeros_for_those_that_lack(build):
    for knobs in ({}, {"direct": "each"}, {"direct": "each", "retrieval": "after_neck"}, {"retrieval": "after_neck"}):
        model = build(**knobs).eval()
        whole, alone = model.embed(batch(model)), model.embed(batch(model, ["nir"]))
        width = whole.shape[1] // 3
        assert not alone[:, :width].any()
        assert not alone[:, 2 * width :].any()
        middle = torch.nn.functional.normalize(whole[:, width : 2 * width], dim=1)
        torch.testing.assert_close(alone[:, width : 2 * width], middle, rtol=1e-4, atol=1e-5)
        assert model.embed(ragged(model)).isfinite().all()


def test_a_group_without_an_image(build):
    model = build().eval()
    with pytest.raises(DataError, match="6 of 8 groups have no image; one of rgb, nir, tir is needed"):
        model.embed(batch(model, present={"rgb": [0], "nir": [3], "tir": []}))


def test_side_information_is_the_camera_s(build):
    model = build(roles=("rgb",), sie=SideSpec(coefficient=4.0)).eval()
    given = batch(model)
    with torch.no_grad():
        model.sie.embedding.mul_(50.0)
        before = model.embed(given)
        given.groups["camids"][0] = 1 - given.groups["camids"][0]
        changed = (model.embed(given) - before).abs().amax(dim=1)
    assert changed[0] > 1e-3
    assert changed[1:].max() < 1e-5


def test_data_without_cameras(build):
    with pytest.raises(SpecError, match="tells no cameras"):
        build(facts=Facts(identities=3, image_size=(32, 16)))


def test_a_window_larger_than_the_grid(build):
    with pytest.raises(SpecError, match="a 8x8 window is larger than the grid of 4x2 tokens both ways"):
        build(windows=WindowSpec(kind="conv2d", scales=(8,)))


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"aggregator": MambaSpec()}, "it mixes the tokens of several roles, and there is one"),
        ({"roles": ("rgb", "sketch")}, "unknown spectrum 'sketch'; allowed: nir, rgb, tir"),
        ({"roles": ()}, "name at least one of rgb, nir, tir"),
        ({"windows": None, "tokens": "as_published"}, "windows is null"),
        ({"direct": "each"}, "there is one"),
        ({"features": "clip_reid", "roles": SPECTRA}, "reads one modality"),
        ({"id": None}, "id is off"),
        ({"triplet": None, "margin": 0.3}, "triplet is off"),
        ({"neck": False, "retrieval": "after_neck"}, "there is no neck"),
        ({"smoothing": 0.0, "smoothed_over": "others"}, "nothing is smoothed"),
    ],
)
def test_choices_that_do_not_fit(knobs, told):
    with pytest.raises(ValidationError, match=told) as caught:
        Spec(**knobs)
    assert len(caught.value.errors()) == 1


def test_optimiser_groups_are_those_of_mambapro(build):
    """6dc4cb7: 3.5e-4 for what is new, 5e-6 for a trunk that is not frozen; a bias twice as fast, the same decay."""
    model = build(aggregator=MambaSpec(), adapter=AdapterSpec(), prompt=PromptSpec(), new_lr_factor=70.0)
    for name, _ in model.named_parameters():
        rule = model.group_rule(name)
        rate = 5e-6 if name.startswith(("vision.", "projection.")) else 3.5e-4
        assert 5e-6 * rule.lr_factor == pytest.approx(rate * (2.0 if name.endswith("bias") else 1.0)), name
        assert rule.weight_decay_factor == 1.0


def test_the_paper_settings_are_those_of_mambapro():
    """Adam at 3.5e-4, decay 1e-4; 10 epochs from .01 of it, then half a cosine to .001; 60 epochs of 16 x 4; fp16."""
    spec = load_spec(PAPER).spec
    optimizer, batches = spec.train.optimizer, spec.train.batch
    assert (optimizer.kind, optimizer.lr, optimizer.weight_decay) == ("adam", 3.5e-4, 1e-4)
    assert (batches.sampler, batches.size, batches.instances) == ("identity", 64, 4)
    assert (spec.train.length.epochs, spec.runtime.precision) == (60, "fp16")
    model = spec.model
    assert (model.id, model.triplet, model.margin, model.new_lr_factor, model.freeze) == (0.25, 1.0, None, 1.0, True)
    factor = schedule(spec.train.schedule)
    for epoch in range(60):
        late = (1 + math.cos(math.pi * (epoch - 10) / 50)) / 2
        wanted = 0.01 + 0.99 * epoch / 10 if epoch < 10 else 0.001 + 0.999 * late
        assert factor(Progress(epoch * 7 + 3, 7, 420)) == pytest.approx(wanted, abs=1e-12)
    assert factor(Progress(420, 7, 420)) == pytest.approx(0.001)


def test_losses_of_clip_reid(build):
    """Its second stage: entropies of the hidden and the projected feature, triplets of these and of the early one."""
    model = build(roles=("rgb",), features="clip_reid", margin=0.3).train()
    needs = {term.name: {need.rpartition("_")[0] for need in term.needs} for term in model.terms}
    assert needs == {"id": {"hidden", "projected"}, "triplet": {"hidden", "projected", "early"}}
    weights = {term.name: term.weight for term in model.terms}
    assert weights == {"id": 0.25, "triplet": 1.0}
    given = batch(model)
    with torch.no_grad():
        values = model.values(model.encode(given), BEGIN)
        found = {name: total / count for name, (total, count) in losses(model, given).items()}
    entropy = torch.nn.functional.cross_entropy
    pids = given.groups["pids"]
    by_head = [entropy(values[f"{name}_logits"], pids, label_smoothing=0.1) for name in ("hidden", "projected")]
    torch.testing.assert_close(found["id"], torch.stack(by_head).sum())
    hardest = []
    for name in ("hidden", "projected", "early"):
        apart = torch.cdist(values[f"{name}_feature"], values[f"{name}_feature"])
        alike = pids[:, None] == pids
        far, near = apart.where(alike, 0).amax(1), apart.where(~alike, torch.inf).amin(1)
        hardest.append((far - near + 0.3).clamp(min=0)[alike.sum(dim=1) > 1].mean())
    torch.testing.assert_close(found["triplet"], torch.stack(hardest).sum(), rtol=1e-3, atol=1e-4)
