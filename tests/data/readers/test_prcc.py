"""PRCC: what the writer lays out, what the reader finds in it, and what it says of a bad folder."""

import re

import numpy as np
import pytest

from reid_lab.data import DATASETS
from reid_lab.data.protocols import PROTOCOLS, Options
from reid_lab.data.reading import Counts
from reid_lab.data.synthetic import open_synthetic
from reid_lab.errors import DataError
from tests.data.readers.layouts import (
    SMALL,
    carved,
    column,
    fill,
    opened,
    same_in_any_order,
    same_pixels,
    small,
    told,
    valid,
    written,
)

LEARNT = re.compile(r"rgb/(train|val)/(\d{3})/([ABC])_cropped_rgb(\d{3})\.jpg")
TESTED = re.compile(r"rgb/(test)/([ABC])/(\d{3})/cropped_rgb(\d{3})\.jpg")
FEW = (
    "rgb/train/092/A_cropped_rgb010.jpg",
    "rgb/train/092/C_cropped_rgb253.jpg",
    "rgb/train/121/B_cropped_rgb052.jpg",
    "rgb/val/092/B_cropped_rgb011.jpg",
    "rgb/test/A/001/cropped_rgb001.jpg",
    "rgb/test/B/001/cropped_rgb001.jpg",
    "rgb/test/C/001/cropped_rgb001.jpg",
)
LAYOUT = "data.root must hold rgb/ with train/, val/ and test/"


@pytest.fixture(scope="module")
def world(world_cache):
    return small(world_cache)


@pytest.fixture(scope="module")
def prcc(world, tmp_path_factory):
    return written("prcc", world, tmp_path_factory.mktemp("made") / "prcc")


@pytest.fixture
def few(tmp_path):
    return fill(tmp_path / "few", FEW)


def test_the_written_layout_is_the_published_one(prcc):
    paths = sorted(path.relative_to(prcc).as_posix() for path in prcc.rglob("*.jpg"))
    learnt = [match for match in map(LEARNT.fullmatch, paths) if match]
    tested = [match for match in map(TESTED.fullmatch, paths) if match]
    assert len(learnt) + len(tested) == len(paths)
    people = {folder: {match[2] for match in learnt if match[1] == folder} for folder in ("train", "val")}
    assert people["val"] < people["train"] == {f"{pid:03d}" for pid in range(1, 7)}
    assert len([match for match in learnt if match[1] == "val"]) == 3  # of 24
    shown = {camera: sorted(match[3] for match in tested if match[2] == camera) for camera in "ABC"}
    everybody = [f"{pid:03d}" for pid in range(9, 13)]
    assert shown == {"A": everybody, "B": everybody, "C": sorted(everybody * 2)}


@pytest.mark.parametrize("inside", ["", "rgb"])
def test_the_reader_finds_the_world(world, prcc, inside):
    dataset = opened("prcc", prcc / inside)
    items, own = dataset.items, world.items
    moments = [int(re.search(r"cropped_rgb(\d+)", path)[1]) for path in items.path]
    of = np.searchsorted(own.image_id, moments)
    assert sorted(of.tolist()) == np.flatnonzero(own.split != "val").tolist()
    assert column(items, "pid") == (own.pid[of] + 1).tolist()
    assert column(items, "split") == own.split[of].tolist()
    assert column(items, "clothes") == np.unique(own.clothes[of], return_inverse=True)[1].tolist()
    outfit = own.clothes[of] % 2
    assert ((items.camid == 2) == (outfit == 1)).all()
    assert set(items.camid[outfit == 0].tolist()) == {0, 1}
    test = items.split == "test"
    assert items.side[test].tolist() == np.where(items.camid[test] == 0, "gallery", "query").tolist()
    assert set(items.side[~test].tolist()) == {""}
    assert column(items, "image_id") == list(range(len(items)))
    assert same_pixels(dataset, world, moments)


def test_val_is_carved_by_people_though_the_authors_have_a_folder(prcc):
    dataset = carved("prcc", prcc)
    assert dataset.base.reading.notes == ("the images of rgb/val/ are part of train",)
    assert any("/val/" in path for path in dataset.items.path[dataset.items.split == "train"])
    assert told("prcc", prcc, val="authors")[0].startswith("data.val: the authors have no val split")


def test_any_order_of_listing_gives_the_same_items(prcc, monkeypatch):
    same_in_any_order("prcc", prcc, monkeypatch)


def test_b_asks_in_the_same_clothes_and_c_in_others(prcc):
    dataset = opened("prcc", prcc)
    tasks = {task.name: task for task in PROTOCOLS["clothes_changing"].tasks(dataset, "test", Options())}
    assert {len(task.queries) for task in tasks.values()} == {4 + 8}
    assert {name: set(valid(task)) for name, task in tasks.items()} == {"general": {1, 2}, "CC": {2}, "SC": {1}}


@pytest.mark.parametrize("fields", [{"outfits": 1}, {"eval_images": 2}])
def test_a_world_that_cannot_fill_the_three_cameras_is_refused(tmp_path, world_cache, fields):
    poor = open_synthetic(SMALL.model_copy(update={**fields, "train_identities": 1, "test_identities": 1}), world_cache)
    with pytest.raises(DataError, match="outfits: 2 and eval_images: 3, or more"):
        written("prcc", poor, tmp_path / "poor")
    assert not (tmp_path / "poor").exists()


def test_folders_tell_person_camera_and_clothes(few):
    items = opened("prcc", few).items
    assert column(items, "path") == list(FEW)
    assert column(items, "pid") == [92, 92, 121, 92, 1, 1, 1]
    assert column(items, "camid") == [0, 2, 1, 1, 0, 1, 2]
    assert column(items, "clothes") == [2, 3, 4, 2, 0, 0, 1]
    assert column(items, "split") == ["train"] * 4 + ["test"] * 3
    assert column(items, "side") == ["", "", "", "", "gallery", "query", "query"]
    assert set(column(items, "scene")) == {-1}


def test_the_root_may_be_the_folder_above_or_inside(few, tmp_path):
    before = opened("prcc", few).items
    few.rename(tmp_path / "prcc")
    above, inside = opened("prcc", tmp_path).items, opened("prcc", tmp_path / "prcc" / "rgb").items
    assert column(above, "path") == [f"prcc/{path}" for path in before.path]
    assert column(inside, "path") == [path.removeprefix("rgb/") for path in before.path]
    for name in ("pid", "camid", "clothes", "side", "split"):
        assert column(above, name) == column(inside, name) == column(before, name)


def test_strays_are_passed_over_and_upper_case_suffixes_are_read(few):
    (few / "rgb" / "train" / "092" / "Thumbs.db").write_bytes(b"\0")
    (few / "rgb" / "train" / "readme.txt").write_text("x")
    fill(few, ["sketch/train/092/A_1.jpg", "rgb/test/C/001/cropped_rgb002.JPG"])
    items = opened("prcc", few).items
    assert len(items) == len(FEW) + 1
    assert items.path[-1] == "rgb/test/C/001/cropped_rgb002.JPG"


def test_everything_that_is_wrong_is_told_at_once(few):
    fill(few, ["rgb/train/092/D_cropped_rgb001.jpg", "rgb/train/092/Bag.jpg", "rgb/val/strays/A_1.jpg"])
    fill(few, ["rgb/test/A/092/cropped_rgb002.jpg"])
    (few / "rgb" / "val" / "121").mkdir()
    (few / FEW[0]).write_bytes(b"")
    (few / "rgb" / "test" / "B").rename(few / "rgb" / "test" / "b")
    assert [line.replace(f"{few}/rgb/", "") for line in told("prcc", few)] == [
        "train/092/Bag.jpg: the name must look like A_cropped_rgb001.jpg (camera A, B or C)",
        "train/092/D_cropped_rgb001.jpg: the name must look like A_cropped_rgb001.jpg (camera A, B or C)",
        "val/121: there are no images in it",
        "test/B: no such folder; data.root must hold rgb/test/ with A/, B/ and C/; is 'b' meant?",
        "val/strays: the folder's name is no person's number, e.g. 001",
        "train/092/A_cropped_rgb010.jpg: the image is an empty file",
        "rgb/test/A/092/cropped_rgb002.jpg: identity 92 stands in two splits: train, test",
    ]


def test_missing_folders_are_told(few):
    (few / "rgb" / "val").rename(few / "val")
    assert told("prcc", few) == [f"{few / 'rgb' / 'val'}: no such folder; {LAYOUT}"]
    (few / "rgb" / "val").mkdir()
    assert told("prcc", few) == [f"{few / 'rgb' / 'val'}: there are no folders of people in it"]


def test_other_folders_name_the_right_one(few, tmp_path):
    nothing = f"{LAYOUT}; nothing of it is there"
    assert told("prcc", few / "rgb" / "train") == [f"{few / 'rgb' / 'train'}: {nothing}; is {few / 'rgb'} meant?"]
    assert told("prcc", tmp_path) == [f"{tmp_path}: {nothing}; is {few} meant?"]
    (tmp_path / "empty").mkdir()
    assert told("prcc", tmp_path / "empty") == [f"{tmp_path / 'empty'}: {nothing}"]


def test_the_counts_of_the_literature():
    entry = DATASETS["prcc"]
    expected = entry.reader(entry.spec(root="x")).expected
    assert expected == {"train": Counts(150, 17896 + 5002), "test": Counts(71, 10800)}
    assert sum(counts.images for counts in expected.values()) == 33698
