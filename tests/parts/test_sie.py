"""Side information: which vector is added to which tokens, how often, and for whom none is."""

import pytest
import torch

from reid_lab.errors import SpecError
from reid_lab.parts.sie import NoSide, SideInformation, SideSpec, side_information

CAMERAS, VIEWS = torch.tensor([0, 2, -1, 1, 3]), torch.tensor([1, 0, 1, -1, 0])


@pytest.mark.parametrize("site", ["class_token", "all_tokens"])
@pytest.mark.parametrize("of", ["camera", "view", "both"])
def test_what_is_added(of, site):
    """3 cameras and 2 views; camera 3 and -1 are unknown."""
    part = side_information(SideSpec(of=of, coefficient=1.5, site=site), 4, 3, 2, 0)
    tokens = torch.randn(5, 6, 4)
    wanted = tokens.clone()
    for row, (camera, view) in enumerate(zip(CAMERAS.tolist(), VIEWS.tolist(), strict=True)):
        number = {"camera": camera, "view": view, "both": 2 * camera + view}[of]
        known = (0 <= camera < 3 or of == "view") and (0 <= view < 2 or of == "camera")
        if known:
            last = 1 if site == "class_token" else None
            wanted[row, :last] += 1.5 * part.embedding[number].detach()
    torch.testing.assert_close(part(tokens, CAMERAS, VIEWS), wanted)
    assert part.embedding.shape == ({"camera": 3, "view": 2, "both": 6}[of], 4)


def test_only_vectors_that_were_asked_for_learn():
    part = SideInformation(4, 3, 0, 1.0, "class_token")
    part(torch.zeros(2, 3, 4), torch.tensor([1, -1]), torch.tensor([-1, -1])).sum().backward()
    assert part.embedding.grad.tolist() == [[0] * 4, [1] * 4, [0] * 4]


def test_a_coefficient_of_0_is_no_part():
    assert isinstance(side_information(SideSpec(coefficient=0.0), 4, 3, 2, 0), NoSide)
    assert isinstance(side_information(None, 4, 3, 2, 0), NoSide)


def test_data_without_cameras_or_views():
    with pytest.raises(SpecError, match=r"^model\.sie\.of camera: the data tells no cameras; set model\.sie to null$"):
        side_information(SideSpec(), 4, 0, 2, 0)
    with pytest.raises(SpecError, match="no cameras and no views"):
        side_information(SideSpec(of="both"), 4, 0, 0, 0)
    with pytest.raises(SpecError, match=r"^model\.vit\.sie\.of view: .* set model\.vit\.sie\.of to camera, or "):
        side_information(SideSpec(of="view"), 4, 3, 0, 0, "model.vit.sie")
