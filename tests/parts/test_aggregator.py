"""MambaPro's aggregator against a loop that follows its description, group by group; what lacks a modality."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reid_lab.parts.aggregator import Aggregator, MambaSpec, Neighbours

GRID, WIDTH, FEATURE = (3, 2), 8, 10


def built(seed=0, feature=FEATURE, **knobs):
    """An aggregator whose weights have all moved, in float64."""
    part = Aggregator(MambaSpec(**({"states": 3} | knobs)), WIDTH, feature, GRID, 3, seed=seed).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return part


def images(count, feature=FEATURE):
    generator = torch.Generator().manual_seed(3)
    shapes = (count, feature), (count, GRID[0] * GRID[1], WIDTH)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def by_hand(part, feature, tokens, roles):
    """The images of one group: features (k, F), tokens (k, P, D) and their modalities, in the order of the scan."""
    x = list(tokens)
    for layer in part.layers:
        values, gates = [], []
        for one, role in zip(x, roles, strict=True):
            value, gate = (one @ layer.enter[role].weight.T).chunk(2, dim=-1)
            grid = value.T.reshape(1, -1, *GRID)
            near = layer.near[role]
            conv = F.conv2d(grid, near.conv.weight, near.conv.bias, padding=1, groups=grid.shape[1])
            values.append(F.silu(near.norm(conv[0].flatten(1).T)))
            gates.append(F.silu(gate))
        if len(layer.scans) == 1:
            runs = [(0, torch.cat(values))]
        else:
            runs = list(zip(roles, values, strict=True))
        mixed = []
        for number, run in runs:
            out = layer.scans[number](run[None])[0]
            if len(layer.back):
                out = out + layer.back[number](run.flip(0)[None])[0].flip(0)
            mixed.append(out)
        parts = torch.cat(mixed).split([len(gate) for gate in gates])
        x = [one + (m * g) @ layer.leave.weight.T for one, m, g in zip(x, parts, gates, strict=True)]
    found = []
    for own, one, role in zip(feature, x, roles, strict=True):
        result = part.reduce[role](torch.cat([own, one.mean(dim=0)]))
        found.append(result if part.gate is None else own + part.gate * result)
    return torch.stack(found)


@pytest.mark.parametrize(
    "knobs",
    [{}, {"both_ways": True}, {"norm": "none", "layers": 1}, {"gate": "as_published", "expand": 1}],
)
def test_against_a_loop_over_groups(knobs):
    """Groups 4, 7 and 9 have three, two and one modality; images stand role by role, as a batch has them."""
    part = built(**knobs)
    groups = {4: (0, 1, 2), 7: (0, 2), 9: (1,)}
    rows = torch.tensor([4, 7, 4, 9, 4, 7])
    route = torch.tensor([0, 0, 1, 1, 2, 2])
    feature, tokens = images(6)
    ours = part(feature, tokens, route, rows)
    for group, roles in groups.items():
        here = rows == group
        wanted = by_hand(part, feature[here], tokens[here], roles)
        torch.testing.assert_close(ours[here], wanted, rtol=1e-9, atol=1e-9)


def test_a_modality_sees_those_before_it_and_both_ways_all():
    """A group's first modality is what it would be alone, unless a second scan comes back to it."""
    feature, tokens = images(3)
    route, rows = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    for both_ways in (False, True):
        part = built(both_ways=both_ways)
        whole, alone = part(feature, tokens, route, rows), part(feature[:1], tokens[:1], route[:1], rows[:1])
        last = part(feature[2:], tokens[2:], route[2:], rows[2:])
        assert torch.allclose(whole[:1], alone, atol=1e-9) is not both_ways
        assert not torch.allclose(whole[2:], last, atol=1e-6)


def test_a_closed_gate_leaves_the_feature():
    part = Aggregator(MambaSpec(), WIDTH, FEATURE, GRID, 3, seed=0).double()
    feature, tokens = images(3)
    assert torch.equal(part(feature, tokens, torch.arange(3), torch.zeros(3, dtype=torch.int64)), feature)


def test_a_batch_norm_folds_into_a_convolution_without_a_norm():
    """What MambaPro evaluates: convolution, BatchNorm with its statistics, SiLU."""
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4), nn.SiLU()).eval()
    norm = theirs[1]
    with torch.no_grad():
        for value, low in ((norm.weight, 0.5), (norm.running_var, 0.5), (norm.bias, -1.0), (norm.running_mean, -1.0)):
            value.copy_(torch.rand(4) + low)
        ours, factor = Neighbours(4, GRID, normed=False), norm.weight / (norm.running_var + norm.eps).sqrt()
        ours.conv.weight.copy_(theirs[0].weight * factor[:, None, None, None])
        ours.conv.bias.copy_((theirs[0].bias - norm.running_mean) * factor + norm.bias)
        x = torch.randn(2, 6, 4)
        wanted = theirs(x.transpose(1, 2).view(2, 4, *GRID)).flatten(2).transpose(1, 2)
        torch.testing.assert_close(ours(x), wanted)


def test_what_two_forms_share_begins_alike():
    both, one = (
        Aggregator(MambaSpec(both_ways=ways), WIDTH, FEATURE, GRID, 3, seed=1).state_dict() for ways in (True, False)
    )
    assert one.keys() < both.keys()
    assert all(torch.equal(value, both[key]) for key, value in one.items())
