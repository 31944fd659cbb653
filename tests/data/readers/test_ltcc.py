"""LTCC: what the writer lays out, what the reader finds in it, and what it says of a bad folder."""

import re

import numpy as np
import pytest

from reid_lab.data import DATASETS
from reid_lab.data.protocols import PROTOCOLS, Options
from tests.data.readers.layouts import (
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

NAME = re.compile(r"(\d{3})_([12])_c([1-6])_(\d{6})\.png")
FEW = (
    "train/000_1_c1_000001.png",
    "train/000_2_c12_000002.png",
    "train/010_1_c2_000003.png",
    "query/002_10_c1_000004.png",
    "test/002_10_c3_000005.png",
    "test/002_9_c3_000006.png",
)
LAYOUT = "data.root must hold train/, query/ and test/ (or LTCC_ReID/ with them)"


@pytest.fixture(scope="module")
def world(world_cache):
    return small(world_cache)


@pytest.fixture(scope="module")
def ltcc(world, tmp_path_factory):
    return written("ltcc", world, tmp_path_factory.mktemp("made") / "ltcc")


@pytest.fixture
def few(tmp_path):
    return fill(tmp_path / "few", FEW)


def test_the_written_layout_is_the_published_one(ltcc):
    assert [path.name for path in ltcc.iterdir()] == ["LTCC_ReID"]
    base = ltcc / "LTCC_ReID"
    assert sorted(path.name for path in base.iterdir()) == ["info", "query", "test", "train"]
    found = {f: [NAME.fullmatch(path.name) for path in (base / f).iterdir()] for f in ("train", "query", "test")}
    assert all(match for matches in found.values() for match in matches)
    info = {path.name: path.read_text().split() for path in (base / "info").iterdir()}
    assert info == {
        "cloth-change_id_train.txt": [str(pid) for pid in range(6)],
        "cloth-unchange_id_train.txt": [],
        "cloth-change_id_test.txt": [str(pid) for pid in range(8, 12)],
        "cloth-unchange_id_test.txt": [],
    }
    asked = [(match[1], match[3]) for match in found["query"]]
    assert len(set(asked)) == len(asked) == 8
    for query in found["query"]:
        others = [match for match in found["test"] if match[1] == query[1] and match[3] != query[3]]
        assert {match[2] for match in others} == {"1", "2"}  # in the same clothes, and in others


@pytest.mark.parametrize("inside", ["", "LTCC_ReID"])
def test_the_reader_finds_the_world(world, ltcc, inside):
    dataset = opened("ltcc", ltcc / inside)
    items, own = dataset.items, world.items
    moments = [int(NAME.search(path)[4]) for path in items.path]
    of = np.searchsorted(own.image_id, moments)
    assert sorted(of.tolist()) == np.flatnonzero(own.split != "val").tolist()
    assert column(items, "path")[0].startswith("train/" if inside else "LTCC_ReID/train/")
    assert column(items, "pid") == own.pid[of].tolist()
    assert column(items, "camid") == own.camid[of].tolist()
    assert column(items, "split") == own.split[of].tolist()
    worn = np.unique(own.clothes[of], return_inverse=True)[1]
    assert column(items, "clothes") == worn.tolist()
    test = items.split == "test"
    assert items.side[~test].tolist() == [""] * 24
    assert sorted(items.side[test].tolist()) == ["gallery"] * 8 + ["query"] * 8
    assert column(items, "image_id") == list(range(len(items)))
    assert same_pixels(dataset, world, moments)


def test_val_is_carved(ltcc):
    carved("ltcc", ltcc)


def test_every_query_has_a_match_in_its_clothes_and_in_others(ltcc):
    dataset = opened("ltcc", ltcc)
    for task in PROTOCOLS["clothes_changing"].tasks(dataset, "test", Options()):
        assert len(valid(task)) == len(task.queries) == 8, task.name


def test_any_order_of_listing_gives_the_same_items(ltcc, monkeypatch):
    same_in_any_order("ltcc", ltcc, monkeypatch)


def test_names_tell_person_outfit_and_camera(few):
    items = opened("ltcc", few).items
    assert column(items, "path") == list(FEW)
    assert column(items, "pid") == [0, 0, 10, 2, 2, 2]
    assert column(items, "camid") == [0, 11, 1, 0, 2, 2]
    assert column(items, "clothes") == [0, 1, 4, 3, 3, 2]  # by person and outfit, as numbers
    assert column(items, "side") == ["", "", "", "query", "gallery", "gallery"]
    assert set(column(items, "scene")) == {-1}


def test_strays_are_passed_over_and_upper_case_suffixes_are_read(few):
    (few / "train" / "Thumbs.db").write_bytes(b"\0")
    fill(few, ["info/readme.png", "test/002_1_c5_000009.PNG"])
    items = opened("ltcc", few).items
    assert len(items) == len(FEW) + 1
    assert "test/002_1_c5_000009.PNG" in column(items, "path")


def test_everything_that_is_wrong_is_told_at_once(few):
    fill(
        few, ["train/portrait.png", "train/001_1_c0_000007.png", "train/001_c3_000007.png", "test/000_1_c5_000008.png"]
    )
    (few / FEW[1]).write_bytes(b"")
    (few / FEW[3]).unlink()
    assert [line.replace(f"{few}/", "") for line in told("ltcc", few)] == [
        *(
            f"train/{name}: the name must look like 144_1_c11_011239.png (person, outfit, camera from 1)"
            for name in ("001_1_c0_000007.png", "001_c3_000007.png", "portrait.png")
        ),
        "query: there are no images in it",
        f"{FEW[1]}: the image is an empty file",
        "test/000_1_c5_000008.png: identity 0 stands in two splits: train, test",
    ]


def test_missing_folders_are_told(few):
    (few / "query").rename(few / "Query")
    assert told("ltcc", few) == [f"{few / 'query'}: no such folder; {LAYOUT}; is 'Query' meant?"]


def test_other_folders_name_the_right_one(few, tmp_path):
    nothing = f"{LAYOUT}; nothing of it is there"
    assert told("ltcc", few / "train") == [f"{few / 'train'}: {nothing}; is {few} meant?"]
    assert told("ltcc", tmp_path) == [f"{tmp_path}: {nothing}; is {few} meant?"]
    (tmp_path / "empty").mkdir()
    assert told("ltcc", tmp_path / "empty") == [f"{tmp_path / 'empty'}: {nothing}"]


def test_the_counts_of_the_literature():
    entry = DATASETS["ltcc"]
    expected = entry.reader(entry.spec(root="x")).expected
    assert sum(counts.images for counts in expected.values()) == 17119
    assert expected["train"].identities + expected["test query"].identities == 152
