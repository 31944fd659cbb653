"""Augmentation of batches against a plain loop over images, its statistics, and what it does not depend on."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from reid_lab.contracts import Batch, Input, InputSpec
from reid_lab.data.augment import Augmentation, erasing_mask, make_prepare
from reid_lab.errors import DataError, SpecError
from reid_lab.seeding import keys as sample_keys
from reid_lab.seeding import uniform

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IRRA = Augmentation(
    flip=0.5, pad=3, erase=0.5, erase_area=(0.02, 0.4), erase_aspect=0.3, erase_value="clip_mean", shared=False
)
PLAIN = replace(IRRA, flip=0.0, pad=0, erase=0.0)
SPEC = InputSpec(size=(12, 8), mean=MEAN, std=STD)


def pictures(n, channels=3, size=(12, 8), seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, channels, *size), dtype=np.uint8))


def batch_of(images, keys=None, rows=None, **others):
    n = len(images) if rows is None else int(rows.max()) + 1
    keys = sample_keys(0, 0, torch.arange(n)) if keys is None else keys
    inputs = {"rgb": Input(images, torch.arange(len(images)) if rows is None else rows), **others}
    return Batch({"pids": torch.zeros(n, dtype=torch.int64), "keys": keys}, inputs)


def prepared(batch, augmentation, **specs):
    return make_prepare({"rgb": SPEC, **specs}, augmentation)(batch).inputs


def loop(images, keys, augmentation, name="rgb"):
    """The same, one image and one pixel rectangle at a time."""
    out = []
    for image, key in zip(images.numpy(), keys, strict=True):
        draw = uniform(key[None], f"augment/{name}", 3)[0].numpy()
        height, width = image.shape[1:]
        if draw[0] < augmentation.flip:
            image = image[:, :, ::-1]
        pad = augmentation.pad
        padded = np.zeros((3, height + 2 * pad, width + 2 * pad), dtype=np.uint8)
        padded[:, pad : pad + height, pad : pad + width] = image
        top, left = (int(d * np.float32(2 * pad + 1)) for d in draw[1:])
        image = padded[:, top : top + height, left : left + width]
        value = (image / np.float32(255) - np.float32(MEAN)[:, None, None]) / np.float32(STD)[:, None, None]
        tries = uniform(key[None], f"erase/{name}", 41)[0].numpy()
        if tries[0] < augmentation.erase:
            low, high = augmentation.erase_area
            for area, aspect, y, x in tries[1:].reshape(10, 4).tolist():
                target = (low + (high - low) * area) * height * width
                ratio = math.exp((1 - 2 * aspect) * math.log(augmentation.erase_aspect))
                tall, wide = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
                if tall < height and wide < width:
                    row, column = int(y * (height - tall + 1)), int(x * (width - wide + 1))
                    colour = MEAN if augmentation.erase_value == "clip_mean" else (0.0, 0.0, 0.0)
                    value[:, row : row + tall, column : column + wide] = np.array(colour)[:, None, None]
                    break
        out.append(torch.from_numpy(value.astype(np.float32)))
    return torch.stack(out)


@pytest.mark.parametrize(
    "augmentation",
    [
        IRRA,
        replace(IRRA, erase_value="zero"),
        replace(IRRA, flip=1.0, erase=1.0),
        replace(IRRA, pad=0),
        replace(IRRA, flip=0.0, erase=0.0),
        PLAIN,
    ],
)
def test_equals_a_plain_loop_over_images(augmentation):
    images = pictures(200)
    batch = batch_of(images)
    expected = loop(images, batch.groups["keys"], augmentation)
    torch.testing.assert_close(prepared(batch, augmentation)["rgb"].values, expected, rtol=0, atol=1e-6)


def test_without_augmentation_images_are_normalised_and_nothing_else():
    images = pictures(4)
    found = prepared(batch_of(images), None)["rgb"].values
    expected = (images.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", ["clip_mean", "zero", "noise"])
def test_an_image_is_augmented_alike_in_any_batch(value):
    augmentation = replace(IRRA, erase_value=value)
    images = pictures(40)
    keys = sample_keys(7, 3, torch.arange(40))
    whole = prepared(batch_of(images, keys), augmentation)["rgb"].values
    order = torch.from_numpy(np.random.default_rng(1).permutation(40))
    shuffled = prepared(batch_of(images[order], keys[order]), augmentation)["rgb"].values
    assert torch.equal(shuffled, whole[order])
    for index in (0, 17, 39):
        alone = prepared(batch_of(images[index : index + 1], keys[index : index + 1]), augmentation)["rgb"].values
        assert torch.equal(alone[0], whole[index])


def test_another_epoch_or_seed_augments_otherwise():
    images = pictures(1).expand(64, -1, -1, -1)
    results = [
        prepared(batch_of(images, sample_keys(seed, epoch, torch.arange(64))), IRRA)["rgb"].values
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(results[0], results[3])


def marks():
    """Images that tell where each pixel came from: no two pixels of one are alike."""
    return torch.arange(96, dtype=torch.uint8).view(1, 1, 12, 8).expand(64, 3, -1, -1) + 1


@pytest.mark.parametrize("shared", [True, False])
def test_the_images_of_a_group_share_a_draw_only_where_it_is_asked_for(shared):
    nir = Input(marks(), torch.arange(64))
    augmentation = replace(IRRA, shared=shared, erase_value="zero")
    found = prepared(batch_of(marks(), nir=nir), augmentation, nir=SPEC)
    same = [torch.equal(a, b) for a, b in zip(found["rgb"].values, found["nir"].values, strict=True)]
    assert all(same) if shared else sum(same) < 8


def test_rows_choose_the_key_of_their_group():
    rows = torch.tensor([2, 0, 2])
    keys = sample_keys(0, 0, torch.arange(3))
    found = prepared(batch_of(marks()[:3], keys, rows), IRRA)["rgb"].values
    alone = prepared(batch_of(marks()[:1], keys[2:]), IRRA)["rgb"].values
    assert torch.equal(found[0], alone[0])
    assert torch.equal(found[0], found[2])


def test_half_of_the_images_are_flipped_and_offsets_are_uniform():
    n = 20000
    corner = torch.zeros(n, 3, 9, 9, dtype=torch.uint8)
    corner[:, :, 4, 3] = 255
    spec = InputSpec(size=(9, 9))
    batch = batch_of(corner, sample_keys(0, 0, torch.arange(n)))
    found = make_prepare({"rgb": spec}, replace(PLAIN, flip=0.5, pad=2))(batch).inputs["rgb"].values
    place = found[:, 0].flatten(1).argmax(dim=1)
    row, column = place // 9, place % 9
    share = row.bincount(minlength=9)[2:7] / n
    torch.testing.assert_close(share, torch.full((5,), 0.2), rtol=0, atol=0.015)
    columns = column.bincount(minlength=9) / n  # at 3 or, flipped, at 5; each moved by -2 … 2
    expected = torch.tensor([0, 0.1, 0.1, 0.2, 0.2, 0.2, 0.1, 0.1, 0])
    torch.testing.assert_close(columns, expected, rtol=0, atol=0.015)


def test_rectangles_have_the_asked_for_probability_area_and_shape():
    n, size = 20000, (96, 48)
    mask = erasing_mask(sample_keys(0, 0, torch.arange(n)), "rgb", size, replace(IRRA, erase=0.5))
    area = mask.flatten(1).sum(dim=1) / (size[0] * size[1])
    erased = area > 0
    assert erased.float().mean().item() == pytest.approx(0.5, abs=0.015)
    assert area[erased].min() > 0.018
    assert area[erased].max() < 0.42
    tall, wide = mask.any(dim=2).sum(dim=1)[erased], mask.any(dim=1).sum(dim=1)[erased]
    assert torch.equal(tall * wide, mask.flatten(1).sum(dim=1)[erased]), "a rectangle, without holes"
    ratio = tall / wide
    assert ratio.min() > 0.25
    assert ratio.max() < 4.2
    top = mask.any(dim=2).int().argmax(dim=1)[erased]
    assert (top == 0).any()
    assert (top + tall == size[0]).any()


def test_rectangles_that_do_not_fit_leave_the_image_whole():
    square = replace(IRRA, erase=1.0, erase_area=(1.0, 1.0), erase_aspect=1.0)
    assert not erasing_mask(sample_keys(0, 0, torch.arange(100)), "rgb", (8, 8), square).any()


def test_noise_is_normal_and_fills_only_what_is_erased():
    images = torch.full((400, 3, 96, 48), 128, dtype=torch.uint8)
    keys = sample_keys(0, 0, torch.arange(400))
    augmentation = replace(PLAIN, erase=1.0, erase_value="noise")
    found = make_prepare({"rgb": SPEC}, augmentation)(batch_of(images, keys)).inputs["rgb"].values
    mask = erasing_mask(keys, "rgb", (96, 48), augmentation)
    kept = found.permute(0, 2, 3, 1)[~mask]
    assert torch.equal(kept, kept[:1].expand_as(kept))
    noise = found.permute(0, 2, 3, 1)[mask]
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)
    assert noise.std().item() == pytest.approx(1.0, abs=0.01)
    assert abs(torch.corrcoef(noise.T)[0, 1].item()) < 0.01


def test_text_passes_through():
    ids = torch.arange(12).view(3, 4)
    text = InputSpec(tokenize=lambda captions: ids, max_length=4)
    found = prepared(batch_of(pictures(3), caption=Input(ids, torch.arange(3))), IRRA, caption=text)
    assert torch.equal(found["caption"].values, ids)


@pytest.mark.parametrize("augmentation", [None, IRRA])
def test_a_trailing_singleton_axis_is_taken_off(augmentation):
    images = pictures(5)
    plain, trailing = (prepared(batch_of(i), augmentation)["rgb"].values for i in (images, images[..., None]))
    assert torch.equal(plain, trailing)


@pytest.mark.parametrize("shape", [(5, 12, 8), (5, 3, 12, 8, 2), (5, 1, 3, 12, 8, 1)])
def test_any_other_rank_is_refused_with_its_shape(shape):
    with pytest.raises(DataError, match=rf"got shape \({', '.join(map(str, shape))}\)"):
        prepared(batch_of(torch.zeros(shape, dtype=torch.uint8)), IRRA)


def test_one_channel_is_normalised_by_the_first_mean():
    nir = replace(SPEC, channels=1)
    images = pictures(2, channels=1)
    found = make_prepare({"rgb": nir}, IRRA)(batch_of(images)).inputs["rgb"].values
    assert found.shape == (2, 1, 12, 8)
    plain = make_prepare({"rgb": nir}, None)(batch_of(images)).inputs["rgb"].values
    torch.testing.assert_close(plain, (images / 255 - MEAN[0]) / STD[0])


def test_too_few_means_are_refused():
    with pytest.raises(SpecError, match="rgb: mean has 1 values for 3 channels"):
        make_prepare({"rgb": replace(SPEC, mean=(0.5,))}, None)


@pytest.mark.slow
def test_a_batch_takes_a_few_milliseconds():
    spec = InputSpec(size=(96, 48), mean=MEAN, std=STD)
    prepare = make_prepare({"rgb": spec}, replace(IRRA, pad=10))
    batch = batch_of(pictures(64, size=(96, 48)))
    times = []
    for _ in range(20):
        start = time.perf_counter()
        prepare(batch)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.03
