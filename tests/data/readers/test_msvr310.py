"""MSVR310: scenes, vehicles' folders; what its reader finds in a written folder, and what it says of a bad one."""

import os
import shutil
from functools import partial

import numpy as np
import pytest

from reid_lab.data.protocols import PROTOCOLS, Options
from reid_lab.data.readers.msvr310 import read
from reid_lab.data.reading import Faults
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from tests.data.readers import layouts

opened, faults = partial(layouts.opened, "msvr310"), partial(layouts.told, "msvr310")
ROLES = ("rgb", "nir", "tir")
SMALL = SyntheticSpec(
    preset="smoke",
    roles=ROLES,
    train_identities=3,
    val_identities=1,
    test_identities=2,
    train_images=2,
    eval_images=4,
    image_size=(32, 16),
)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return open_synthetic(SMALL, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def written(embedded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "MSVR310"
    return layouts.written("msvr310", embedded, folder)


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "MSVR310")


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
    images = {pid: np.unique(world.image_id[world.pid == pid]).tolist() for pid in np.unique(world.pid).tolist()}
    scenes = [images[pid].index(moment) % 2 + 1 for pid, moment in zip(world.pid, world.image_id, strict=True)]
    assert np.array_equal(found.scene[here], np.array(scenes)[there])
    for role in ROLES:
        mine, theirs = here[found.role[here] == role], there[world.role[there] == role]
        pixels = dataset.images(mine, None)
        assert pixels.shape[1] == 3
        assert np.array_equal(pixels, np.broadcast_to(embedded.images(theirs, None), pixels.shape))


def test_the_scene_filter_removes_some_matches_and_leaves_some(folder):
    items = opened(folder).items
    queries = np.flatnonzero((items.side == "query") & (items.role == "rgb"))
    gallery = np.flatnonzero((items.side == "gallery") & (items.role == "rgb"))
    assert len(queries) == 2
    for query in queries:
        same = gallery[items.pid[gallery] == items.pid[query]]
        removed = same[items.scene[same] == items.scene[query]]
        assert len(removed) == 2
        assert len(same) - len(removed) == 2
        assert (items.camid[removed] != items.camid[query]).sum() == 1  # the camera filter would have left it


def test_the_protocol_filters_scenes(folder):
    (task,) = PROTOCOLS["multispectral"].tasks(opened(folder), "test", Options())
    assert "scene" in task.removed
    assert (len(task.queries), len(task.gallery)) == (2, 8)
    assert tuple(task.queries.members) == ROLES


def test_the_three_images_of_a_moment_share_it_and_queries_are_moments_of_their_own(folder):
    items = opened(folder).items
    assert items.image_id.tolist() == [row // 3 for row in range(len(items))]
    assert items.role.tolist() == list(ROLES) * (len(items) // 3)
    assert {path.split("/")[0] for path in items.path[items.side == "query"]} == {"query3"}


def test_names_are_those_of_the_authors(folder):
    names = [path.name for path in (folder / "query3" / "0005" / "th").iterdir()]
    assert len(names) == 1
    assert names[0].startswith("0005_s001_v")
    assert names[0].endswith("_000.jpg")


def test_numbers_do_not_depend_on_the_order_of_the_file_system(folder, monkeypatch):
    before = opened(folder).items
    monkeypatch.setattr(os, "scandir", layouts.Backwards)
    after = read(folder, Faults()).items
    for name in ("path", "pid", "camid", "scene", "image_id", "side"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name


def test_a_moment_without_one_spectrum_is_told_or_goes_without(folder):
    lost = next((folder / "query3" / "0005" / "ni").iterdir())
    lost.unlink()
    assert faults(folder) == [f"{lost}: the image is missing"]
    items = opened(folder, missing="skip").items
    assert items.role[(items.side == "query") & (items.pid == 5)].tolist() == ["rgb", "tir"]


def test_folders_that_may_not_be_read_are_told_all_at_once(folder, monkeypatch):
    real, shut = os.scandir, [folder / "query3" / "0005" / "ni", folder / "bounding_box_test" / "0006" / "th"]

    def guarded(path):
        if path in shut:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert faults(folder) == [f"{path}: the folder cannot be read (Permission denied)" for path in shut]


def test_what_is_wrong_is_told_together(folder):
    vehicle = folder / "bounding_box_test" / "0006"
    sorted((vehicle / "vis").iterdir())[0].write_bytes(b"")
    (vehicle / "th" / "0005_s001_v0_000.jpg").write_text("x")
    (vehicle / "th" / "cover.jpg").write_text("x")
    (folder / "bounding_box_test" / "0007").mkdir()
    (folder / "query3" / "Thumbs.db").write_text("x")
    told = faults(folder)
    assert told == [
        f"{vehicle / 'th' / '0005_s001_v0_000.jpg'}: "
        "the name must look like 0006_s002_v0_000.jpg (vehicle, scene, camera)",
        f"{vehicle / 'th' / 'cover.jpg'}: the name must look like 0006_s002_v0_000.jpg (vehicle, scene, camera)",
        f"{folder / 'bounding_box_test' / '0007'}: no images in its folders vis, ni, th",
        f"{sorted((vehicle / 'vis').iterdir())[0]}: the image is an empty file",
    ]


@pytest.mark.parametrize("below", ["..", "."])
def test_the_folder_above_may_be_named(folder, below):
    assert opened(folder / below).items.pid.tolist() == opened(folder).items.pid.tolist()


def test_a_wrong_folder_is_told_with_what_is_meant(folder, tmp_path):
    (told,) = faults(folder / "query3")
    assert f"is {folder} meant?" in told
    (folder / "query3").rename(tmp_path / "gone")
    assert faults(folder) == [f"{folder / 'query3'}: no vehicles in it, or no such folder"]
