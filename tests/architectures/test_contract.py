"""What every registered architecture promises; a new entry of the registry is tested by being there."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from reid_lab.architectures import ARCHITECTURES
from reid_lab.contracts import Batch, Facts, Input
from reid_lab.schedules import Progress
from reid_lab.seeding import keys

ROOT = Path(__file__).parent.parent.parent
FACTS = Facts(identities=5, image_size=(32, 16))
NOW = Progress(0, 10, 100)
CAPTIONS = [
    "a man in red",
    "a woman wearing black trousers",
    "the man with white shoes",
    "zebra",
    "a blue shirt",
    "red",
]


def slots(name):
    """The fields of an architecture that null removes, apart from those that are null anyway."""
    spec = ARCHITECTURES[name].load().spec
    found = []
    for field, info in spec.model_fields.items():
        if info.get_default(call_default_factory=True) is None:
            continue
        try:
            spec(**{field: None})
        except ValidationError:
            continue
        found.append(field)
    return found


NAMES = sorted(ARCHITECTURES)
SLOTS = [(name, slot) for name in NAMES for slot in slots(name)]


@pytest.fixture
def make(clip_folder):
    def build(name, seed=0, **knobs):
        loaded = ARCHITECTURES[name].load()
        return loaded.build(loaded.spec(backbone=clip_folder, **knobs), FACTS, seed)

    return build


def batch(model, roles=None, groups=6, present=None):
    """`groups` groups; text items for the first `present` of them only."""
    generator = torch.Generator().manual_seed(7)
    inputs = {}
    for role, want in model.inputs.items():
        if roles is not None and role not in roles:
            continue
        if want.tokenize is None:
            pixels = torch.randn(groups, want.channels, *want.size, generator=generator)
            inputs[role] = Input(pixels, torch.arange(groups))
        elif present != 0:
            count = groups if present is None else present
            inputs[role] = Input(want.tokenize(CAPTIONS[:count]), torch.arange(count))
    ids = torch.arange(groups)
    known = {"pids": ids % FACTS.identities, "image_ids": ids, "camids": ids % 2, "keys": keys(0, 0, ids)}
    return Batch(known, inputs)


def losses(model, batch):
    """(mean, count) of every term whose needs are there."""
    encoded = model.encode(batch)
    values = {**model.values(encoded, NOW), **encoded.local}
    found = {}
    for term in model.terms:
        if set(term.needs) <= values.keys():
            out = term.fn(**{need: values[need] for need in term.needs})
            found[term.name] = (out.total, int(out.count))
    return found


def summed(model, batch):
    return sum(total / count for total, count in losses(model, batch).values() if count)


@pytest.mark.parametrize("name", NAMES)
def test_embeddings(make, name):
    model = make(name).eval()
    with torch.no_grad():
        for role in model.inputs:
            given = batch(model, [role])
            embedding = model.embed(given)
            assert embedding.dtype == torch.float32
            assert embedding.shape[0] == 6
            torch.testing.assert_close(embedding.norm(dim=1), torch.ones(6))
            assert torch.equal(embedding, model.embed(given)), "evaluation is deterministic"


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_finite_and_reach_every_parameter(make, name):
    model = make(name)
    summed(model, batch(model)).backward()
    assert losses(model, batch(model)).keys() == {term.name for term in model.terms}
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.isfinite().all(), parameter
        assert value.grad.abs().max() > 0, parameter


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("present", [0, 1, 6])
def test_terms_with_no_one_and_all_rows_valid(make, name, present):
    model = make(name)
    for total, count in losses(model, batch(model, present=present)).values():
        assert total.isfinite()
        assert total.requires_grad
        assert count > 0 or total == 0


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_round_trip(make, name):
    first, second = make(name, seed=0).eval(), make(name, seed=1, pretrained=False).eval()
    given = batch(first, ["rgb"])
    assert not torch.equal(first.embed(given), second.embed(given))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.embed(given), second.embed(given))


@pytest.mark.parametrize(("name", "slot"), SLOTS)
def test_null_slots_build_train_and_leave_the_rest_alone(make, name, slot):
    whole, less = make(name, pretrained=False), make(name, pretrained=False, **{slot: None})
    assert {t.name for t in less.terms} <= {t.name for t in whole.terms}
    summed(less, batch(less)).backward()
    before = whole.state_dict()
    assert less.state_dict().keys() <= before.keys()
    for key, value in less.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_groups_of_the_optimiser_are_one_per_name(make, name):
    model = make(name)
    rules = {model.group_rule(parameter) for parameter, _ in model.named_parameters()}
    assert len({rule.name for rule in rules}) == len(rules)


@pytest.mark.parametrize("name", NAMES)
def test_citation_and_page(name):
    entry = ARCHITECTURES[name]
    assert entry.paper
    assert entry.code
    page = (ROOT / entry.docs).read_text()
    assert entry.paper.split("arXiv:")[-1] in page
    assert entry.load().spec.model_fields["name"].default == name
    assert entry.load().result_version >= 1
