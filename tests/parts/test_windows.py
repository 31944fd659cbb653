"""Windows over tokens: the published values, explicit loops, and what each choice changes."""

import importlib.util
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from reid_lab.errors import SpecError
from reid_lab.parts.windows import (
    ClassToken,
    MultiScaleWindows,
    OneScale,
    ProjectedWindows,
    WindowedToken,
    Windows,
    WindowSpec,
    window_size,
)

GOLDEN = Path(__file__).parent.parent / "golden"
GRIDS = {"sliding_window_10_tokens": (5, 2), "sliding_window_24_tokens": (6, 4)}
PUBLISHED = Windows(scales=(4, 8, 16), nonlinearity="as_published", injection="add")
PROJECTED = Windows(scales=(4, 8, 16), nonlinearity="as_published", injection="add", project=36)


def read_golden():
    spec = importlib.util.spec_from_file_location("golden", GOLDEN / "golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = read_golden()


def names(inner):
    """Our names of scheme 1, under a prefix -> the note's."""
    found = {f"{inner}fuse_in": "fusion.0", f"{inner}fuse_out": "fusion.2"}
    return found | {f"{inner}scales.{scale}.conv": f"sliding_windows.{i}" for i, scale in enumerate((4, 8, 16))}


def fill(module, name, table):
    """Fills every parameter of a module; returns the note's keys that it has no use for."""
    theirs = {key: torch.from_numpy(np.asarray(value)) for key, value in golden.parameters(name).items()}
    ours = {f"{a}.{kind}": f"{b}.{kind}" for a, b in table.items() for kind in ("weight", "bias")}
    module.load_state_dict({key: theirs[ours[key]] for key in module.state_dict()})
    scheme = next(iter(table.values())).split(".")[0]
    return {key for key in theirs if key.startswith(scheme)} - {ours[key] for key in module.state_dict()}


def made(kind, width, grid, windows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(width, grid, windows, seed=0)


def close(ours, theirs):
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_published_values(name):
    """Both schemes and the strengthened class token; with 10 tokens, a scale of 16 falls back to their mean."""
    values = golden.values(name)
    tokens = torch.from_numpy(values["in.tokens"])
    adapted = made(MultiScaleWindows, 24, GRIDS[name], PUBLISHED)
    projected = made(ProjectedWindows, 24, GRIDS[name], PROJECTED)
    there = {"there.0": "projection.projection.0", "there.1": "projection.projection.1"}
    there |= {"there.3": "projection.projection.3", "back.0": "back_projection.0", "back.1": "back_projection.1"}
    deep = {a: f"projected.multi_scale_extractor.{b}" for a, b in names("inner.").items()}
    unused = fill(adapted, name, {a: f"adapted.{b}" for a, b in names("").items()})
    unused |= fill(projected, name, {a: f"projected.{b}" for a, b in there.items()} | deep)
    assert all("sliding_windows.2." in key for key in unused)
    assert bool(unused) == (name == "sliding_window_10_tokens")
    enhanced = made(WindowedToken, 24, GRIDS[name], PUBLISHED)
    enhanced.windows.load_state_dict(adapted.state_dict())
    with torch.no_grad():
        close(adapted(tokens[:, 1:]), values["out.adapted"])
        close(projected(tokens[:, 1:]), values["out.projected"])
        whole = torch.cat([enhanced(tokens)[:, None], tokens[:, 1:]], dim=1)
        close(whole, values["out.adapted_enhanced_tokens"])


def test_a_run_longer_than_the_tokens_is_their_mean_with_one_warning():
    with pytest.warns(UserWarning, match="windows of 8, 16 tokens over 6 tokens") as told:
        windows = MultiScaleWindows(5, (3, 2), Windows(scales=(4, 8, 16)), seed=0)
    assert len(told) == 1
    tokens = torch.randn(2, 6, 5)
    torch.testing.assert_close(windows.scales["16"](tokens), tokens.mean(1))
    assert not list(windows.scales["8"].parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MultiScaleWindows(5, (8, 2), Windows(scales=(4, 8, 16)), seed=0)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("grid", [(6, 4), (5, 3), (7, 2)])
@pytest.mark.parametrize("scale", [1, 2, 4, 5])
def test_2d_windows_against_a_loop(grid, scale, overlap):
    """Every window by itself: the kernel clipped to the grid, what is left over at the edges is not seen."""
    windows = Windows(kind="conv2d", nonlinearity="as_published", overlap=overlap)
    size = window_size(scale, "conv2d", grid)
    assert size == (min(scale, grid[0]), min(scale, grid[1]))
    one = OneScale(3, size, grid, windows)
    tokens = torch.randn(2, grid[0] * grid[1], 3)
    cells = tokens.view(2, *grid, 3)
    steps = [max(1, round(side * (1 - overlap))) for side in size]
    found = []
    for top in range(0, grid[0] - size[0] + 1, steps[0]):
        for left in range(0, grid[1] - size[1] + 1, steps[1]):
            patch = cells[:, top : top + size[0], left : left + size[1]]
            found.append(torch.einsum("nhwc,ochw->no", patch, one.conv.weight) + one.conv.bias)
    torch.testing.assert_close(one(tokens), torch.stack(found).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_1d_windows_against_a_loop(pooling):
    """With overlap, nonlinearity and each pooling."""
    one = OneScale(3, (4,), (11,), Windows(overlap=0.5, pooling=pooling))
    with torch.no_grad():
        for parameter in one.parameters():
            parameter += 0.3
    tokens = torch.randn(2, 11, 3)
    runs = [tokens[:, at : at + 4] for at in range(0, 8, 2)]
    seen = [torch.einsum("nkc,ock->no", run, one.conv.weight) + one.conv.bias for run in runs]
    seen = torch.stack([torch.nn.functional.gelu(x) for x in seen])
    if pooling == "attention":
        weights = (seen * one.pool.score).sum(2).softmax(0)
        wanted = (seen * weights[:, :, None]).sum(0)
    else:
        wanted = seen.mean(0) if pooling == "mean" else seen.amax(0)
    torch.testing.assert_close(one(tokens), wanted, rtol=1e-4, atol=1e-5)


def moved(windows, order):
    """Whether the feature of a 4x4 grid notices rows of the image in another order."""
    feature = MultiScaleWindows(6, (4, 4), windows, seed=0)
    tokens = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return (feature(tokens.flatten(1, 2)) - feature(tokens[:, order].flatten(1, 2))).abs().max() > 1e-5


def test_published_windows_lose_the_order_of_rows_and_the_corrected_ones_keep_it():
    """A scale of one row of tokens: kernel = stride and a mean see a bag of rows."""
    linear = Windows(scales=(4,), nonlinearity="as_published")
    order = [2, 0, 3, 1]
    assert not moved(linear, order)
    assert moved(Windows(scales=(4,), nonlinearity="as_published", overlap=0.5), order)
    assert moved(Windows(scales=(4,), nonlinearity="as_published", kind="conv2d"), order)


def test_the_gate_begins_closed_and_the_feature_stands_beside():
    tokens = torch.randn(3, 9, 5)
    gated = WindowedToken(5, (4, 2), Windows(scales=(4,)), seed=0)
    assert torch.equal(gated(tokens), tokens[:, 0])
    beside = WindowedToken(5, (4, 2), Windows(scales=(4,), injection="concat"), seed=0)
    assert beside.width == 10
    torch.testing.assert_close(beside(tokens)[:, 5:], beside.windows(tokens[:, 1:]))
    assert torch.equal(ClassToken(5)(tokens), tokens[:, 0])


def test_another_scale_changes_no_weight_of_the_others():
    few = MultiScaleWindows(5, (6, 4), Windows(scales=(8,)), seed=3)
    many = MultiScaleWindows(5, (6, 4), Windows(scales=(4, 8)), seed=3)
    assert torch.equal(few.scales["8"].conv.weight, many.scales["8"].conv.weight)
    assert torch.equal(few.fuse_out.weight, many.fuse_out.weight)
    assert not torch.equal(many.scales["8"].conv.weight[:, :, :4], many.scales["4"].conv.weight)


def test_scales_that_are_not_named_are_those_that_fit():
    grid = {"4": (4, 4), "8": (8, 6)}
    windows = MultiScaleWindows(5, (12, 6), Windows(kind="conv2d"), seed=0)
    assert {name: one.conv.kernel_size for name, one in windows.scales.items()} == grid
    assert list(MultiScaleWindows(5, (12, 6), Windows(), seed=0).scales) == ["4", "8", "16"]


@pytest.mark.parametrize("scales", [(0,), (4, -1), (4, 4), ()])
def test_scales_that_cannot_be(scales):
    with pytest.raises(ValidationError) as caught:
        WindowSpec(scales=scales)
    errors = caught.value.errors()
    assert len(errors) == 1
    assert "\n" not in errors[0]["msg"]
    assert "scale" in errors[0]["msg"]


def test_a_2d_window_larger_than_the_grid():
    with pytest.raises(SpecError) as caught:
        MultiScaleWindows(5, (12, 6), Windows(scales=(4, 16), kind="conv2d"), seed=0)
    assert str(caught.value) == (
        "model.windows.scales: a 16x16 window is larger than the grid of 12x6 tokens both ways; "
        "scales of 1 to 12 are possible, or kind conv1d"
    )
    with pytest.raises(SpecError, match="must be 1 or above"):
        MultiScaleWindows(5, (12, 6), Windows(scales=(0,)), seed=0)


def test_the_number_of_weights_of_the_published_module():
    """8.39 million elements at 512 channels in convolutions and maps with their biases."""
    with torch.device("meta"):
        windows = MultiScaleWindows(512, (16, 8), Windows(scales=(4, 8, 16)), seed=0)
    sizes = [p.numel() for p in windows.parameters()]
    assert sum(sizes) == 512 * 512 * (28 + 4) + 512 * 5
    assert all(a != 0 for a, _ in pairwise(sizes))
