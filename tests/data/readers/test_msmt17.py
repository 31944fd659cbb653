"""MSMT17: what the writer lays out, what the reader finds in it, and what it says of a bad folder."""

import re

import numpy as np
import pytest

from reid_lab.data import DATASETS
from reid_lab.data.reading import Counts
from tests.data.readers.layouts import (
    carved,
    column,
    fill,
    opened,
    same_in_any_order,
    same_pixels,
    small,
    told,
    written,
)

LISTS = {"train": ("train", ""), "val": ("train", ""), "query": ("test", "query"), "gallery": ("test", "gallery")}
LINE = re.compile(r"(\d{4})/(\d{4})_(\d{3})_(\d\d)_(\d{4}(?:morning|noon|afternoon))_(\d{4,})_0\.jpg (\d+)")
FEW = {
    "train": ["0000/0000_000_01_0303morning_0015_0.jpg 0", "0001/0001_007_15_0113noon_0240_1_ex.jpg 1"],
    "val": ["0000/0000_012_02_0303afternoon_0001_0.jpg 0"],
    "query": ["0000/0000_000_03_0303morning_0015_0.jpg 0"],
    "gallery": ["0000/0000_001_04_0113noon_0015_0.jpg 0"],
}

LAYOUT = "data.root must hold list_train.txt, list_val.txt, list_query.txt, list_gallery.txt, train/ and test/"


@pytest.fixture(scope="module")
def world(world_cache):
    return small(world_cache)


@pytest.fixture(scope="module")
def msmt(world, tmp_path_factory):
    return written("msmt17", world, tmp_path_factory.mktemp("made") / "msmt17")


@pytest.fixture
def few(tmp_path):
    return made(tmp_path / "few")


def made(root, train="train", test="test"):
    for name, lines in FEW.items():
        folder = train if name in ("train", "val") else test
        fill(root / folder, [line.split()[0] for line in lines])
        (root / f"list_{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def add(root, name, *lines):
    path = root / f"list_{name}.txt"
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


def test_the_written_layout_is_the_published_one(world, msmt):
    assert sorted(path.name for path in msmt.iterdir()) == [
        *sorted(f"list_{name}.txt" for name in LISTS), "test", "train",
    ]  # fmt: skip
    found = {
        name: [LINE.fullmatch(line) for line in (msmt / f"list_{name}.txt").read_text().splitlines()] for name in LISTS
    }
    assert all(match for matches in found.values() for match in matches)
    assert all(match[1] == match[2] == f"{int(match[7]):04d}" for matches in found.values() for match in matches)
    cited = {f"{LISTS[name][0]}/{match[0].split()[0]}" for name, matches in found.items() for match in matches}
    assert cited == {path.relative_to(msmt).as_posix() for path in msmt.rglob("*.jpg")}
    people = {name: {int(match[7]) for match in matches} for name, matches in found.items()}
    assert people["train"] | people["val"] == set(range(6))
    assert people["query"] == people["gallery"] == set(range(4))
    assert len(found["val"]) == 3  # of 24
    for query in found["query"]:
        assert any(other[1] == query[1] and other[4] != query[4] for other in found["gallery"])


def test_the_reader_finds_the_world(world, msmt):
    dataset = opened("msmt17", msmt)
    items, own = dataset.items, world.items
    moments = [int(re.search(r"_(\d{4,})_0\.jpg", path)[1]) for path in items.path]
    of = np.searchsorted(own.image_id, moments)
    assert sorted(of.tolist()) == np.flatnonzero(own.split != "val").tolist()
    test = own.split[of] == "test"
    assert column(items, "pid") == (own.pid[of] - 2 * test).tolist()  # without the two people of val
    assert column(items, "camid") == own.camid[of].tolist()
    assert column(items, "split") == own.split[of].tolist()
    assert items.side[~test].tolist() == [""] * 24
    assert sorted(items.side[test].tolist()) == ["gallery"] * 8 + ["query"] * 8
    assert column(items, "image_id") == list(range(len(items)))
    assert set(items.scene.tolist()) == {0, 1, 2}
    assert same_pixels(dataset, world, moments)


def test_val_is_carved_by_people_though_the_authors_list_one(msmt):
    carved("msmt17", msmt)
    assert told("msmt17", msmt, val="authors")[0].startswith("data.val: the authors have no val split")


def test_any_order_of_listing_gives_the_same_items(msmt, monkeypatch):
    same_in_any_order("msmt17", msmt, monkeypatch)


def test_lists_tell_person_camera_and_part_of_the_day(few):
    dataset = opened("msmt17", few)
    items = dataset.items
    assert column(items, "path") == [
        f"{LISTS[name][0]}/{line.split()[0]}" for name, lines in FEW.items() for line in lines
    ]
    assert column(items, "pid") == [0, 1, 0, 2, 2]  # people of test stand behind the two of train
    assert column(items, "camid") == [0, 14, 1, 2, 3]
    assert column(items, "scene") == [2, 0, 1, 2, 0]
    assert column(items, "split") == ["train"] * 3 + ["test"] * 2
    assert column(items, "side") == ["", "", "", "query", "gallery"]
    assert dataset.base.reading.notes[1] == "people of test are moved up by 2"


@pytest.mark.parametrize("inside", ["", "MSMT17_V1", "MSMT17_V2"])
def test_both_versions_are_read_as_published(few, tmp_path, inside):
    before = opened("msmt17", few)
    version = ("mask_train_v2", "mask_test_v2") if inside == "MSMT17_V2" else ("train", "test")
    made(tmp_path / "other" / inside, *version)
    items = opened("msmt17", tmp_path / "other").items
    folders = dict(zip(("train", "test"), version, strict=True))
    start = f"{inside}/" if inside else ""
    assert column(items, "path") == [
        start + "/".join((folders[path.split("/")[0]], *path.split("/")[1:])) for path in before.items.path
    ]
    for name in ("pid", "camid", "scene", "side"):
        assert column(items, name) == column(before.items, name)


def test_lists_of_other_machines_are_read(few):
    before = opened("msmt17", few)
    for name, lines in FEW.items():
        (few / f"list_{name}.txt").write_bytes(
            "\ufeff".encode() + b"\r\n".join(line.encode() for line in lines) + b"\r\n\r\n"
        )
    after = opened("msmt17", few)
    assert column(after.items, "path") == column(before.items, "path")
    assert column(after.items, "pid") == column(before.items, "pid")


def test_strays_are_passed_over_and_any_suffix_is_read(few):
    (few / "train" / "0000" / "Thumbs.db").write_bytes(b"\0")
    fill(few, ["train/0009/0009_000_01_0303morning_0001_0.jpg", "test/0001/0001_000_05_0303noon_0001_0.JPG"])
    add(few, "gallery", "0001/0001_000_05_0303noon_0001_0.JPG 1")
    items = opened("msmt17", few).items
    assert len(items) == 6
    assert (items.pid[-1], items.camid[-1]) == (3, 4)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("0002/0002_000_01_0303morning_0015_0.jpg", "a path and a person's number are expected, as in"),
        ("0002/0002_000_01_0303morning_0015_0.jpg zero", "a path and a person's number are expected, as in"),
        ("0002/0002_000_01_0303morning_0015_0.jpg -1", "a path and a person's number are expected, as in"),
        ("0002/0002_000_01_0303morning_0015_0.jpg 12345678901", "a path and a person's number are expected, as in"),
        ("7", "a path and a person's number are expected, as in"),
        ("0002/0002_000_00_0303morning_0015_0.jpg 2", "the third part of the file's name must be a camera"),
        ("0002/0002_000_c1_0303morning_0015_0.jpg 2", "the third part of the file's name must be a camera"),
        ("0002/portrait.jpg 2", "the third part of the file's name must be a camera"),
    ],
)
def test_a_line_that_says_too_little_is_told_with_its_number(few, line, what):
    add(few, "query", "", line)
    (fault,) = told("msmt17", few)
    assert fault.startswith(f"{few / 'list_query.txt'}:3: {what}")


def test_a_list_that_is_no_text_is_told(few):
    (few / "list_val.txt").write_bytes(b"\xff\xfe\x00\x01")
    (fault,) = told("msmt17", few)
    assert fault.startswith(f"{few / 'list_val.txt'}:1: a path and a person's number are expected")


def test_everything_that_is_wrong_is_told_at_once(few):
    (few / "list_val.txt").unlink()
    (few / "list_gallery.txt").write_text("\n")
    add(few, "train", "0003/0003_000_01_0303morning_0001_0.jpg 3", "../../secret_000_01_a_0.jpg 3", FEW["train"][0])
    (few / "train" / FEW["train"][1].split()[0]).write_bytes(b"")
    (few / "test" / FEW["query"][0].split()[0]).unlink()
    example = "as in '0000/0000_000_01_0303morning_0015_0.jpg 0'"
    assert [line.replace(f"{few}/", "") for line in told("msmt17", few)] == [
        "list_train.txt:4: the third part of the file's name must be a camera, 01 or above, "
        f"{example}, not '../../secret_000_01_a_0.jpg'",
        f"list_val.txt: no such file; {LAYOUT}",
        "list_gallery.txt: the list is empty",
        f"train/{FEW['train'][1].split()[0]}: the image is an empty file",
        f"test/{FEW['query'][0].split()[0]}: the image is missing",
        "train/0003: the folder is missing, and 1 image with it",
        f"train/{FEW['train'][0].split()[0]}: the rgb image is listed 2 times",
    ]


def test_a_path_that_leads_out_is_refused(few):
    add(few, "train", "../../0000_000_01_0303morning_0001_0.jpg 0")
    assert told("msmt17", few) == [f"train/../../0000_000_01_0303morning_0001_0.jpg: the image lies outside {few}"]


def test_missing_images_may_be_skipped(few):
    (few / "train" / FEW["val"][0].split()[0]).unlink()
    assert told("msmt17", few) == [f"{few / 'train' / FEW['val'][0].split()[0]}: the image is missing"]
    assert len(opened("msmt17", few, missing="skip").items) == 4


def test_missing_lists_are_what_is_told_of_a_download_without_them(few):
    for name in LISTS:
        (few / f"list_{name}.txt").unlink()
    lines = told("msmt17", few)
    assert [line.split(": no such file")[0] for line in lines] == [str(few / f"list_{name}.txt") for name in LISTS]


def test_missing_images_folders_are_told_once(few):
    (few / "train").rename(few / "training")
    (line,) = told("msmt17", few)
    assert line.startswith(f"{few / 'train'}: no such folder, nor mask_train_v2/; data.root must hold list_train.txt")


def test_other_folders_name_the_right_one(few):
    assert told("msmt17", few / "train")[0].endswith(f"nothing of it is there; is {few} meant?")
    assert told("msmt17", few.parent)[0].endswith(f"nothing of it is there; is {few} meant?")
    (few.parent / "empty").mkdir()
    assert told("msmt17", few.parent / "empty")[0].startswith(
        f"{few.parent / 'empty'}: data.root must hold list_train.txt"
    )


def test_the_counts_of_the_literature():
    entry = DATASETS["msmt17"]
    expected = entry.reader(entry.spec(root="x")).expected
    assert expected["train"] == Counts(1041, 32621)
    assert sum(counts.images for counts in expected.values()) == 126441
    assert expected["train"].identities + expected["test query"].identities == 4101
