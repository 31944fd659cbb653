"""ReID5o's own switches: which combinations are mixed and matched, missing modalities, adapters, padding, limits."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from reid_lab.architectures.reid5o import AdapterSpec, FusionSpec, MaskingSpec, Reid5o, Spec
from reid_lab.contracts import Batch, Facts, Input
from reid_lab.errors import DataError, SpecError
from reid_lab.parts.losses.sdm import sdm
from reid_lab.parts.mixture import MeanDirection, TokenFusion
from reid_lab.schedules import Progress
from reid_lab.seeding import keys
from reid_lab.spec.schedule import ChainSpec, Length, SegmentSpec

FACTS = Facts(identities=4, image_size=(32, 16))
NOW = Progress(0, 10, 100)
CAPTIONS = ["a man in red", "a woman wearing black trousers with white shoes", "the man", "a blue shirt", "red", "a"]
ALL = {role: range(6) for role in ("rgb", "nir", "cpencil", "sketch", "caption")}


@pytest.fixture
def reid5o(clip_folder):
    return lambda **knobs: Reid5o(Spec(backbone=clip_folder, **{"fusion": FusionSpec(depth=1), **knobs}), FACTS, 0)


def batch(model, rows, groups=6):
    """Items of the groups `rows` (role -> numbers); an item is the same whoever else is in the batch."""
    inputs = {}
    for place, (role, want) in enumerate(model.inputs.items()):
        own = torch.tensor(list(rows.get(role, ())), dtype=torch.int64)
        if not len(own):
            continue
        if role == "caption":
            inputs[role] = Input(want.tokenize([CAPTIONS[i] for i in own]), own)
        else:
            pixels = torch.randn(groups, 3, 32, 16, generator=torch.Generator().manual_seed(place))
            inputs[role] = Input(pixels[own], own)
    ids = torch.arange(groups)
    return Batch({"pids": ids % 4, "keys": keys(0, 0, ids)}, inputs)


def values(model, given):
    return model.values(model.encode(given), NOW)


def losses(model, given):
    named = values(model, given)
    found = {}
    for term in model.terms:
        if set(term.needs) <= named.keys():
            out = term.fn(**{need: named[need] for need in term.needs})
            found[term.name] = out.total / out.count
    return found


def test_published_kinds(reid5o):
    model = reid5o()
    assert [len(model.matched[size]) for size in ("one", "two", "three", "four")] == [4, 6, 4, 1]
    assert list(model.kinds)[:3] == ["nir+cpencil", "nir+sketch", "nir+caption"]
    assert tuple(term.name for term in model.terms) == Spec.TERMS
    assert len(values(model, batch(model, ALL))["id_counts"]) == 16


@pytest.mark.parametrize(
    ("knobs", "terms", "kinds"),
    [
        ({"queries": ("nir", "sketch", "caption")}, ["one", "two", "three", "id"], 4),
        ({"queries": ("caption",)}, ["one", "id"], 0),
        ({"queries": ("tir", "nir")}, ["one", "two", "id"], 1),
        ({"three": None}, ["one", "two", "four", "id"], 11),
        ({"three": None, "id": 0.0}, ["one", "two", "four"], 7),
        ({"fusion": None}, ["one", "id"], 0),
        ({"two": 0, "three": 0, "four": 0, "id": None}, ["one"], 0),
    ],
)
def test_what_is_matched_and_mixed(reid5o, knobs, terms, kinds):
    """A combination is mixed when its size is matched or identities are learned; a mixture of none is not built."""
    model = reid5o(**knobs)
    assert [term.name for term in model.terms] == terms
    assert len(model.kinds) == kinds
    assert isinstance(model.fusion, TokenFusion if kinds else MeanDirection)
    assert (model.text is None) == ("caption" not in model.inputs)
    assert losses(model, batch(model, {role: range(6) for role in model.inputs})).keys() == set(terms)


def test_a_combination_is_learned_from_the_groups_that_have_all_of_it(reid5o):
    """Groups 0, 1 have everything; 2 lacks infrared, 3 the caption, 4 the photograph; 5 is a photograph alone."""
    model = reid5o(masking=None)
    rows = {
        "rgb": [0, 1, 2, 3, 5],
        "nir": [4, 1, 0, 3],
        "cpencil": [0, 1, 2, 3, 4],
        "sketch": [0, 1, 2, 3, 4],
        "caption": [0, 1, 2, 4],
    }
    given = batch(model, rows)
    items = model.encode(given).items
    assert sorted(items["nir+caption"].rows.tolist()) == [0, 1, 4]
    assert sorted(items["cpencil+sketch"].rows.tolist()) == [0, 1, 2, 3, 4]
    assert sorted(items["nir+cpencil+sketch+caption"].rows.tolist()) == [0, 1, 4]
    named = values(model, given)
    assert named["one_counts"].tolist() == [3, 4, 4, 3]
    assert named["four_counts"].tolist() == [2]
    assert named["id_counts"].tolist()[0] == 5

    whole = {role: Input(item.values, item.rows) for role, item in items.items()}
    own = {name: dict(zip(item.rows.tolist(), item.values, strict=True)) for name, item in whole.items()}
    pairs = ["nir+cpencil", "nir+sketch", "nir+caption", "cpencil+sketch", "cpencil+caption", "sketch+caption"]
    wanted = []
    for name in pairs:
        both = [row for row in range(6) if row in own[name] and row in own["rgb"]]
        image, query = (torch.stack([own[n][row] for row in both]) for n in ("rgb", name))
        out = sdm(image, query, torch.tensor(both) % 4, torch.tensor(50.0))
        wanted.append(out.total / out.count)
    torch.testing.assert_close(losses(model, given)["two"], torch.stack(wanted).mean(), rtol=1e-5, atol=1e-6)


def test_a_size_that_no_group_has_is_absent(reid5o):
    model = reid5o()
    found = losses(model, batch(model, {"rgb": [0, 1], "nir": [0, 1, 2], "sketch": [1]}))
    assert found.keys() == {"one", "two", "id"}
    assert losses(model, batch(model, {"nir": [0], "caption": [3]})).keys() == {"id"}


def test_embeddings_of_a_mixed_batch_are_those_of_each_group_alone(reid5o):
    """Groups of one, two, three and five modalities in one batch; what others have changes nothing."""
    model = reid5o().eval()
    rows = {"rgb": [0, 4], "nir": [1, 2, 3, 4], "cpencil": [3, 4], "sketch": [2, 3, 4], "caption": [4, 5]}
    with torch.no_grad():
        together = model.embed(batch(model, rows))
        for row in range(6):
            has = {role: [row] for role in rows if row in rows[role]}
            alone = model.embed(batch(model, has).rows(row, row + 1))[0]
            torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)
    items = model.encode(batch(model, {"nir": [2], "sketch": [2]})).items
    torch.testing.assert_close(together[2], F.normalize(items["nir+sketch"].values[0], dim=0), rtol=1e-4, atol=1e-5)


def test_without_a_mixture_a_query_is_the_mean_direction(reid5o):
    model = reid5o(fusion=None).eval()
    given = batch(model, {"nir": [0], "caption": [0]}, groups=1)
    one, two = (model.embed(Batch(given.groups, {role: given.inputs[role]})) for role in ("nir", "caption"))
    torch.testing.assert_close(model.embed(given), F.normalize(one + two, dim=1))


def test_padding_is_read_as_published_and_ignored_otherwise(reid5o):
    """With `ignored` a mixture does not change when captions are padded further."""

    def mixed(model, length):
        given = batch(model, {"nir": [0, 1], "caption": [0, 1]}, groups=2)
        ids = F.pad(given.inputs["caption"].values[:, :16], (0, length - 16))
        return model.embed(given.with_inputs(caption=Input(ids, torch.arange(2))))

    with torch.no_grad():
        published, corrected = reid5o().eval(), reid5o(fusion=FusionSpec(depth=1, padding="ignored")).eval()
        assert not torch.allclose(mixed(published, 16), mixed(published, 24), atol=1e-3)
        torch.testing.assert_close(mixed(corrected, 16), mixed(corrected, 24), rtol=1e-5, atol=1e-6)


def test_captions_are_spoilt_in_training_alone(reid5o):
    spoilt, whole = reid5o(masking=MaskingSpec(rate=0.9)), reid5o(masking=None)
    given = batch(spoilt, ALL)
    one, two = (model.encode(given).items for model in (spoilt, whole))
    assert not torch.allclose(one["caption"].values, two["caption"].values)
    assert torch.equal(one["nir"].values, two["nir"].values)
    assert torch.equal(spoilt.eval().embed(given), whole.eval().embed(given))


def test_adapters_belong_to_a_modality_and_what_they_adapt_is_frozen_as_published(reid5o):
    model = reid5o(lora=AdapterSpec(layers=1))
    adapted = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert adapted == {"vision.blocks.1.mlp.fc1.weight", "vision.blocks.1.mlp.fc2.weight"}
    assert all(p.requires_grad for p in reid5o(lora=AdapterSpec(adapted="trained")).parameters())
    given = batch(model, ALL)
    before = model.embed(given.with_inputs())
    singles = {role: model.embed(Batch(given.groups, {role: given.inputs[role]})) for role in model.inputs}
    with torch.no_grad():
        model.vision.blocks[1].mlp.fc1.lora_up[:, 2] += 1.0  # of the third: coloured pencil
    changed = {
        role
        for role, old in singles.items()
        if not torch.equal(old, model.embed(Batch(given.groups, {role: given.inputs[role]})))
    }
    assert changed == {"cpencil"}
    assert not torch.equal(before, model.embed(given))


def test_weights_and_temperature_follow_schedules(reid5o):
    ramp = ChainSpec(kind="chain", segments=(SegmentSpec(start=0.0, end=1.0, length=Length(steps=100)),))
    cool = ChainSpec(kind="chain", segments=(SegmentSpec(start=0.1, end=0.05, length=Length(steps=100)),))
    model = reid5o(four=ramp, temperature=cool)
    term = next(term for term in model.terms if term.name == "four")
    assert term.weight(Progress(50, 10, 100)) == pytest.approx(0.5)
    encoded = model.encode(batch(model, ALL))
    scale = model.values(encoded, Progress(100, 10, 100))["scale"]
    assert scale.item() == pytest.approx(20.0)
    logged = next(term for term in model.diagnostics if term.name == "temperature")
    assert logged.fn(scale=scale).item() == pytest.approx(0.05)


def test_user_errors(reid5o):
    model = reid5o()
    with pytest.raises(DataError, match="none of the modalities rgb, nir, cpencil, sketch, caption"):
        model.encode(Batch(batch(model, {}).groups, {}))
    with pytest.raises(DataError, match="4 of 6 groups have none of the modalities"):
        model.embed(batch(model, {"nir": [0, 1]}))
    with pytest.raises(SpecError, match="last 3 layers of a transformer that has 2"):
        reid5o(lora=AdapterSpec(layers=3))
    with pytest.raises(SpecError, match="text_length 99 exceeds the context"):
        reid5o(text_length=99)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"queries": ("nir", "skech")}, "unknown query modality 'skech'.*did you mean 'sketch'"),
        ({"queries": ("rgb",)}, "unknown query modality 'rgb'"),
        ({"queries": ()}, "one to four different modalities are needed; got none"),
        ({"queries": ("nir", "nir")}, "one to four different modalities"),
        ({"queries": ("nir", "tir", "sketch", "cpencil", "caption")}, "one to four different modalities"),
        ({"masking": {"mask": 0.9}}, "mask \\+ random \\+ keep must be 1; got 1.1"),
        ({"lora": {"rank": 0}}, "a rank of 0 adapts nothing"),
        ({"lora": {"targets": ("fc3",)}}, "unknown adapter target 'fc3'"),
        ({"backbone": "tiny-clp"}, "did you mean 'tiny-clip'"),
    ],
)
def test_faults_that_a_spec_shows_before_anything_is_built(knobs, message):
    with pytest.raises(ValidationError, match=message):
        Spec(**knobs)
