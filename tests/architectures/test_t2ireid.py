"""T2IReID's own switches: what is built, which way gradients go, missing rows, labels, retrieval, user errors."""

import pytest
import torch
from pydantic import ValidationError

from reid_lab.architectures.t2ireid import (
    AdversarySpec,
    ClothSpec,
    DecoupleSpec,
    FusionSpec,
    GrlSpec,
    MatchSpec,
    Spec,
    T2IReID,
)
from reid_lab.contracts import Batch, Facts, Input
from reid_lab.engine.terms import evaluate
from reid_lab.errors import DataError, SpecError
from reid_lab.schedules import Progress
from reid_lab.seeding import stream

ROLES = ("rgb", "id_caption", "cloth_caption")
FACTS = Facts(identities=4, image_size=(32, 16), roles=ROLES, labels={"clothes": 3})
BARE = Facts(identities=4, image_size=(32, 16), roles=ROLES)
NOW = Progress(0, 10, 1000)
BODY = ["a man", "a woman", "the man in white", "a man with a woman"]
WORN = ["red shirt", "blue trousers with white shoes", "black shirt", "red trousers"]
OFF = {"cloth": None, "cloth_adv": None, "cloth_match": None, "decouple": None, "bio": None, "cls": None}


@pytest.fixture
def make(folders):
    def build(facts=FACTS, **knobs):
        small = {"hidden": 12, "output": 8, "dropout": 0.0} | knobs
        return T2IReID(Spec(backbone=folders["vit"], text_backbone=folders["bert"], **small), facts, 0)

    return build


def batch(model, rgb=range(4), told=range(4), worn=range(4), **labels):
    """Four groups; each role has the given rows."""
    pixels = torch.randn(4, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    inputs = {"rgb": Input(pixels[list(rgb)], torch.tensor(list(rgb)))}
    for role, captions, rows in (("id_caption", BODY, list(told)), ("cloth_caption", WORN, list(worn))):
        if role in model.inputs and rows:
            inputs[role] = Input(model.inputs[role].tokenize([captions[r] for r in rows]), torch.tensor(rows))
    if not list(rgb):
        inputs.pop("rgb")
    groups = {"pids": torch.tensor([0, 1, 2, 0]), "clothes": torch.tensor([0, 1, 2, -1])}
    return Batch(groups | {name: torch.tensor(value) for name, value in labels.items()}, inputs)


def values(model, given, now=NOW):
    with stream(0, "test"):
        return model.values(model.encode(given), now)


def losses(model, given, now=NOW):
    return evaluate(model.terms, values(model, given, now))


def term(model, name):
    return next(term for term in model.terms if term.name == name)


def trunk_gradient(model, name, given, now=NOW):
    """The gradient that the patches receive from one loss."""
    model.zero_grad()
    losses(model, given, now)[name].backward()
    return model.vision.embed.conv.weight.grad.clone()


def test_the_spec_names_every_term(make):
    assert tuple(term.name for term in make().terms) == Spec.TERMS


@pytest.mark.parametrize("off", [None, 0.0])
def test_plain_info_nce_has_nothing_else(make, off):
    slots = {name: off if name in ("bio", "cls") else None for name in OFF}
    model = make(fusion=None, grl=None, **slots)
    assert [t.name for t in model.terms] == ["info_nce"]
    assert list(model.inputs) == ["rgb", "id_caption"]
    heads = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert heads == {"vision", "text", "id_projection", "shared_mlp", "image_mlp", "text_mlp"}
    assert [d.name for d in model.diagnostics] == ["trunk_gradient_info_nce"]


def test_a_loss_of_weight_0_is_as_null(make):
    for slot, kind in (("cloth", ClothSpec), ("cloth_adv", AdversarySpec), ("cloth_match", MatchSpec)):
        null, zero = make(**{slot: None}), make(**{slot: kind(weight=0.0)})
        assert null.state_dict().keys() == zero.state_dict().keys()
        assert [t.name for t in null.terms] == [t.name for t in zero.terms]


def test_published_reversal_makes_the_trunk_maximise_the_matching(make):
    """The gradient of cloth_match on the trunk is -alpha times what it is without reversal; decoupling's in part."""
    plain = make(grl=None, norm="layer")
    given = batch(plain)
    for epoch in (0, 10):
        now = Progress(10 * epoch, 10, 1000)
        turned = make(grl=GrlSpec(site="as_published"), norm="layer")
        alpha = min(1.0, 0.1 + 0.02 * epoch)
        expected = -alpha * trunk_gradient(plain, "cloth_match", given, now)
        torch.testing.assert_close(trunk_gradient(turned, "cloth_match", given, now), expected, rtol=1e-4, atol=1e-7)
    corrected = make(norm="layer")
    torch.testing.assert_close(
        trunk_gradient(corrected, "cloth_match", given), trunk_gradient(plain, "cloth_match", given)
    )


def test_the_adversary_alone_is_turned_round(make):
    """Its own head learns to tell identities; the trunk unlearns, by alpha; without reversal it is a probe."""
    model, given = make(), batch(make())
    adverse = trunk_gradient(model, "cloth_adv", given)
    head = model.adversary.linear.weight.grad.clone()
    upstream = make(grl=GrlSpec(site="as_published"))
    torch.testing.assert_close(trunk_gradient(upstream, "cloth_adv", given), adverse, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(upstream.adversary.linear.weight.grad, head)
    assert adverse.abs().max() > 0
    probe = make(grl=None)
    losses(probe, given)["cloth_adv"].backward()
    assert probe.vision.embed.conv.weight.grad is None
    torch.testing.assert_close(probe.adversary.linear.weight.grad, head)


def test_clothes_and_their_published_adversary_cancel_exactly(make):
    model = make(cloth_adv=AdversarySpec(form="as_published"))
    found = losses(model, batch(model))
    assert found["cloth"] == -found["cloth_adv"]
    (found["cloth"] + found["cloth_adv"]).backward()
    assert not model.cloth_labels.linear.weight.grad.abs().max()
    assert not model.vision.embed.conv.weight.grad.abs().max()
    assert "cloth_labels.*" in model.dead
    uneven = make(cloth_adv=AdversarySpec(form="as_published", weight=0.5))
    assert uneven.dead == ()


def test_who_reads_the_fused_feature(make):
    given = batch(make())
    for reader, term_name in (("cls", "cls"), ("info_nce", "info_nce")):
        model = make(fusion=FusionSpec(read_by=reader))
        losses(model, given)[term_name].backward()
        assert model.fused.scale.grad.abs() > 0
    silent = make(fusion=FusionSpec(read_by=None))
    sum(losses(silent, given).values()).backward()
    assert all(p.grad is None for p in silent.fused.parameters())
    assert silent.dead == ("fused.*",)
    assert make(cls=None).dead == ("fused.*",), "the reader is off"


def test_frozen_projectors_do_not_learn(make):
    form = {"form": "as_published"}
    trained, frozen = (make(decouple=DecoupleSpec(projectors=p, **form)) for p in ("trained", "frozen"))
    for model, learns in ((trained, True), (frozen, False)):
        losses(model, batch(model))["decouple"].backward()
        assert (model.projectors.id.weight.grad is not None) == learns
    assert torch.equal(trained.projectors.id.weight, frozen.projectors.id.weight)
    torch.testing.assert_close(losses(trained, batch(trained))["decouple"], losses(frozen, batch(frozen))["decouple"])


def test_shared_statistics_mix_identity_and_clothes(make):
    shared, apart = make(norm="as_published"), make()
    given = batch(shared)
    for model in (shared, apart):
        values(model, given)
    seen = apart.image_mlp.norm1
    assert not torch.equal(seen["id"].norm.running_mean, seen["cloth"].norm.running_mean)
    once = 0.1 * shared.shared_mlp(values(shared, given)["id_embeds"]).mean(dim=0)
    assert not torch.allclose(shared.image_mlp.norm1["all"].norm.running_mean, once, atol=1e-6)
    torch.testing.assert_close(seen["id"].norm.running_mean, once, rtol=1e-4, atol=1e-6)


def test_rows_of_any_input_may_be_missing(make):
    """Images of 0, 1, 3; identity captions of 1, 2, 3; clothes captions of 0, 3."""
    model = make()
    found = values(model, batch(model, rgb=[0, 1, 3], told=[3, 1, 2], worn=[3, 0]))
    assert found["pair_rows"].tolist() == [3, 1]
    assert found["pair_pids"].tolist() == [0, 1]
    torch.testing.assert_close(found["image_pairs"], found["image"][[2, 1]])
    torch.testing.assert_close(found["id_text_pairs"], found["id_text"][[0, 1]])
    torch.testing.assert_close(found["cloth_image_pairs"], found["cloth_image"][[2, 0]])
    assert found["labels"].tolist() == [0, 1, 0, 0, 1]  # three images, two fused
    assert found["outfits"].tolist() == [0, 1, -1]
    assert found["image_pids"].tolist() == [0, 1, 0]


def test_unmatched_captions_are_known_for_what_they_are(make):
    """Rows 2 and 3 have the captions of persons 1 and 2."""
    model = make(facts=BARE, cloth=ClothSpec(labels="words"))
    labels = {"is_matched": [1, 1, 0, 0], "cloth_pids": [0, 1, 1, 2]}
    found = values(model, batch(model, **labels))
    assert found["matched"].tolist() == [True, True, False, False]
    assert found["cloth_text_pids"].tolist() == [0, 1, 1, 2]
    assert len(found["bags"]) == 2, "an image is not taught by another's clothes"
    told = evaluate([d for d in model.diagnostics if d.name.startswith("cos_")], found)
    cosines = (found["cloth_image_pairs"] * found["cloth_text_pairs"]).sum(dim=1)
    torch.testing.assert_close(told["cos_matched"], cosines[:2].mean())
    torch.testing.assert_close(told["cos_unmatched"], cosines[2:].mean())
    assert "cos_unmatched" not in evaluate(model.diagnostics, values(model, batch(model)))


def test_what_the_clothes_loss_is_taught_by(make):
    assert term(make(), "cloth").needs == ("cloth_logits", "outfits")
    assert term(make(facts=BARE), "cloth").needs == ("word_logits", "bags")
    assert term(make(cloth=ClothSpec(labels="overlap")), "cloth").needs == ("told_embeds", "bags", "scale")
    without = Facts(identities=4, image_size=(32, 16), roles=("rgb", "id_caption"))
    with pytest.raises(SpecError, match=r"ids needs clothes numbers; words and overlap need clothes captions"):
        make(facts=without)
    with pytest.raises(SpecError, match=r"'ids': the data offers no .* Allowed here: labels: words, overlap, or"):
        make(facts=BARE, cloth=ClothSpec(labels="ids"))
    make(facts=without, cloth=None, cloth_match=None)


def test_diagnostics_tell_what_each_loss_asks_of_the_trunk(make):
    model = make(decouple=DecoupleSpec(form="as_published"), grl=GrlSpec())
    given = batch(model)
    encoded = model.encode(given)
    with stream(0, "test"):
        found = model.values(encoded, Progress(100, 10, 1000))
    with torch.no_grad():
        told = evaluate(model.diagnostics, found)
    assert told.keys() == {d.name for d in model.diagnostics} - {"cos_unmatched"}
    assert told["alpha"] == pytest.approx(0.3)
    assert 0 < told["image_weight"] < 1
    torch.testing.assert_close(
        told["cos_raw"], torch.cosine_similarity(found["id_embeds"], found["cloth_embeds"]).abs().mean()
    )
    for name, value in evaluate(model.terms, found).items():
        (gradient,) = torch.autograd.grad(value, encoded.items["image"].values, retain_graph=True)
        torch.testing.assert_close(told[f"trunk_gradient_{name}"], gradient.norm())
    sum(evaluate(model.terms, found).values()).backward()  # the graph is still there


def test_retrieval(make):
    knobs = {"output": 8, "norm": "layer"}
    single, mean, fused, clothed = (
        make(**knobs, **more).eval()
        for more in (
            {},
            {"retrieval": "mean"},
            {"retrieval": "as_published"},
            {"retrieval_clothes": 0.25},
        )
    )
    given = batch(single)
    image, text, worn = (single.embed(Batch(given.groups, {role: given.inputs[role]})) for role in ROLES)
    both = Batch(given.groups, {role: given.inputs[role] for role in ROLES[:2]})
    texts = Batch(given.groups, {role: given.inputs[role] for role in ROLES[1:]})
    torch.testing.assert_close(single.embed(both), image)
    torch.testing.assert_close(single.embed(texts), text)
    torch.testing.assert_close(mean.embed(both), torch.nn.functional.normalize(image + text, dim=1))
    found = fused.values(fused.encode(both), NOW)
    torch.testing.assert_close(fused.embed(both), torch.nn.functional.normalize(found["fused"], dim=1))
    torch.testing.assert_close(fused.embed(texts), text)
    found = clothed.values(clothed.encode(given), NOW)
    expected = torch.cat([found["image"], 0.5 * found["cloth_image"]], dim=1) / 1.25**0.5
    torch.testing.assert_close(clothed.embed(given), expected)
    torch.testing.assert_close(clothed.embed(texts), torch.cat([text, 0.5 * worn], dim=1) / 1.25**0.5)


def test_the_published_leak(make):
    """Fused with its caption, a gallery image follows the caption; the corrected one does not."""
    for retrieval, moves in (("as_published", True), ("single_modality", False)):
        model = make(retrieval=retrieval).eval()
        given = batch(model, worn=[])
        turned = given.inputs["id_caption"].values.roll(1, dims=0)
        other = given.with_inputs(id_caption=Input(turned, given.inputs["id_caption"].rows))
        assert torch.allclose(model.embed(given), model.embed(other)) != moves


def test_a_batch_without_any_input_is_told(make):
    model = make()
    empty = Batch({"pids": torch.zeros(2, dtype=torch.int64)}, {})
    for ask in (model.encode, model.embed):
        with pytest.raises(DataError, match="a batch without any input: t2ireid reads rgb, id_caption, cloth_caption"):
            ask(empty)


def test_user_errors(make):
    with pytest.raises(SpecError, match=r"model\.text_length 99 exceeds the context"):
        make(text_length=99)
    with pytest.raises(ValidationError, match="'as_published' is cloth with the opposite sign, and cloth is off"):
        Spec(cloth=None, cloth_adv=AdversarySpec(form="as_published"))
    with pytest.raises(ValidationError, match="only where cloth_match teaches it, which is off"):
        Spec(cloth_match=None, retrieval_clothes=1.0)
    with pytest.raises(ValidationError, match="retrieves with the fused feature, and fusion is null"):
        Spec(fusion=None, retrieval="as_published")
    with pytest.raises(ValidationError, match="the form 'hsic' has no projectors"):
        DecoupleSpec(form="hsic", projectors="frozen")
    with pytest.raises(ValidationError, match=r"output \(256\) is no multiple of 3 heads"):
        Spec(fusion=FusionSpec(heads=3))
    with pytest.raises(ValidationError, match=r"unknown backbone 'tiny-vti'.*did you mean 'tiny-vit'"):
        Spec(backbone="tiny-vti")


def test_groups_of_the_optimiser(make):
    model = make(new_lr_factor=7.0)
    assert model.group_rule("vision.norm.weight").lr_factor == model.group_rule("text.positions").lr_factor == 1.0
    assert model.group_rule("text_mlp.fc1.weight").lr_factor == 7.0
