"""What stands for groups of which the first has both, the second an image, the third a text, the last neither."""

import pytest
import torch
import torch.nn.functional as F

from reid_lab.contracts import Input
from reid_lab.parts.composed import KINDS, placed

A, B, C = (F.normalize(torch.tensor(v), dim=0) for v in ([1.0, 2.0], [3.0, -1.0], [-1.0, 1.0]))
NONE = torch.zeros(2)
IMAGE, TEXT = torch.stack([A, B, NONE, NONE]), torch.stack([C, NONE, A, NONE])
FOUND = {"fused": 3 * torch.stack([B]), "pair_rows": torch.tensor([0])}


def test_features_are_placed_in_their_groups():
    values, rows = torch.stack([A, C]), torch.tensor([2, 0])
    assert torch.equal(placed(torch.zeros(4, 2), values, Input(values, rows)), torch.stack([C, NONE, A, NONE]))
    assert torch.equal(placed(torch.zeros(4, 2), None, None), torch.zeros(4, 2))


@pytest.mark.parametrize(
    ("kind", "both"), [("single_modality", A), ("as_published", B), ("mean", F.normalize(A + C, dim=0))]
)
def test_what_stands_for_a_group(kind, both):
    torch.testing.assert_close(KINDS[kind]()(IMAGE, TEXT, FOUND), torch.stack([both, B, A, NONE]))


def test_without_a_pair_nothing_is_fused():
    given = IMAGE[1:], TEXT[1:], {}
    assert torch.equal(KINDS["as_published"]()(*given), KINDS["single_modality"]()(*given))
