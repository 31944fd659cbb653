"""RGBNT100: one file holds three items; what its reader finds in a written folder, and what it says of a bad one."""

import os
import shutil
from functools import partial

import numpy as np
import pytest
from PIL import Image

from reid_lab.data.items import delivered_size
from reid_lab.data.readers.rgbnt100 import read
from reid_lab.data.reading import Faults
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.errors import DataError
from tests.data.readers import layouts

opened, faults = partial(layouts.opened, "rgbnt100"), partial(layouts.told, "rgbnt100")
ROLES = ("rgb", "nir", "tir")
SIZE = (128, 256)
SMALL = SyntheticSpec(
    preset="smoke",
    roles=ROLES,
    train_identities=3,
    val_identities=1,
    test_identities=2,
    train_images=2,
    eval_images=3,
    image_size=(32, 16),
)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return open_synthetic(SMALL, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def written(embedded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "RGBNT100"
    return layouts.written("rgbnt100", embedded, folder)


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "RGBNT100")


def in_order(items, rows):
    return rows[np.lexsort((items.image_id[rows], items.role[rows], items.camid[rows], items.pid[rows]))]


def test_a_written_folder_gives_the_world_back(embedded, folder):
    dataset = opened(folder)
    found, world = dataset.items, embedded.items
    here = in_order(found, np.flatnonzero(found.side != "query"))
    there = in_order(world, np.arange(len(world)))
    assert np.array_equal(found.pid[here], world.pid[there] + 1)  # the names count from 1
    assert np.array_equal(found.camid[here], world.camid[there])
    assert np.array_equal(found.role[here], world.role[there])
    assert np.array_equal(found.split[here], np.where(world.split[there] == "val", "train", world.split[there]))
    assert np.array_equal(found.side[here], np.where(found.split[here] == "test", "gallery", ""))
    assert delivered_size(dataset) == SIZE
    for role in ROLES:
        mine, theirs = here[found.role[here] == role], there[world.role[there] == role]
        pixels = dataset.images(mine, None)
        assert pixels.shape == (len(mine), 3, *SIZE)
        assert np.array_equal(pixels, np.broadcast_to(embedded.images(theirs, SIZE), pixels.shape))


def test_one_file_holds_three_crops(folder):
    dataset = opened(folder)
    items = dataset.items
    path = folder / items.path[0]
    with Image.open(path) as file:
        assert file.size == (768, 128)
        whole = np.asarray(file.convert("RGB"))
    assert items.path[:3].tolist() == [items.path[0]] * 3
    assert items.role[:3].tolist() == list(ROLES)
    assert items.image_id[:4].tolist() == [0, 0, 0, 1]
    for row in range(3):
        crop = whole[:, 256 * row : 256 * (row + 1)].transpose(2, 0, 1)
        assert np.array_equal(dataset.images(np.array([row]), None)[0], crop)


def test_every_query_keeps_matches_of_other_cameras(folder):
    items = opened(folder).items
    queries = np.flatnonzero((items.side == "query") & (items.role == "rgb"))
    gallery = np.flatnonzero((items.side == "gallery") & (items.role == "rgb"))
    assert len(queries) == 2
    assert len(gallery) == 6
    for query in queries:
        same = gallery[items.pid[gallery] == items.pid[query]]
        assert (items.camid[same] == items.camid[query]).sum() == 1  # its own copy
        assert (items.camid[same] != items.camid[query]).sum() == 2


@pytest.mark.parametrize("below", ["..", ".", "rgbir"])
def test_the_folder_above_and_the_one_inside_may_be_named(folder, below):
    items = opened(folder / below).items
    prefix = {"..": "RGBNT100/rgbir/", ".": "rgbir/", "rgbir": ""}[below]
    assert items.path[0] == f"{prefix}bounding_box_train/0001_c{items.camid[0] + 1:04d}_{items.path[0][-7:]}"


def test_numbers_do_not_depend_on_the_order_of_the_file_system(folder, monkeypatch):
    before = opened(folder).items
    monkeypatch.setattr(os, "scandir", layouts.Backwards)
    after = read(folder, Faults()).items
    for name in ("path", "pid", "camid", "image_id", "side"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name


@pytest.mark.parametrize("name", ["0501_c0009_000.jpg", "0501_c0000_000.jpg", "-1_c0001_000.jpg", "cover.jpg"])
def test_a_strange_name_is_told(folder, name):
    where = folder / "rgbir" / "query" / name
    where.write_text("x")
    assert faults(folder) == [
        f"{where}: the name must look like 0502_c0001_000.jpg (vehicle, camera from 1 to 8)",
    ]


def test_strays_are_left_alone(folder):
    (folder / "rgbir" / "query" / "Thumbs.db").write_text("x")
    (folder / "readme.txt").write_text("x")
    assert len(opened(folder).items) == 3 * (9 + 6 + 2)


def test_what_is_wrong_is_told_together(folder):
    train = sorted((folder / "rgbir" / "bounding_box_train").iterdir())
    train[0].write_bytes(b"")
    (folder / "rgbir" / "query" / "x.jpg").write_text("x")
    for path in (folder / "rgbir" / "bounding_box_test").iterdir():
        path.unlink()
    told = faults(folder)
    assert told == [
        f"{folder / 'rgbir' / 'query' / 'x.jpg'}: "
        "the name must look like 0502_c0001_000.jpg (vehicle, camera from 1 to 8)",
        f"{folder / 'rgbir' / 'bounding_box_test'}: there are no images in it",
        f"{train[0]}: the image is an empty file",
    ]


def test_a_file_with_fewer_crops_is_told_when_it_is_read(folder):
    path = sorted((folder / "rgbir" / "query").iterdir())[0]
    Image.new("RGB", (512, 128)).save(path, format="png")
    dataset = opened(folder)
    rows = np.flatnonzero(dataset.items.path == str(path.relative_to(folder)))
    assert dataset.images(rows[:1], None).shape == (1, 3, *SIZE)
    with pytest.raises(DataError, match=path.name):
        dataset.images(rows[2:], None)


def test_a_wrong_folder_is_told_with_what_is_meant(folder):
    (told,) = faults(folder / "rgbir" / "query")
    assert "data.root must hold rgbir/ with bounding_box_train/" in told
    assert f"is {folder / 'rgbir'} meant?" in told
