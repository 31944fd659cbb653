"""What every registered architecture promises; a new entry of the registry is tested by being there."""

from functools import cache
from pathlib import Path

import pytest
import torch

from reid_lab.architectures import ARCHITECTURES
from reid_lab.contracts import Architecture, GroupRule
from reid_lab.seeding import stream
from reid_lab.spec.section import walk
from tests.architectures import probe, switches
from tests.architectures.probe import FACTS, GROUPS, batch, losses, ragged, subsets, summed
from tests.architectures.switches import UNSEEN, initialises, over, put, tiny

ROOT = Path(__file__).parent.parent.parent
NAMES = sorted(ARCHITECTURES)
SWITCHES = [switch for name in NAMES for switch in switches.switches(name)]
SLOW = ("range", "schedule")  # slots and names are tried every time, the ends of ranges with the slow tests
TRIED = [pytest.param(s, id=str(s), marks=[pytest.mark.slow] if s.kind in SLOW else []) for s in SWITCHES]


@pytest.fixture(scope="session")
def build(folders):
    """The model of a spec whose presets are tiny random trunks."""

    def of(name, spec=None, seed=0) -> Architecture:
        loaded = ARCHITECTURES[name].load()
        return loaded.build(tiny(name, folders) if spec is None else over(spec, folders), FACTS, seed)

    return of


@pytest.fixture(scope="session")
def aspects(build):
    """All that a choice can change, of a spec; kept, because every choice is compared with few bases."""

    @cache
    def of(name, spec):
        return probe.aspects(build(name, spec))

    return of


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_of_any_subset_of_the_inputs(build, name):
    """(groups, D), float32, of norm 1; the same when asked again, and whoever else is in the batch."""
    model = build(name).eval()
    widths = set()
    with torch.no_grad():
        for roles in subsets(model):
            given = batch(model, roles)
            with stream(1, "evaluation"):
                embedding = model.embed(given)
            with stream(2, "evaluation"):
                assert torch.equal(embedding, model.embed(given)), roles
            assert embedding.dtype == torch.float32
            assert embedding.shape[0] == GROUPS
            torch.testing.assert_close(embedding.norm(dim=1), torch.ones(GROUPS))
            assert (embedding @ embedding.T - torch.eye(GROUPS)).min() < 0.9999, "not all alike"
            torch.testing.assert_close(model.embed(given.rows(1, 3)), embedding[1:3], rtol=1e-4, atol=1e-5)
            widths.add(embedding.shape[1])
        assert len(widths) == 1, "one space for all modalities"
        mixed = model.embed(ragged(model))
        torch.testing.assert_close(mixed.norm(dim=1), torch.ones(GROUPS))


@pytest.mark.parametrize("name", NAMES)
def test_training_with_any_subset_of_the_inputs_is_finite(build, name):
    model = build(name).train()
    for given in (*(batch(model, roles) for roles in subsets(model)), ragged(model)):
        model.zero_grad()
        total = summed(model, given)
        if total is None or not total.requires_grad:
            continue
        assert total.isfinite(), given.inputs.keys()
        total.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None), given.inputs.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_batch_has_every_loss(build, name):
    model = build(name).train()
    found = losses(model, batch(model))
    assert found.keys() == {term.name for term in model.terms}
    for total, count in found.values():
        assert total.isfinite()
        assert count > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [0, 1, GROUPS])
def test_terms_with_no_one_and_all_rows_valid(build, name, count):
    """Of each role in turn, and of each further label that the data may not know."""
    model = build(name).train()
    asked = [batch(model, present={role: range(count)}) for role in model.inputs]
    asked += [batch(model, unknown=[label]) for label in FACTS.labels]
    for given in asked:
        for term, (total, valid) in losses(model, given).items():
            assert total.isfinite(), term
            assert total.requires_grad, term
            assert valid > 0 or total == 0, term


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_round_trip(build, folders, name):
    spec = tiny(name, folders)
    for path in [leaf.path for leaf in walk(spec) if leaf.path.rpartition(".")[2] == "pretrained"]:
        spec = put(spec, path, False)
    first, second = probe.disturb(build(name, seed=0)).eval(), build(name, spec, seed=1).eval()
    given = batch(first)
    assert not torch.equal(first.embed(given), second.embed(given))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.embed(given), second.embed(given))


def check_gradients(model, found):
    """Every trainable parameter has a finite gradient, unless a choice is declared to leave it without."""
    silent = {name for name, gradient in found.items() if gradient is None or not gradient.abs().max() > 1e-12}
    assert {name for name in found if probe.is_dead(model, name)} == silent
    assert all(gradient.isfinite().all() for gradient in found.values() if gradient is not None)
    unused = [p for p in model.dead if not any(probe.fnmatchcase(n, p) for n, _ in model.named_parameters())]
    assert not unused, f"declared dead, but no parameter is called so: {unused}"


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(build, name):
    model = probe.disturb(build(name))
    check_gradients(model, probe.gradients(model))


@pytest.mark.parametrize("switch", TRIED)
def test_no_dead_switch(build, aspects, switch):
    """A choice changes parameters, terms, gradients or embeddings, and no weight that stands apart from it."""
    before = aspects(switch.name, switch.base)
    model = build(switch.name, switch.changed)
    after = probe.aspects(model)
    seen = [name for name in before if not probe.same(before[name], after[name])]
    assert seen or str(switch) in UNSEEN, f"{switch} changes nothing"
    assert not seen or str(switch) not in UNSEEN, f"{switch} is said to be unseen, and changes {', '.join(seen)}"
    check_gradients(model, after["gradients"])
    if switch.kind != "range" and not initialises(switch):
        weights = before["initial weights"]
        for key, value in after["initial weights"].items():
            if key in weights and weights[key].shape == value.shape:
                assert torch.equal(weights[key], value), f"{key} begins otherwise with {switch}"


def test_what_is_said_to_be_unseen_or_to_initialise_is_there():
    assert not UNSEEN.keys() - {str(switch) for switch in SWITCHES}
    assert not switches.INITIALISES.keys() - {(switch.name, switch.path) for switch in SWITCHES}
    assert all((*UNSEEN.values(), *switches.INITIALISES.values()))


@pytest.mark.parametrize("name", NAMES)
def test_null_slots_take_away_and_add_nothing(build, name):
    """Without a slot there are fewer parameters and terms, none of them new."""
    for switch in switches.switches(name):
        value = switch.changed
        for step in switch.path.split("."):
            value = getattr(value, step)
        if switch.kind != "slot" or value is not None:
            continue
        whole, less = build(name, switch.base), build(name, switch.changed)
        assert {term.name for term in less.terms} <= {term.name for term in whole.terms}, switch
        assert set(less.inputs) <= set(whole.inputs), switch


@pytest.mark.parametrize("name", NAMES)
def test_groups_of_the_optimiser_are_one_per_name(build, name):
    model = build(name)
    rules = {model.group_rule(parameter) for parameter, _ in model.named_parameters()}
    assert all(isinstance(rule, GroupRule) for rule in rules)
    assert len({rule.name for rule in rules}) == len(rules)


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_named_in_the_spec(build, name):
    known = ARCHITECTURES[name].load().spec.TERMS
    built = {term.name for switch in switches.switches(name)[:1] for term in build(name, switch.base).terms}
    assert built <= set(known)


@pytest.mark.parametrize("name", NAMES)
def test_citation_and_page(name):
    entry = ARCHITECTURES[name]
    assert entry.paper
    assert entry.code
    page = (ROOT / entry.docs).read_text()
    assert entry.paper.split("arXiv:")[-1] in page
    assert entry.load().spec.model_fields["name"].default == name
    assert entry.load().result_version >= 1
