"""Bad input of the visual architectures, through the command line: a line each, and nothing is begun."""

from __future__ import annotations

import pytest

WINDOW, VIT = "model={name: clip_window, backbone: CLIP}", "model={name: vit_multiscale}"
HYBRID = "model={name: hybrid, clip: {backbone: CLIP}}"
BOTH = (
    "is the name of two trunks; name the weights in full: "
    "CLIP's 'openai/clip-vit-base-patch16' or ImageNet's 'google/vit-base-patch16-224'"
)


@pytest.fixture
def visual(lab):
    """A run of images with overrides, looked at or begun; CLIP stands for the small trunk."""

    def call(*sets, options=()):
        given = ("train.batch={sampler: identity, size: 16, instances: 2}", "eval.protocol=image_to_image", *sets)
        return lab.run(*(text.replace("CLIP", str(lab.clip)) for text in given), options=options)

    return call


@pytest.fixture
def told(lab, visual):
    """The one line that a run and its rehearsal complain in alike."""

    def call(*sets):
        lines = []
        for options in (["--dry-run"], []):
            done = visual(*sets, options=options)
            assert (done.code, done.out) == (2, [])
            assert done.err == done.complaints
            assert not list(lab.runs.glob("*/spec.yaml"))
            lines += done.err
        first, second = lines
        assert first == second
        return first.removeprefix("reid-lab: ")

    return call


@pytest.mark.parametrize(
    ("model", "windows"),
    [(WINDOW, "model.windows"), (VIT, "model.windows"), (HYBRID, "model.vit.windows"), (HYBRID, "model.clip.windows")],
)
@pytest.mark.parametrize("scales", ["[0, 4]", "[-3]"])
def test_a_scale_below_1(told, model, windows, scales):
    line = told(model, f"{windows}={{scales: {scales}}}")
    low = scales.strip("[]").split(",")[0]
    assert line.endswith(f": {windows}.scales: a window of {low} tokens: a scale must be 1 or above")


@pytest.mark.parametrize(
    ("model", "windows", "grid"),
    [
        (WINDOW, "model.windows", "4x2"),
        (VIT, "model.windows", "2x1"),
        (HYBRID, "model.vit.windows", "2x1"),
        (HYBRID, "model.clip.windows", "4x2"),
    ],
)
def test_a_square_that_is_larger_than_the_grid_both_ways(told, model, windows, grid):
    line = told(model, f"{windows}={{kind: conv2d, scales: [1, 8]}}")
    assert line == (
        f"{windows}.scales: a 8x8 window is larger than the grid of {grid} tokens both ways; "
        f"scales of 1 to {grid[0]} are possible, or kind conv1d"
    )


def test_a_square_that_is_larger_than_the_grid_one_way_is_clipped(visual):
    """As published: 4 x 4 on a grid of 4 x 2 is 4 x 2."""
    done = visual(WINDOW, "model.windows={kind: conv2d, scales: [2, 4]}", options=["--dry-run"])
    assert (done.code, done.err) == (0, [])


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_run_longer_than_the_tokens_is_noted_once(visual, options):
    done = visual(WINDOW, "model.windows={scales: [4, 9, 16]}", options=options)
    assert done.code == 0
    assert [line for line in done.err if "windows" in line] == [
        "note: model.windows.scales: windows of 9, 16 tokens over 8 tokens: the mean of all stands for them"
    ]


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("{name: clip_window, backbone: NAME}", "backbone"),
        ("{name: vit_multiscale, backbone: NAME}", "backbone"),
        ("{name: hybrid, clip: {backbone: NAME}}", "clip.backbone"),
        ("{name: hybrid, vit: {backbone: NAME}}", "vit.backbone"),
        ("{name: irra, backbone: NAME}", "backbone"),
        ("{name: clip_mer, backbone: NAME}", "backbone"),
        ("{name: reid5o, backbone: NAME}", "backbone"),
        ("{name: t2ireid, backbone: NAME}", "backbone"),
        ("{name: t2ireid, text_backbone: NAME}", "text_backbone"),
    ],
)
@pytest.mark.parametrize("name", ["ViT-B/16", "ViT-B-16"])
def test_a_short_name_of_two_trunks(lab, told, model, field, name):
    given = f"model={model.replace('NAME', name)}"
    line = told(given)
    assert line.endswith(f": model.{field}: '{name}' {BOTH}")
    shown = lab.call("show", str(lab.file), "--set", given)
    assert (shown.code, shown.out, shown.err) == (2, [], [f"reid-lab: {line}"])


@pytest.mark.parametrize("direct", ["concatenated", "each", "shared"])
def test_heads_of_a_triple_over_data_without_one(told, direct):
    line = told(WINDOW, "model.roles=[rgb, nir, tir]", "model.windows=null", f"model.direct={direct}")
    assert line == "clip_window reads rgb, nir, tir; synthetic has no nir, tir (it has rgb, caption)"


@pytest.mark.parametrize("direct", ["each", "shared"])
def test_heads_of_several_roles_over_one(told, direct):
    line = told(WINDOW, f"model.direct={direct}")
    assert line.endswith(f": model.direct: '{direct}' is a way to read several roles, and there is one")


def test_an_aggregator_of_one_role(told):
    line = told(WINDOW, "model.aggregator={kind: mamba}")
    assert line.endswith(": model.aggregator: it mixes the tokens of several roles, and there is one")


@pytest.mark.parametrize("of", ["view", "both"])
@pytest.mark.parametrize(("model", "sie"), [(WINDOW, "model.sie"), (VIT, "model.sie"), (HYBRID, "model.clip.sie")])
def test_views_that_the_data_does_not_have(told, model, sie, of):
    """In the embedded world every moment is a scene by itself."""
    line = told(model, f"{sie}={{of: {of}}}")
    missing = "the data tells no views (scenes that several images share)"
    assert line == f"{sie}.of {of}: {missing}; set {sie}.of to camera, or {sie} to null"
