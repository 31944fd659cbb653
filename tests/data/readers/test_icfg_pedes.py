"""The reader of ICFG-PEDES: both file names, MSMT17's cameras, and ids that count anew."""

import json

import numpy as np
import pytest

from tests.data.readers.worlds import faults, of_role, opened, world, written

NAME = "icfg_pedes"


@pytest.fixture
def folder(tmp_path):
    return written(NAME, tmp_path / "icfg")


def edit(folder, change):
    path = folder / "ICFG_PEDES.json"
    records = json.loads(path.read_text())
    path.write_text(json.dumps(change(records) or records))


def test_a_written_folder_is_read_back_with_val_in_train(folder):
    dataset, made = opened(NAME, folder), world().items
    items = dataset.items
    of = np.isin(made.role, ("rgb", "caption"))
    for name in ("role", "pid", "camid", "image_id", "number", "caption"):
        assert np.array_equal(getattr(items, name), getattr(made, name)[of]), name
    assert items.split.tolist() == ["test" if split == "test" else "train" for split in made.split[of]]
    assert np.array_equal(dataset.images(of_role(dataset, "rgb"), None), world().images(of_role(world(), "rgb"), None))


def test_the_scene_is_the_time_of_day_in_sorted_order(folder):
    items = opened(NAME, folder).items
    times = ["afternoon" if "afternoon" in path else "morning" if "morning" in path else "noon"
             for path in items.path[items.role == "rgb"]]  # fmt: skip
    assert items.scene[items.role == "rgb"].tolist() == [sorted(set(times)).index(time) for time in times]


def test_a_name_that_is_not_of_msmt17_tells_no_camera(folder):
    first = opened(NAME, folder).items.path[0]
    (folder / first).rename(folder / "imgs/train/0000/photo.png")
    edit(folder, lambda records: records[0].update(file_path="train/0000/photo.png"))
    items = opened(NAME, folder).items
    assert (items.camid[0], items.scene[0]) == (-1, -1)
    assert (items.camid[2:] >= 0).all()


def test_both_names_of_the_annotation_are_read(folder):
    first = opened(NAME, folder)
    (folder / "ICFG-PEDES.json").write_bytes((folder / "ICFG_PEDES.json").read_bytes())
    assert opened(NAME, folder).digest == first.digest
    (folder / "ICFG_PEDES.json").unlink()
    assert opened(NAME, folder).digest == first.digest
    (folder / "ICFG-PEDES.json").rename(folder / "icfg.json")
    (told,) = faults(NAME, folder)
    assert told.startswith(f"{folder / 'ICFG_PEDES.json'}: no such file")


def test_two_annotations_that_differ_are_refused(folder):
    (folder / "ICFG-PEDES.json").write_text("[]")
    assert faults(NAME, folder) == [
        f"{folder / 'ICFG-PEDES.json'}: differs from ICFG_PEDES.json beside it; remove one of the two"
    ]


def test_an_image_that_two_records_show_is_one_image_with_two_captions(folder):
    edit(folder, lambda records: [*records, {**records[0], "captions": ["said again"]}])
    dataset = opened(NAME, folder)
    assert dataset.items.caption[:3].tolist() == [None, world().items.caption[1], "said again"]
    assert dataset.items.number[:3].tolist() == [-1, 0, 1]
    assert dataset.items.image_id[:4].tolist() == [0, 0, 0, 1]
    assert dataset.reading.notes == ("records of an image that an earlier record shows (captions joined): 1",)


def test_an_image_that_shows_two_people_is_refused(folder):
    edit(folder, lambda records: [*records, {**records[0], "id": 1}])
    path = json.loads((folder / "ICFG_PEDES.json").read_text())[0]["file_path"]
    assert faults(NAME, folder) == [f"imgs/{path}: the rgb image is listed 2 times"]


def test_people_of_test_who_are_counted_anew_come_after_those_of_train(folder):
    known = opened(NAME, folder).items.pid
    edit(folder, lambda records: [r.update(id=r["id"] - 6) for r in records if r["split"] == "test"] and None)
    dataset = opened(NAME, folder)
    assert np.array_equal(dataset.items.pid, known)
    assert dataset.reading.notes == ("test counts its people anew: 6 was added to their ids",)


def test_a_person_in_two_splits_is_refused(folder):
    edit(folder, lambda records: records[1].update(split="test"))
    (told,) = faults(NAME, folder)
    assert told.endswith("identity 0 stands in two splits: train, test")


def test_ids_may_count_from_one(folder):
    edit(folder, lambda records: [r.update(id=r["id"] + 1) for r in records] and None)
    assert sorted(set(opened(NAME, folder).items.pid.tolist())) == list(range(1, 9))
