"""The embedded benchmark as a data set: items, cache, labels, errors."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from reid_lab.contracts import IMAGE_ROLES, ROLES
from reid_lab.data.synthetic import ATTRIBUTES, SyntheticSpec, open_synthetic
from reid_lab.data.synthetic.sensors import CHANNELS, render
from reid_lab.data.synthetic.shards import build
from reid_lab.data.synthetic.spec import digest, pixels_key
from reid_lab.errors import DataError

SMALL = {"train_identities": 6, "val_identities": 3, "test_identities": 4, "train_images": 3, "eval_images": 2}


def small(**knobs):
    return SyntheticSpec(preset="smoke", **{**SMALL, "image_size": (32, 16), **knobs})


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return open_synthetic(small(roles=ROLES, outfits=2), tmp_path_factory.mktemp("cache"))


def test_items_are_ordered_and_complete(everything):
    items = everything.items
    scenes = 6 * 3 + 3 * 2 + 4 * 2
    assert len(items) == scenes * len(ROLES)
    assert items.role.tolist() == list(ROLES) * scenes
    assert items.image_id.tolist() == np.repeat(np.arange(scenes), len(ROLES)).tolist()
    assert {
        name: getattr(items, name).dtype for name in ("pid", "camid", "scene", "clothes", "image_id")
    } == dict.fromkeys(("pid", "camid", "scene", "clothes", "image_id"), np.dtype(np.int64))
    is_text = ~np.isin(items.role, IMAGE_ROLES)
    assert [c is not None for c in items.caption] == is_text.tolist()


def test_splits_share_no_identity(everything):
    items = everything.items
    pids = {split: set(items.pid[items.split == split].tolist()) for split in ("train", "val", "test")}
    assert [len(pids[s]) for s in ("train", "val", "test")] == [6, 3, 4]
    assert set.union(*pids.values()) == set(range(13))


def test_images_of_a_person_in_the_evaluation_splits_have_different_cameras(everything):
    items = everything.items
    for pid in range(6, 13):
        cameras = items.camid[(items.pid == pid) & (items.role == "rgb")]
        assert len(set(cameras.tolist())) == len(cameras)


def test_clothes_number_the_outfits(everything):
    items = everything.items
    mine = items.clothes[(items.pid == 2) & (items.role == "rgb")]
    assert mine.tolist() == [4, 5, 4]
    assert len(set(items.clothes.tolist())) == 26


@pytest.mark.parametrize("role", IMAGE_ROLES)
def test_pixels_are_those_of_the_renderer_in_any_order(everything, role):
    items = everything.items
    index = np.flatnonzero(items.role == role)[::-1][:12]
    pixels = everything.images(index, None)
    assert pixels.shape == (12, CHANNELS[role], 32, 16)
    for k, item in enumerate(index):
        split, pid = str(items.split[item]), int(items.pid[item]) - everything.world.first_pid(str(items.split[item]))
        mine = np.flatnonzero((items.pid == items.pid[item]) & (items.role == role))
        image = int(np.flatnonzero(mine == item)[0])
        assert np.array_equal(pixels[k], render(everything.world, split, pid, image, role))


def test_resizing_is_pillows_bilinear(everything):
    index = np.flatnonzero(everything.items.role == "rgb")[:3]
    native, large = everything.images(index, None), everything.images(index, (48, 20))
    expected = Image.fromarray(native[1].transpose(1, 2, 0)).resize((20, 48), Image.Resampling.BILINEAR)
    assert np.array_equal(large[1].transpose(1, 2, 0), np.asarray(expected))
    assert np.array_equal(everything.images(index, (32, 16)), native)


def test_attributes_label_every_scene_and_item(everything):
    for split, scenes in (("train", 18), ("val", 6), ("test", 8)):
        labels = everything.attributes(split)
        assert labels.keys() == ATTRIBUTES.keys()
        for name, column in labels.items():
            assert column.shape == (scenes,)
            assert column.dtype == np.int64
            assert 0 <= column.min() <= column.max() < ATTRIBUTES[name]
    index = np.flatnonzero((everything.items.split == "val") & (everything.items.role == "caption"))
    by_item = everything.item_attributes(index)
    assert all(np.array_equal(by_item[name], column) for name, column in everything.attributes("val").items())


def test_opening_again_renders_nothing(tmp_path):
    first = open_synthetic(small(), tmp_path)
    times = {p: p.stat().st_mtime_ns for p in first.folder.iterdir()}
    again = open_synthetic(small(), tmp_path)
    assert {p: p.stat().st_mtime_ns for p in again.folder.iterdir()} == times
    assert again.digest == first.digest
    assert again.items.caption.tolist() == first.items.caption.tolist()
    assert again.pixel_hash("test", "rgb") == first.pixel_hash("test", "rgb")


@pytest.mark.parametrize(
    "knob",
    [
        {"train_identities": 7}, {"val_identities": 4}, {"test_identities": 5}, {"train_images": 4}, {"eval_images": 3},
        {"hard": 0.9}, {"outfits": 2}, {"seed": 1}, {"image_size": (64, 32)}, {"aligned": True},
    ],
    ids=lambda knob: next(iter(knob)),
)  # fmt: skip
def test_every_knob_of_the_pixels_changes_cache_and_digest(knob):
    assert pixels_key(small(**knob).world) != pixels_key(small().world)
    assert digest(small(**knob)) != digest(small())


@pytest.mark.parametrize("knob", [{"caption_drop": 0.5}, {"caption_error": 0.1}, {"roles": ("rgb", "caption")}])
def test_knobs_of_words_and_roles_change_the_digest_but_keep_the_pixels(knob):
    assert pixels_key(small(**knob).world) == pixels_key(small().world)
    assert digest(small(**knob)) != digest(small())


def test_what_is_not_computed_with_does_not_change_the_digest(tmp_path):
    assert digest(small(root=str(tmp_path))) == digest(small())
    assert digest(small(roles=("caption", "rgb"))) == digest(small(roles=("rgb", "caption")))


def test_other_captions_are_written_beside_the_same_images(tmp_path):
    first, second = open_synthetic(small(), tmp_path), open_synthetic(small(caption_drop=0.0), tmp_path)
    assert first.folder == second.folder
    assert first.items.caption.tolist() != second.items.caption.tolist()


def test_workers_and_one_process_render_the_same_bits(tmp_path):
    world = small().world
    build(tmp_path / "one.npy", world, "train", "rgb", workers=1)
    build(tmp_path / "three.npy", world, "train", "rgb", workers=3)
    assert (tmp_path / "one.npy").read_bytes() == (tmp_path / "three.npy").read_bytes()


def _open_and_hash(folder):
    return open_synthetic(small(), folder).pixel_hash("train", "rgb")


def test_processes_may_build_the_same_cache_at_the_same_time(tmp_path):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        hashes = pool.map(_open_and_hash, [tmp_path] * 3, chunksize=1)
    assert len(set(hashes)) == 1
    assert not list(tmp_path.rglob(".*"))


def test_threads_may_build_the_same_cache_at_the_same_time(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(_open_and_hash, [tmp_path] * 3))) == 1


def test_a_failed_build_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reid_lab.data.synthetic.shards.render", broken)
    with pytest.raises(DataError, match="No space left on device"):
        open_synthetic(small(), tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_damaged_shard_is_named(tmp_path):
    shard = open_synthetic(small(), tmp_path).folder / "val-rgb.npy"
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(DataError, match=r"val-rgb\.npy: damaged shard .*delete it"):
        open_synthetic(small(), tmp_path)
    np.save(shard, np.zeros((2, 3), np.uint8))
    with pytest.raises(DataError, match="damaged shard"):
        open_synthetic(small(), tmp_path)


def test_damaged_captions_are_named(tmp_path):
    words = next(open_synthetic(small(), tmp_path).folder.glob("words-*.json"))
    words.write_text("[")
    with pytest.raises(DataError, match="damaged captions"):
        open_synthetic(small(), tmp_path)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "synthetic").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        open_synthetic(small(), tmp_path)


def test_images_of_several_roles_or_captions_are_refused(everything):
    with pytest.raises(DataError, match="one role"):
        everything.images(np.array([0, 1]), None)
    with pytest.raises(DataError, match="one role"):
        everything.images(np.flatnonzero(everything.items.role == "caption")[:1], None)


def test_roles_go_by_their_aliases_too():
    spec = SyntheticSpec(roles=("vis", "IR", "night", "text"), aliases={"night": "thermal"})
    assert spec.roles == ("rgb", "nir", "tir", "caption")


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"roles": ("rbg",)}, "unknown modality 'rbg'.*did you mean 'rgb'"),
        ({"roles": ("rgb", "vis")}, "each once"),
        ({"roles": ()}, "at least one role"),
        ({"eval_images": 7}, "less than or equal to 6"),
        ({"hard": 1.5}, "less than or equal to 1"),
        ({"outfits": 0}, "greater than or equal to 1"),
        ({"caption_drop": 1.0}, "less than 1"),
        ({"image_size": (8, 48)}, "greater than or equal to 16"),
        ({"val": "none"}, "a val split of its own"),
        ({"preset": "tiny"}, "'smoke', 'default', 'large' or 'pretrain'"),
        ({"identities": 3}, "Extra inputs"),
    ],
)
def test_wrong_specs_are_refused(knob, message):
    with pytest.raises(ValidationError, match=message):
        SyntheticSpec(**knob)
