"""RGBNT201: what its reader finds in a written folder, and what it says of a bad one."""

import os
import shutil
from functools import partial

import numpy as np
import pytest

from reid_lab.data.readers.rgbnt201 import read
from reid_lab.data.reading import Faults
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from tests.data.readers import layouts

opened, faults = partial(layouts.opened, "rgbnt201"), partial(layouts.told, "rgbnt201")
ROLES = ("rgb", "nir", "tir")
SMALL = SyntheticSpec(
    preset="smoke",
    roles=ROLES,
    train_identities=4,
    val_identities=2,
    test_identities=3,
    train_images=3,
    eval_images=2,
    image_size=(32, 16),
)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return open_synthetic(SMALL, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def written(embedded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "RGBNT201"
    return layouts.written("rgbnt201", embedded, folder)


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "RGBNT201")


def in_order(items):
    """Item numbers by person, camera, role and number of the moment; the world and the folder order cameras apart."""
    return np.lexsort((items.image_id, items.role, items.camid, items.pid))


def test_a_written_folder_gives_the_world_back(embedded, folder):
    dataset = opened(folder)
    found, world = dataset.items, embedded.items
    here, there = in_order(found), in_order(world)
    assert len(found) == len(world)
    assert np.array_equal(found.pid[here], world.pid[there] + 1)  # the names count from 1
    assert np.array_equal(found.camid[here], world.camid[there])
    assert np.array_equal(found.role[here], world.role[there])
    assert np.array_equal(found.split[here], np.where(world.split[there] == "val", "train", world.split[there]))
    assert set(found.side.tolist()) == {""}
    for role in ROLES:
        mine, theirs = here[found.role[here] == role], there[world.role[there] == role]
        pixels = dataset.images(mine, None)
        assert pixels.shape[1] == 3  # every spectrum as the published codes read it
        assert np.array_equal(pixels, np.broadcast_to(embedded.images(theirs, None), pixels.shape))


def test_the_three_images_of_a_moment_share_it(embedded, folder):
    items = opened(folder).items
    moments = np.unique(items.image_id)
    assert len(moments) == len(items) // 3
    for moment in moments:
        rows = np.flatnonzero(items.image_id == moment)
        assert items.role[rows].tolist() == list(ROLES)
        assert len({os.path.basename(path) for path in items.path[rows]}) == 1


def test_names_are_those_of_the_authors(folder):
    assert (folder / "train_171" / "TI").is_dir()
    names = sorted(path.name for path in (folder / "test" / "NI").iterdir())
    assert len(names) == 6
    assert all(len(name) == len("000258_cam1_0_00.jpg") and name[6:10] == "_cam" for name in names)


@pytest.mark.parametrize("below", ["", "RGBNT201"])
def test_the_folder_above_may_be_named(folder, below):
    items = opened(folder.parent / below).items
    assert items.path[0].startswith("train_171/" if below else "RGBNT201/train_171/")


def test_numbers_do_not_depend_on_the_order_of_the_file_system(folder, monkeypatch):
    before = opened(folder).items
    monkeypatch.setattr(os, "scandir", layouts.Backwards)
    after = read(folder, Faults()).items
    for name in ("path", "pid", "camid", "image_id", "role"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name


def test_a_moment_without_one_spectrum_is_told_or_goes_without(folder):
    lost = sorted((folder / "test" / "TI").iterdir())[0]
    lost.unlink()
    assert faults(folder) == [f"{lost}: the image is missing"]
    dataset = opened(folder, missing="skip").base
    assert dataset.left_out == (f"test/TI/{lost.name}",)
    rows = [row for row, path in enumerate(dataset.items.path) if path.endswith(lost.name)]
    assert dataset.items.role[rows].tolist() == ["rgb", "nir"]
    assert len(set(dataset.items.image_id[rows].tolist())) == 1


def test_a_missing_photograph_is_told_like_a_missing_infrared_image(folder):
    lost = sorted((folder / "train_171" / "RGB").iterdir())[0]
    lost.unlink()
    assert faults(folder) == [f"{lost}: the image is missing"]


def test_a_missing_spectrum_is_one_fault(folder):
    (folder / "test" / "TI").rename(folder / "elsewhere")
    (told,) = faults(folder)
    assert str(folder / "test" / "TI") in told
    assert "6 images" in told


def test_strays_are_left_alone_and_strange_images_are_named(folder):
    (folder / "test" / "RGB" / "Thumbs.db").write_text("x")
    (folder / "test" / "RGB" / ".DS_Store").write_text("x")
    (folder / "train_141").mkdir()
    assert len(opened(folder).items) == 3 * (4 * 3 + 2 * 2 + 3 * 2)
    for name in ("cover.jpg", "000258_cam0_0_00.jpg"):
        (folder / "test" / "NI" / name).write_text("x")
    told = faults(folder)
    assert [line.split(": ")[0] for line in told] == [
        str(folder / "test" / "NI" / name) for name in ("000258_cam0_0_00.jpg", "cover.jpg")
    ]
    assert all("the name must look like 000258_cam1_0_00.jpg" in line for line in told)


def test_an_empty_file_and_a_person_in_two_splits_are_told_together(folder):
    empty = sorted((folder / "test" / "RGB").iterdir())[0]
    empty.write_bytes(b"")
    for spectrum in ("RGB", "NI", "TI"):
        source = sorted((folder / "train_171" / spectrum).iterdir())[0]
        (folder / "test" / spectrum / source.name).write_bytes(source.read_bytes())
    told = faults(folder)
    assert f"{empty}: the image is an empty file" in told
    assert any("identity 1 stands in two splits: train, test" in line for line in told)
    assert len(told) == 2


def test_a_wrong_folder_is_told_with_what_is_meant(folder, tmp_path):
    (told,) = faults(folder / "test")
    assert "data.root must hold train_171/ and test/" in told
    assert f"is {folder} meant?" in told
    (told,) = faults(folder / "test" / "RGB")
    assert "is the folder above" not in told
    (folder / "test").rename(tmp_path / "gone")
    (told,) = faults(folder)
    assert told.startswith(f"{folder / 'test'}: no images in its folders RGB, NI, TI")
