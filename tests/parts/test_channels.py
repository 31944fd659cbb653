"""From the channels that images have to those that are read."""

import pytest
import torch

from reid_lab.parts.channels import Channels

COLOUR, GREY = torch.randn(2, 3, 4, 5), torch.randn(2, 1, 4, 5)


@pytest.mark.parametrize("kind", ["as_published", "replicate", "luma"])
def test_the_same_number_is_left_alone(kind):
    for image in (COLOUR, GREY):
        assert Channels(image.shape[1], image.shape[1], kind)(image) is image


@pytest.mark.parametrize(
    ("kind", "shares"),
    [("as_published", [1 / 3] * 3), ("replicate", [1.0, 0.0, 0.0]), ("luma", [0.299, 0.587, 0.114])],
)
def test_three_to_one(kind, shares):
    want = sum(share * COLOUR[:, k] for k, share in enumerate(shares))[:, None]
    module = Channels(3, 1, kind)
    torch.testing.assert_close(module(COLOUR), want)
    assert not list(module.parameters())
    assert not module.state_dict()


@pytest.mark.parametrize("kind", ["as_published", "replicate", "luma"])
def test_one_to_three_begins_as_copies_and_learns_as_published(kind):
    module = Channels(1, 3, kind)
    torch.testing.assert_close(module(GREY), GREY.expand(-1, 3, -1, -1))
    assert {name for name, _ in module.named_parameters()} == (
        {"adapt.weight", "adapt.bias"} if kind == "as_published" else set()
    )


def test_other_numbers():
    with pytest.raises(ValueError, match="images have 1 channel or 3; 2 -> 3 is neither way"):
        Channels(2, 3, "luma")
