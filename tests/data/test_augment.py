"""The batched augmentation against a plain loop over images, and its statistics."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from reid_lab.contracts import Batch, Input, InputSpec
from reid_lab.data import augment
from reid_lab.data.augment import (
    Augmentation,
    erasing_boxes,
    erasing_mask,
    fill,
    flip_and_crop,
    gaussian,
    jitter,
    make_prepare,
    moved,
    normalise,
)
from reid_lab.errors import DataError, SpecError
from reid_lab.seeding import keys, mix, uniform

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SPEC = InputSpec(size=(24, 12), mean=MEAN, std=STD)
H, W = 24, 12


def augmentation(**changed):
    values = {
        "flip": 0.5, "pad": 3, "erase": 0.5, "erase_area": (0.02, 0.4), "erase_aspect": 0.3,
        "erase_value": "clip_mean", "shared": False,
    }  # fmt: skip
    return Augmentation(**(values | changed))


def pictures(n, channels=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, H, W), dtype=torch.uint8, generator=draw)


def batch(n, roles=("rgb",), seed=0, **rows):
    labels = {"pids": torch.zeros(n, dtype=torch.int64), "keys": keys(seed, 0, torch.arange(n))}
    inputs = {}
    for role in roles:
        of = rows.get(role, torch.arange(n))
        inputs[role] = Input(pictures(len(of), 1 if role == "nir" else 3), of)
    return Batch(labels, inputs)


def plain(image, key, role, a):
    """One image (C, H, W) as the docstrings say, pixel by pixel."""
    channels = image.shape[0]
    flip, down, right = uniform(key, f"augment/{role}", 3)[0].numpy()
    top, left = int(np.float32(down) * (2 * a.pad + 1)), int(np.float32(right) * (2 * a.pad + 1))
    canvas = np.zeros((channels, H + 2 * a.pad, W + 2 * a.pad), dtype=np.uint8)
    turned = image.numpy()[:, :, ::-1] if flip < a.flip else image.numpy()
    canvas[:, a.pad : a.pad + H, a.pad : a.pad + W] = turned
    pixels = canvas[:, top : top + H, left : left + W].astype(np.float32) / 255
    mean, std = (np.array(v[:channels], dtype=np.float32).reshape(-1, 1, 1) for v in (MEAN, STD))
    pixels = (pixels - mean) / std
    draw = uniform(key, f"erase/{role}", 41)[0].numpy().astype(np.float64)
    if draw[0] < a.erase:
        for area, aspect, y, x in draw[1:].reshape(10, 4):
            area = (a.erase_area[0] + (a.erase_area[1] - a.erase_area[0]) * area) * H * W
            ratio = math.exp((1 - 2 * aspect) * math.log(a.erase_aspect))
            tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if tall < H and wide < W:
                y, x = int(y * (H - tall + 1)), int(x * (W - wide + 1))
                value = MEAN[:channels] if a.erase_value == "clip_mean" else (0.0,) * channels
                pixels[:, y : y + tall, x : x + wide] = np.array(value, dtype=np.float32).reshape(-1, 1, 1)
                break
    return pixels


@pytest.mark.parametrize(
    "changed", [{}, {"erase_value": "zero", "erase": 1.0}, {"pad": 0}, {"flip": 0.0, "erase": 0.0}, {"flip": 1.0}]
)
def test_equals_a_loop_over_images(changed):
    a, before = augmentation(**changed), batch(200)
    after = make_prepare({"rgb": SPEC}, a)(before).inputs["rgb"].values
    for image, key, found in zip(before.inputs["rgb"].values, before.groups["keys"], after, strict=True):
        np.testing.assert_allclose(found.numpy(), plain(image, key[None], "rgb", a), atol=1e-6)


@pytest.mark.parametrize("value", ["clip_mean", "noise", "mean", (0.2, 0.4, 0.6)])
def test_an_image_is_augmented_alike_in_any_batch(value):
    colours = {"jitter": 0.5, "brightness": 0.3, "contrast": 0.3, "saturation": 0.3}
    prepare = make_prepare({"rgb": SPEC}, augmentation(erase_value=value, erase=1.0, **colours))
    whole = batch(37)
    together = prepare(whole).inputs["rgb"].values
    apart = torch.cat([prepare(whole.rows(a, b)).inputs["rgb"].values for a, b in ((0, 1), (1, 20), (20, 37))])
    assert torch.equal(together, apart)
    assert torch.equal(together, prepare(whole).inputs["rgb"].values)


def test_rows_find_their_keys():
    prepare = make_prepare({"rgb": SPEC}, augmentation())
    whole = batch(6)
    some = torch.tensor([4, 1])
    part = Batch(whole.groups, {"rgb": Input(whole.inputs["rgb"].values[some], some)})
    assert torch.equal(prepare(part).inputs["rgb"].values, prepare(whole).inputs["rgb"].values[some])


def test_draws_are_shared_by_a_group_or_by_role():
    both = batch(64, ("rgb", "tir"))
    specs = {"rgb": SPEC, "tir": SPEC}
    shared = make_prepare(specs, augmentation(shared=True))(both).inputs
    assert torch.equal(shared["rgb"].values, shared["tir"].values)
    own = make_prepare(specs, augmentation())(both).inputs
    assert not torch.equal(own["rgb"].values, own["tir"].values)


def test_noise_is_drawn_for_erased_pixels_only():
    before = batch(300)
    prepare = make_prepare({"rgb": SPEC}, augmentation(flip=0.0, pad=0, erase=1.0, erase_value="noise"))
    after = prepare(before).inputs["rgb"].values
    changed = after != normalise(before.inputs["rgb"].values, SPEC)
    boxes = erasing_boxes(before.groups["keys"], "rgb", (H, W), augmentation(erase=1.0))
    mask = erasing_mask(boxes, (H, W))
    assert not (changed & ~mask[:, None]).any()
    noise = after.permute(0, 2, 3, 1)[mask]
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    assert abs(float(torch.corrcoef(noise.T)[0, 1])) < 0.02


def test_statistics_of_flips_crops_and_boxes():
    own = keys(1, 0, torch.arange(20_000))
    ramp = torch.arange(1, H * W + 1).view(1, 1, H, W).expand(len(own), 1, H, W).to(torch.int16)
    moved = flip_and_crop(ramp, own, "rgb", flip=0.5, pad=3)
    middle = moved[:, 0, H // 2, W // 2 - 1 : W // 2 + 1].int()
    flipped = middle[:, 0] > middle[:, 1]
    assert abs(float(flipped.float().mean()) - 0.5) < 0.02
    tops = (moved[:, 0, :, W // 2] == 0).int().argmin(dim=1)  # rows of padding above: 3, 2, 1 or 0
    assert abs(float((tops == 3).float().mean()) - 1 / 7) < 0.01
    mask = erasing_mask(erasing_boxes(own, "rgb", (H, W), augmentation()), (H, W))
    area = mask.flatten(1).sum(1) / (H * W)
    assert abs(float((area > 0).float().mean()) - 0.5) < 0.02
    assert 0.01 < float(area[area > 0].min()) < 0.03
    assert 0.35 < float(area.max()) < 0.45
    tall, wide = mask.any(2).sum(1)[area > 0], mask.any(1).sum(1)[area > 0]
    assert float((tall / wide).max()) <= 5  # 1/.3, and rounding
    assert float((tall / wide).min()) >= 0.2


def test_normal_numbers():
    draw = gaussian(keys(0, 0, torch.arange(5_000)), "noise", 20)
    assert abs(float(draw.mean())) < 0.01
    assert abs(float(draw.std()) - 1) < 0.01
    assert abs(float((draw.abs() < 1).float().mean()) - 0.6827) < 0.01
    assert bool(draw.isfinite().all())


def test_evaluation_only_normalises():
    before = batch(3)
    after = make_prepare({"rgb": SPEC}, None)(before).inputs["rgb"].values
    wanted = (before.inputs["rgb"].values.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(
        3, 1, 1
    )
    torch.testing.assert_close(after, wanted.float(), rtol=1e-6, atol=1e-6)


def test_one_channel_takes_the_first_mean():
    spec = InputSpec(size=(H, W), channels=1, mean=MEAN, std=STD)
    before = batch(2, ("nir",))
    after = make_prepare({"nir": spec}, augmentation(flip=0.0, pad=0, erase=0.0))(before).inputs["nir"].values
    torch.testing.assert_close(after, (before.inputs["nir"].values / 255 - MEAN[0]) / STD[0])
    with pytest.raises(SpecError, match="nir: std has 1 values for 3 channels"):
        make_prepare({"nir": InputSpec(channels=3, mean=MEAN, std=(1.0,))}, None)


def test_shapes_of_images():
    before = batch(2)
    tail = Batch(before.groups, {"rgb": Input(before.inputs["rgb"].values[..., None], torch.arange(2))})
    prepare = make_prepare({"rgb": SPEC}, augmentation())
    assert torch.equal(prepare(tail).inputs["rgb"].values, prepare(before).inputs["rgb"].values)
    flat = Batch(before.groups, {"rgb": Input(before.inputs["rgb"].values[0], torch.arange(2))})
    with pytest.raises(DataError, match=r"got shape \(3, 24, 12\)"):
        prepare(flat)


def test_text_passes_through():
    ids = torch.arange(6).view(2, 3)
    before = batch(2)
    both = before.with_inputs(caption=Input(ids, torch.arange(2)))
    text = InputSpec(tokenize=lambda captions: ids, max_length=3)
    after = make_prepare({"rgb": SPEC, "caption": text}, augmentation())(both)
    assert after.inputs["caption"].values is ids


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=9),
    st.sampled_from([1, 3]),
)
def test_a_batch_at_once_moves_as_image_by_image(draws, channels):
    """What a GPU does and what a CPU does: the same pixels, also when an image leaves its frame altogether."""
    flips, down, right = zip(*draws, strict=True)
    draw = torch.Generator().manual_seed(len(draws))
    images = torch.randint(0, 256, (len(draws), channels, 7, 5), dtype=torch.uint8, generator=draw)
    offset = torch.tensor([down, right]).T
    together = moved(images, torch.tensor(flips), offset)
    assert torch.equal(together, augment._moved_singly(images, torch.tensor(flips), offset))
    canvas = np.zeros((channels, 25, 23), dtype=np.uint8)
    canvas[:, 9:16, 9:14] = images[0].numpy()[:, :, ::-1] if flips[0] else images[0].numpy()
    np.testing.assert_array_equal(together[0], canvas[:, 9 + down[0] : 16 + down[0], 9 + right[0] : 14 + right[0]])


def test_an_image_at_a_time_gives_the_same_bits_as_a_batch_at_once():
    before = pictures(40)
    found = normalise(before, SPEC)
    mean, std = torch.tensor(MEAN).view(-1, 1, 1), torch.tensor(STD).view(-1, 1, 1)
    assert torch.equal(found, (before.to(torch.float32) / 255.0 - mean) / std)
    boxes = erasing_boxes(keys(0, 0, torch.arange(40)), "rgb", (H, W), augmentation())
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    masked = torch.where(erasing_mask(boxes, (H, W))[:, None], values[:, :, None, None], found)
    assert torch.equal(fill(found.clone(), boxes, values), masked)


def test_noise_is_that_of_all_boxes_at_once():
    own = keys(4, 0, torch.arange(30))
    images = torch.zeros(30, 3, H, W)
    boxes = erasing_boxes(own, "rgb", (H, W), augmentation())
    found = augment._with_noise(images.clone(), boxes, own, "noise/rgb")
    row, y, x = erasing_mask(boxes, (H, W)).nonzero(as_tuple=True)
    images[row, :, y, x] = gaussian(mix(own[row] ^ (y * W + x)), "noise/rgb", 3)
    torch.testing.assert_close(found, images, rtol=0, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("value", ["clip_mean", "zero", "noise", "mean"])
def test_a_gpu_augments_as_a_cpu_does(value):
    both = batch(64, ("rgb", "nir"))
    specs = {"rgb": SPEC, "nir": replace(SPEC, channels=1)}
    prepare = make_prepare(specs, colourful(brightness=0.3, contrast=0.3, saturation=0.3, erase_value=value))
    here, there = prepare(both).inputs, prepare(both.to(torch.device("cuda"))).inputs
    for role in specs:
        torch.testing.assert_close(there[role].values.cpu(), here[role].values, atol=1e-5, rtol=0)


def colourful(**changed):
    return augmentation(**({"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0} | changed))


@pytest.mark.parametrize(
    ("kind", "enhance", "column"),
    [
        ("brightness", ImageEnhance.Brightness, 1),
        ("contrast", ImageEnhance.Contrast, 2),
        ("saturation", ImageEnhance.Color, 3),
    ],
)
def test_colours_change_as_pillow_changes_them(kind, enhance, column):
    images, own = pictures(50), keys(2, 0, torch.arange(50))
    found = jitter(images, own, "rgb", colourful(**{kind: 0.8}))
    factors = 1 + 0.8 * (2 * uniform(own, "jitter/rgb", 4)[:, column] - 1)
    assert factors.min() < 0.3
    assert factors.max() > 1.6
    for image, factor, after in zip(images, factors, found, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        wanted = np.asarray(enhance(picture).enhance(float(factor))).transpose(2, 0, 1)
        np.testing.assert_array_equal(after.numpy(), wanted)


def test_the_colours_of_so_many_images_change():
    images, own = pictures(2_000), keys(3, 0, torch.arange(2_000))
    found = jitter(images, own, "rgb", colourful(jitter=0.3, brightness=0.5, saturation=0.5))
    share = (found != images).flatten(1).any(1).float().mean()
    assert abs(float(share) - 0.3) < 0.04
    assert torch.equal(jitter(images, own, "rgb", colourful()), images)  # factors of 1


def test_only_colour_images_get_other_colours():
    both = batch(32, ("rgb", "nir", "tir", "cpencil"))
    specs = {"rgb": SPEC, "tir": SPEC, "cpencil": SPEC, "nir": replace(SPEC, channels=1)}
    still = {"flip": 0.0, "pad": 0, "erase": 0.0}
    before = make_prepare(specs, None)(both).inputs
    strong = colourful(**still, brightness=0.5, shared=True)
    after = make_prepare(specs, strong)(both).inputs
    for role in specs:
        assert torch.equal(before[role].values, after[role].values) == (role in ("nir", "tir"))
    assert torch.equal(after["rgb"].values, after["cpencil"].values)  # shared


def test_geometry_is_shared_by_roles_of_other_sizes_and_channels():
    both = batch(50, ("rgb", "nir"))
    specs = {"rgb": SPEC, "nir": replace(SPEC, channels=1)}
    shared = augmentation(shared=True, erase=1.0, erase_value=(1.0, 1.0, 1.0), flip=0.0, pad=0)
    plain, after = (make_prepare(specs, a)(both).inputs for a in (None, shared))
    erased = {role: (after[role].values != plain[role].values).any(1) for role in specs}
    white = (1.0 - MEAN[0]) / STD[0]
    for role in specs:  # a pixel that was white stays white: the box is the hull of what changed
        assert bool((after[role].values[:, 0][erased[role]] - white).abs().max() < 1e-6)
    hull = {role: (found.any(2), found.any(1)) for role, found in erased.items()}
    assert torch.equal(hull["rgb"][0], hull["nir"][0])
    assert torch.equal(hull["rgb"][1], hull["nir"][1])


@pytest.mark.parametrize("value", ["mean", (0.25, 0.5, 0.75)])
def test_what_is_erased_takes_the_colour_that_is_asked_for(value):
    before = batch(64)
    a = augmentation(flip=0.0, pad=0, erase=1.0, erase_value=value)
    after = make_prepare({"rgb": SPEC}, a)(before).inputs["rgb"].values
    images = before.inputs["rgb"].values
    mask = erasing_mask(erasing_boxes(before.groups["keys"], "rgb", (H, W), a), (H, W))
    for image, found, box in zip(images, after, mask, strict=True):
        colour = image.double().mean(dim=(1, 2)) / 255 if value == "mean" else torch.tensor(value).double()
        wanted = (colour - torch.tensor(MEAN).double()) / torch.tensor(STD).double()
        assert box.any()
        torch.testing.assert_close(
            found[:, box].double(), wanted[:, None].expand(-1, int(box.sum())), atol=1e-6, rtol=0
        )
