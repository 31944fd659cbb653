"""IRRA's own switches: weights, schedules, pairs, padding, limits."""

import pytest
import torch
from pydantic import ValidationError

from reid_lab.architectures.irra import Irra, MlmSpec, RelationReasoning, SoftLabelSpec, Spec
from reid_lab.contracts import Batch, Encoded, Facts, Input
from reid_lab.errors import SpecError
from reid_lab.parts.masking import mask_tokens
from reid_lab.schedules import Progress
from reid_lab.seeding import keys
from reid_lab.spec.schedule import ChainSpec, Length, SegmentSpec
from reid_lab.spec.section import walk

FACTS = Facts(identities=4, image_size=(32, 16))
NOW = Progress(0, 10, 100)


@pytest.fixture
def irra(clip_folder):
    return lambda **knobs: Irra(Spec(backbone=clip_folder, **knobs), FACTS, 0)


def batch(model, captions, image_rows, text_rows, groups):
    ids = torch.arange(groups)
    pixels = torch.randn(len(image_rows), 3, 32, 16, generator=torch.Generator().manual_seed(1))
    inputs = {
        "rgb": Input(pixels, torch.tensor(image_rows)),
        "caption": Input(model.inputs["caption"].tokenize(captions), torch.tensor(text_rows)),
    }
    return Batch({"pids": ids % 4, "image_ids": ids, "keys": keys(0, 0, ids)}, inputs)


def test_published_terms_are_the_default(irra):
    assert [term.name for term in irra().terms] == ["sdm", "id", "mlm"]
    assert [term.name for term in irra().diagnostics] == ["image_accuracy", "text_accuracy", "mlm_accuracy"]


def test_the_spec_names_every_term(irra):
    assert tuple(term.name for term in irra(itc=1.0, cmpm=1.0).terms) == Spec.TERMS


@pytest.mark.parametrize("off", [None, 0, 0.0])
def test_a_weight_of_null_or_zero_removes_the_loss_and_its_modules(irra, off):
    model = irra(sdm=off, id=off, itc=2.0, mlm=MlmSpec(weight=off))
    assert [(term.name, term.weight) for term in model.terms] == [("itc", 2.0)]
    assert not [name for name, _ in model.named_parameters() if not name.startswith("trunk.")]
    assert model.diagnostics == ()


def test_weights_and_temperature_follow_schedules(irra):
    ramp = ChainSpec(kind="chain", segments=(SegmentSpec(start=0.0, end=1.0, length=Length(steps=100)),))
    cool = ChainSpec(kind="chain", segments=(SegmentSpec(start=0.1, end=0.05, length=Length(steps=100)),))
    model = irra(sdm=ramp, temperature=cool)
    term = next(term for term in model.terms if term.name == "sdm")
    assert term.weight(Progress(50, 10, 100)) == pytest.approx(0.5)
    encoded = model.encode(batch(model, ["a man"], [0], [0], 1))
    assert model.values(encoded, Progress(0, 10, 100))["scale"].item() == pytest.approx(10.0)
    assert model.values(encoded, Progress(100, 10, 100))["scale"].item() == pytest.approx(20.0)
    logged = next(term for term in model.diagnostics if term.name == "temperature")
    assert logged.fn(scale=model.values(encoded, Progress(100, 10, 100))["scale"]).item() == pytest.approx(0.05)


def test_pairs_are_found_by_rows(irra):
    """Images of groups 2, 0, 3 and captions of groups 0, 1, 2: only 0 and 2 have both."""
    model = irra()
    given = batch(model, ["a man", "a red hat", "the woman in black"], [2, 0, 3], [0, 1, 2], 4)
    encoded = model.encode(given)
    values = model.values(encoded, NOW)
    assert values["pids"].tolist() == [0, 2]
    assert torch.equal(values["image"], encoded.items["image"].values[[1, 0]])
    assert torch.equal(values["text"], encoded.items["text"].values[[0, 2]])
    alone = model.encode(batch(model, ["a man", "the woman in black"], [0, 2], [0, 2], 4))
    assert torch.equal(encoded.local["mlm_labels"], alone.local["mlm_labels"])


def test_padding_changes_no_feature(irra):
    """A caption's feature is that of the caption alone, whatever it shares a batch with."""
    model = irra().eval()
    short = batch(model, ["a man"], [0], [0], 1)
    both = batch(model, ["a man", "a woman wearing black trousers with white shoes"], [0], [0, 1], 2)
    one, two = (model.encode(given).items["text"].values[0] for given in (short, both))
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    whole = model.trunk.text_features(both.inputs["caption"].values)[0]
    torch.testing.assert_close(one, whole, rtol=1e-5, atol=1e-6)


def test_one_text_pass_equals_two(irra):
    """Features, predicted words and every gradient are those of a pass of captions and one of their masked copies."""
    model = irra()
    given = batch(model, ["a man", "a red hat", "the woman in black with a red bag"], [2, 0, 3], [0, 1, 2], 4)
    ids, pixels = given.inputs["caption"].values, given.inputs["rgb"].values
    encoded = model.encode(given)

    trunk, mlm, paired = model.trunk, model.mlm, torch.tensor([0, 2])
    masked, labels = mask_tokens(ids[paired], given.groups["keys"][paired], mlm.masking, trunk.tokenizer)
    words = mlm.ln_text(trunk.project_text(trunk.text_tokens(masked)))
    image = mlm.ln_image(trunk.project_image(trunk.image_tokens(pixels)))[[1, 0]]
    logits = mlm.head(mlm.ln_out(mlm.cross_blocks(mlm.cross_attn(words, image))))[labels != 0]
    naive = Encoded(
        {"image": encoded.items["image"], "text": Input(trunk.text_features(ids), torch.arange(3))},
        given.groups,
        {"mlm_logits": logits, "mlm_labels": labels[labels != 0]},
    )
    gradients = []
    for way in (encoded, naive):
        values = {**model.values(way, NOW), **way.local}
        losses = [term.fn(**{need: values[need] for need in term.needs}).total for term in model.terms]
        gradients.append(torch.autograd.grad(sum(losses), list(model.parameters()), retain_graph=True))
    torch.testing.assert_close(encoded.items["text"].values, naive.items["text"].values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(encoded.local, naive.local, rtol=1e-5, atol=1e-6)
    for (name, _), ours, theirs in zip(model.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=name)


def test_a_group_with_image_and_caption_lies_between_them(irra):
    model = irra().eval()
    given = batch(model, ["a man"], [0], [0], 1)
    image, text = (model.embed(Batch(given.groups, {role: given.inputs[role]})) for role in ("rgb", "caption"))
    torch.testing.assert_close(model.embed(given), torch.nn.functional.normalize(image + text, dim=1))


def test_soft_label_needs_image_ids(irra):
    model = irra(soft_label=SoftLabelSpec(value=0.3))
    term = next(term for term in model.terms if term.name == "sdm")
    assert "image_ids" in term.needs
    values = model.values(model.encode(batch(model, ["a man", "red"], [0, 1], [0, 1], 2)), NOW)
    assert term.fn(**{need: values[need] for need in term.needs}).total.isfinite()


def test_depth_zero_and_overlapping_patches(irra):
    model = irra(mlm=MlmSpec(depth=0), stride=4)
    assert isinstance(model.mlm, RelationReasoning)
    assert len(model.mlm.cross_blocks) == 0
    assert model.trunk.vision.embed.grid == (7, 3)


def test_captions_are_cut_to_text_length_with_their_end(irra):
    model = irra(text_length=5)
    want = model.inputs["caption"]
    ids = want.tokenize(["a man in red with a black hat", "a"])
    end = model.trunk.tokenizer.end_id
    assert ids.shape == (2, 5)
    assert (ids == end).sum(dim=1).tolist() == [1, 1]
    assert ids[0, -1] == end
    assert ids[1, 3:].tolist() == [0, 0]


def test_user_errors(irra):
    with pytest.raises(SpecError, match="text_length 99 exceeds the context"):
        irra(text_length=99)
    with pytest.raises(SpecError, match="stride 9 must lie between 1 and the patch size 8"):
        irra(stride=9)
    with pytest.raises(SpecError, match="smaller than one patch"):
        irra(image_size=(32, 4))


def test_faults_that_a_spec_shows_before_anything_is_built():
    with pytest.raises(ValidationError, match=r"unknown backbone 'tiny-clp'.*did you mean 'tiny-clip'"):
        Spec(backbone="tiny-clp")
    with pytest.raises(ValidationError, match="soft_label is a label of sdm, which is off"):
        Spec(sdm=None, soft_label=SoftLabelSpec())
    with pytest.raises(ValidationError):
        Spec(sdm=-1.0)
    with pytest.raises(ValidationError):
        Spec(temperature=0.0)
    assert Spec(backbone="openai/clip-vit-base-patch16").backbone == "openai/clip-vit-base-patch16"


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"mask": 0.9}, "mask \\+ random \\+ keep must be 1; got 1.1"),
        ({"rate": 0.0}, "greater than 0"),
        ({"rate": 1.5}, "less than or equal to 1"),
        ({"depth": -1}, "greater than or equal to 0"),
    ],
)
def test_masking_knobs_are_checked(knobs, message):
    with pytest.raises(ValidationError, match=message):
        MlmSpec(**knobs)


def test_search_ranges_stand_on_the_knobs():
    ranges = {leaf.path: leaf.search for leaf in walk(Spec(itc=1.0, cmpm=1.0)) if leaf.search is not None}
    assert {"temperature", "sdm", "itc", "cmpm", "id", "new_lr_factor", "mlm.weight", "mlm.rate", "mlm.depth"} <= set(
        ranges
    )
    assert (ranges["mlm.rate"].low, ranges["mlm.rate"].high) == (0.05, 0.4)
