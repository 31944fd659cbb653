"""Features of any subset of modalities, stacked."""

import pytest
import torch

from reid_lab.contracts import Input
from reid_lab.errors import DataError
from reid_lab.parts.subsets import AttentionFusion, ConcatFusion, Mean, MeanDirection, check_present, stacked


def test_items_are_stacked_by_rows_and_several_are_averaged():
    first = Input(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 8.0]]), torch.tensor([2, 0, 2]))
    features, present = stacked([first, None], 3, 2, torch.device("cpu"))
    assert features.tolist() == [[[3, 4], [0, 0]], [[0, 0], [0, 0]], [[3, 5], [0, 0]]]
    assert present.tolist() == [[True, False], [False, False], [True, False]]


def test_a_group_without_any_is_told():
    check_present(torch.tensor([[True, False]]), ("rgb", "nir"))
    with pytest.raises(DataError, match=r"^no input for group 1 of the batch; at least one of rgb, nir is needed$"):
        check_present(torch.tensor([[True, False], [False, False]]), ("rgb", "nir"))


def test_means():
    features, present = torch.tensor([[[3.0, 4.0], [0.0, 2.0], [9.0, 9.0]]]), torch.tensor([[True, True, False]])
    torch.testing.assert_close(Mean()(features, present), torch.tensor([[1.5, 3.0]]))
    torch.testing.assert_close(MeanDirection()(features, present), torch.tensor([[0.3, 0.9]]))


@pytest.mark.parametrize("fusion", [ConcatFusion(3, 8, 16), AttentionFusion(8, 2, 16)])
def test_learned_fusions_begin_near_the_mean(fusion):
    features = torch.randn(6, 3, 8)
    present = torch.tensor([[True, True, True], [True, False, True]] * 3)
    mean, found = Mean()(features, present), fusion(features, present)
    assert 0 < (found - mean).norm() < 0.5 * mean.norm()
