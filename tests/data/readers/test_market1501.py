"""Market-1501: what the writer lays out, what the reader finds in it, and what it says of a bad folder."""

import os
import re

import numpy as np
import pytest

from reid_lab.data import DATASETS
from reid_lab.data.check import check
from reid_lab.data.protocols import PROTOCOLS, Options
from reid_lab.data.reading import Counts
from tests.data.readers.layouts import (
    carved,
    column,
    fill,
    opened,
    photograph,
    same_in_any_order,
    same_pixels,
    small,
    told,
    valid,
    written,
)

FOLDERS = {("train", ""): "bounding_box_train", ("test", "query"): "query", ("test", "gallery"): "bounding_box_test"}
NAME = re.compile(r"(-1|\d{4})_c([1-6])s1_(\d{6})_00\.jpg")


FEW = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c2s3_000476_01.jpg",
    "bounding_box_train/0007_c3s3_077419_03.jpg",
    "query/0001_c1s1_001051_00.jpg",
    "bounding_box_test/0001_c2s1_000301_00.jpg",
)


@pytest.fixture(scope="module")
def world(world_cache):
    return small(world_cache)


@pytest.fixture(scope="module")
def market(world, tmp_path_factory):
    return written("market1501", world, tmp_path_factory.mktemp("made") / "market")


@pytest.fixture
def few(tmp_path):
    return fill(tmp_path / "few", FEW)


def test_the_written_layout_is_the_published_one(world, market):
    assert sorted(path.name for path in market.iterdir()) == ["bounding_box_test", "bounding_box_train", "query"]
    found = {
        folder: [NAME.fullmatch(path.name) for path in sorted((market / folder).iterdir())]
        for folder in FOLDERS.values()
    }
    assert all(match for matches in found.values() for match in matches)
    asked = [(match[1], match[2]) for match in found["query"]]
    assert len(set(asked)) == len(asked)  # a person is asked for once in a camera
    assert {match[1] for match in found["query"]} == {match[1] for match in found["bounding_box_test"]} - {"-1", "0000"}
    others = [match[1] for match in found["bounding_box_test"] if match[1] in ("-1", "0000")]
    assert sorted(others) == ["-1"] * 4 + ["0000"] * 4  # the eight images of val
    for query in found["query"]:
        assert any(other[1] == query[1] and other[2] != query[2] for other in found["bounding_box_test"])


def test_the_reader_finds_the_world(world, market):
    dataset = opened("market1501", market)
    items, own = dataset.items, world.items
    moments = [int(NAME.search(path)[3]) for path in items.path]
    of = np.searchsorted(own.image_id, moments)
    distractor = own.split[of] == "val"
    assert column(items, "pid") == np.where(distractor, 0, own.pid[of] + 1).tolist()
    assert column(items, "camid") == own.camid[of].tolist()
    assert column(items, "split") == np.where(distractor, "test", own.split[of]).tolist()
    assert len(items) == len(own) - 4  # the junk
    assert set(column(items, "role")) == {"rgb"}
    assert column(items, "image_id") == list(range(len(items)))
    for (split, side), folder in FOLDERS.items():
        there = (items.split == split) & (items.side == side)
        assert there.tolist() == [path.startswith(f"{folder}/") for path in items.path]
    assert set(items.side[distractor].tolist()) == {"gallery"}
    assert same_pixels(dataset, world, moments)


def test_every_query_has_a_match_and_distractors_stand_in_the_gallery(market):
    (task,) = PROTOCOLS["image_to_image"].tasks(opened("market1501", market), "test", Options())
    assert len(valid(task)) == len(task.queries) == 8
    assert task.gallery.pids.tolist().count(0) == 4
    assert len(task.gallery) == 12


def test_val_is_carved(market):
    carved("market1501", market)
    assert told("market1501", market, val="authors")[0].startswith("data.val: the authors have no val split")


def test_any_order_of_listing_gives_the_same_items(market, monkeypatch):
    same_in_any_order("market1501", market, monkeypatch)


def test_names_tell_person_camera_and_recording(few):
    items = opened("market1501", few).items
    assert column(items, "path") == sorted(FEW[:3]) + list(FEW[3:])
    assert column(items, "pid") == [2, 2, 7, 1, 1]
    assert column(items, "camid") == [0, 1, 2, 0, 1]
    assert column(items, "scene") == [0, 2, 3, 0, 1]  # c1s1, c2s1, c2s3, c3s3
    assert column(items, "side") == ["", "", "", "query", "gallery"]


def test_junk_is_left_out_and_distractors_match_nobody(few):
    fill(few, ["bounding_box_test/-1_c1s1_000401_03.jpg", "bounding_box_test/0000_c5s1_000151_01.jpg"])
    dataset = opened("market1501", few)
    items = dataset.items
    assert not any("/-1" in path for path in items.path)
    (place,) = np.flatnonzero(items.pid == 0)
    assert (items.split[place], items.side[place], items.camid[place]) == ("test", "gallery", 4)
    entry = DATASETS["market1501"]
    report = check(entry.reader(entry.spec(root=str(few))), few)
    assert "images of junk (person -1) that are left out: 1" in report.notes
    assert not report.faults
    assert [row[:2] + row[3:7] for row in report.rows] == [
        ("train", "-", "3", "12936", "2", "751"),
        ("test", "query", "1", "3368", "1", "750"),
        ("test", "gallery", "2", "15913", "2", "751"),
    ]


@pytest.mark.parametrize("folder", ["bounding_box_train", "query"])
def test_a_distractor_elsewhere_is_a_fault(few, folder):
    fill(few, [f"{folder}/0000_c5s1_000151_01.jpg"])
    (line,) = told("market1501", few)
    assert line.startswith(f"{few / folder / '0000_c5s1_000151_01.jpg'}: person 0 is a distractor")


def test_the_folder_above_is_accepted_as_published(few, tmp_path):
    inner = opened("market1501", few).items
    few.rename(tmp_path / "Market-1501-v15.09.15")
    dataset = opened("market1501", tmp_path)
    assert column(dataset.items, "path") == [f"Market-1501-v15.09.15/{path}" for path in inner.path]
    assert column(dataset.items, "pid") == column(inner, "pid")
    assert dataset.images(np.arange(2), None).shape == (2, 3, 32, 16)


def test_strays_are_passed_over_and_upper_case_suffixes_are_read(few):
    before = len(opened("market1501", few).items)
    (few / "bounding_box_test" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    (few / "readme.txt").write_text("Market-1501")
    (few / "query" / ".0001_c1s1_001051_00.jpg").write_bytes(b"")
    fill(few, ["gt_bbox/0001_c1s1_001051_00.jpg", "query/0001_c5s1_001051_00.JPG", "query/0001_c4s1_\u00e9.jpg"])
    items = opened("market1501", few).items
    assert len(items) == before + 2
    assert "query/0001_c5s1_001051_00.JPG" in column(items, "path")


def test_data_of_others_in_this_layout_is_read(few):
    fill(few, ["bounding_box_train/0005_c8_f0046182.jpg", "bounding_box_train/0005_c12.jpg"])
    items = opened("market1501", few).items
    assert items.camid[items.pid == 5].tolist() == [11, 7]
    assert items.scene[items.pid == 5].tolist() == [-1, -1]


@pytest.mark.parametrize(
    "name",
    ["portrait.jpg", "-2_c1s1_000401_03.jpg", "0001_c0s1_0.png", "0001_s1.jpg", "1_c1é.jpg", "9999999999_c1s1_1.jpg"],
)
def test_a_name_that_does_not_fit_is_told(few, name):
    fill(few, [f"query/{name}"])
    (line,) = told("market1501", few)
    assert line.startswith(
        f"{few / 'query' / name}: the name must look like 0002_c1s1_000451_03.jpg (person, camera from 1)"
    )


def test_a_name_that_is_no_unicode_is_told_without_it(few):
    with open(os.fsencode(few / "query") + b"/0001_c5s1_\xff.jpg", "wb") as file:
        file.write(b"x")
    (line,) = told("market1501", few)
    assert line.encode()  # fit to be printed
    assert "0001_c5s1_\\udcff.jpg: the name must look like" in line


def test_everything_that_is_wrong_is_told_at_once(few):
    fill(few, [f"bounding_box_train/stray{number}.jpg" for number in range(8)])
    (few / FEW[0]).write_bytes(b"")
    (few / "query").rename(few / "querry")
    photograph(few / "bounding_box_test" / "0002_c4s1_000001_00.jpg")
    lines = told("market1501", few)
    assert lines[0] == (
        f"{few / 'query'}: no such folder; data.root must hold bounding_box_train/, query/ and bounding_box_test/; "
        "is 'querry' meant?"
    )
    assert [line.split(": ")[0] for line in lines[1:6]] == [
        str(few / "bounding_box_train" / f"stray{number}.jpg") for number in range(5)
    ]
    assert lines[6].startswith("… and 3 more of this kind")
    assert lines[7] == f"{few / FEW[0]}: the image is an empty file"
    assert "identity 2 stands in two splits: train, test" in lines[8]
    assert len(lines) == 9


def test_folders_that_may_not_be_read_are_told_with_the_rest(few, monkeypatch):
    real = os.scandir

    def scandir(path="."):
        if str(path).endswith(("query", "bounding_box_test")):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (few / FEW[0]).write_bytes(b"")
    assert told("market1501", few) == [
        f"{few / 'query'}: the folder cannot be read (Permission denied)",
        f"{few / 'bounding_box_test'}: the folder cannot be read (Permission denied)",
        f"{few / FEW[0]}: the image is an empty file",
    ]


def test_a_folder_without_images_is_told(few):
    (few / FEW[3]).unlink()
    assert told("market1501", few) == [f"{few / 'query'}: there are no images in it"]


def test_an_empty_or_wrong_folder_is_told_what_it_must_hold(tmp_path):
    what = "data.root must hold bounding_box_train/, query/ and bounding_box_test/; nothing of it is there"
    assert told("market1501", tmp_path) == [f"{tmp_path}: {what}"]


@pytest.mark.parametrize("part", ["bounding_box_train", "query"])
def test_a_part_of_the_data_set_names_the_whole(few, part):
    (line,) = told("market1501", few / part)
    assert line.endswith(f"nothing of it is there; is {few} meant?")


def test_a_folder_that_holds_the_data_set_names_it(few):
    (line,) = told("market1501", few.parent)
    assert line.endswith(f"nothing of it is there; is {few} meant?")


def test_a_link_that_leads_out_is_refused(few, tmp_path):
    (few / FEW[0]).rename(tmp_path / "elsewhere.jpg")
    (few / FEW[0]).symlink_to(tmp_path / "elsewhere.jpg")
    assert told("market1501", few) == [f"{FEW[0]}: the image lies outside {few}"]


def test_the_counts_of_the_literature():
    entry = DATASETS["market1501"]
    expected = entry.reader(entry.spec(root="x")).expected
    assert expected["train"] == Counts(751, 12936)
    assert expected["test query"].images + expected["test gallery"].images == 3368 + 13115 + 2798
