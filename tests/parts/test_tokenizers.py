"""Image shapes, patch grids and position tables."""

import pytest
import torch
import torch.nn.functional as F

from reid_lab.errors import DataError, SpecError
from reid_lab.parts.tokenizers import PatchEmbedding, as_images, patch_grid, resize_positions, square_positions


def test_images_and_a_trailing_singleton():
    images = torch.randn(2, 3, 8, 4)
    assert as_images(images) is images
    assert torch.equal(as_images(images[..., None]), images)


@pytest.mark.parametrize("shape", [(3, 8, 4), (2, 3, 8, 4, 2), (2, 3, 8, 4, 1, 1), (8, 4), (2, 1, 3, 8, 4)])
def test_any_other_rank_is_refused_with_its_shape(shape):
    with pytest.raises(DataError) as error:
        as_images(torch.zeros(shape))
    assert str(tuple(shape)) in str(error.value)


@pytest.mark.parametrize(
    ("size", "patch", "stride", "tokens"),
    [((384, 128), 16, 16, 193), ((256, 128), 16, 16, 129), ((256, 128), 16, 12, 211), ((96, 48), 8, 8, 73)],
)
def test_published_token_counts(size, patch, stride, tokens):
    rows, columns = patch_grid(size, patch, stride)
    assert 1 + rows * columns == tokens
    embed = PatchEmbedding(size, patch, 4, stride=stride)
    assert embed(torch.zeros(1, 3, *size)).shape == (1, tokens, 4)


def test_impossible_grids():
    with pytest.raises(SpecError, match="stride 0"):
        patch_grid((32, 16), 8, 0)
    with pytest.raises(SpecError, match="stride 9 must lie between 1 and the patch size 8"):
        patch_grid((32, 16), 8, 9)
    with pytest.raises(SpecError, match="32x7 is smaller than one patch of 8"):
        patch_grid((32, 7), 8, 8)


def test_patch_embedding_is_class_token_patches_and_positions():
    embed = PatchEmbedding((8, 4), 4, 6, channels=2)
    for value in embed.parameters():
        torch.nn.init.normal_(value)
    images = torch.randn(3, 2, 8, 4)
    tokens = embed(images)
    assert torch.equal(tokens[:, 0], (embed.class_token + embed.positions[0]).expand(3, -1))
    lower = F.linear(images[:, :, 4:].flatten(1), embed.conv.weight.flatten(1), embed.conv.bias)
    torch.testing.assert_close(tokens[:, 2], lower + embed.positions[2])
    assert torch.equal(embed(images[..., None]), tokens)


def test_images_of_another_size_are_refused():
    embed = PatchEmbedding((8, 4), 4, 6)
    with pytest.raises(DataError, match=r"\(n, 3, 8, 4\) are expected; got \(2, 3, 4, 8\)"):
        embed(torch.zeros(2, 3, 4, 8))
    with pytest.raises(DataError, match=r"got \(2, 1, 8, 4\)"):
        embed(torch.zeros(2, 1, 8, 4))


def bilinear(grid, target):
    """Bilinear without antialiasing, pixel centres at (i + 1/2): a plain reference of one channel."""
    rows, columns = grid.shape
    out = torch.zeros(target)
    for i in range(target[0]):
        for j in range(target[1]):
            y = min(max((i + 0.5) * rows / target[0] - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / target[1] - 0.5, 0), columns - 1)
            a, b = int(y), int(x)
            c, d = min(a + 1, rows - 1), min(b + 1, columns - 1)
            u, v = y - a, x - b
            upper = grid[a, b] * (1 - v) + grid[a, d] * v
            out[i, j] = upper * (1 - u) + (grid[c, b] * (1 - v) + grid[c, d] * v) * u
    return out


@pytest.mark.parametrize("target", [(24, 8), (6, 3), (14, 14), (5, 9)])
def test_resize_keeps_the_class_token_and_is_bilinear(target):
    table = torch.randn(1 + 49, 3)
    found = resize_positions(table, (7, 7), target)
    assert torch.equal(found[0], table[0])
    for channel in range(3):
        expected = bilinear(table[1:, channel].view(7, 7), target)
        torch.testing.assert_close(found[1:, channel].view(target), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [(12, 6), (6, 3), (24, 8), (4, 6), (5, 3), (4, 4), (16, 8), (7, 1)])
def test_a_square_table_gives_any_grid_back_exactly(grid):
    table = torch.randn(1 + grid[0] * grid[1], 5)
    square, side = square_positions(table, grid)
    assert square.shape == (1 + side * side, 5)
    assert torch.equal(resize_positions(square, (side, side), grid), table)
