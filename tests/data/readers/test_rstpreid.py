"""The reader of RSTPReid, and the side file of parts that all text–image data sets take."""

import json

import numpy as np
import pytest

from reid_lab.data.captions.sidefile import PartsRow, write_parts
from reid_lab.data.items import pairs
from tests.data.readers.worlds import faults, of_role, opened, world, written

NAME = "rstpreid"


@pytest.fixture
def folder(tmp_path):
    return written(NAME, tmp_path / "rstp")


def records(folder):
    return json.loads((folder / "data_captions.json").read_text())


def save(folder, changed):
    (folder / "data_captions.json").write_text(json.dumps(changed))


def test_a_written_folder_is_read_back(folder):
    dataset, made = opened(NAME, folder), world().items
    items = dataset.items
    assert items.role.tolist() == ["rgb", "caption", "caption"] * 16
    for name in ("split", "pid", "camid", "image_id"):
        assert np.array_equal(getattr(items, name)[::3], getattr(made, name)[made.role == "rgb"]), name
        assert np.array_equal(getattr(items, name)[::3], getattr(items, name)[2::3]), name
    assert items.number[:3].tolist() == [-1, 0, 1]
    assert items.caption[1::3].tolist() == made.caption[made.role == "caption"].tolist()
    assert np.array_equal(dataset.images(of_role(dataset, "rgb"), None), world().images(of_role(world(), "rgb"), None))
    assert len(pairs(items, "train")) == 16


@pytest.mark.parametrize(("name", "camid"), [("0000_c14_0031.png", 13), ("0000_c0_1.png", -1), ("photo_c3_1.png", -1)])
def test_the_camera_stands_in_the_name(folder, name, camid):
    changed = records(folder)
    (folder / "imgs" / changed[0]["img_path"]).rename(folder / "imgs" / name)
    changed[0]["img_path"] = name
    save(folder, changed)
    assert opened(NAME, folder).items.camid[:3].tolist() == [camid] * 3


def test_wrong_keys_are_named_with_the_nearest(folder):
    changed = records(folder)
    changed[3]["image_path"] = changed[3].pop("img_path")
    changed[4]["captions"] = [7]
    changed[5]["img_path"] = ""
    save(folder, changed)
    where = folder / "data_captions.json"
    assert faults(NAME, folder) == [
        f"{where}: record 3: no key 'img_path'; is 'image_path' meant?",
        f"{where}: record 4: captions[0] must be a string, not an integer",
        f"{where}: record 5: img_path '' is no path",
    ]


def test_ids_of_any_start_are_kept(folder):
    save(folder, [{**record, "id": record["id"] + 1} for record in records(folder)])
    assert sorted(set(opened(NAME, folder).items.pid.tolist())) == list(range(1, 9))


@pytest.mark.parametrize("prefix", ["", "imgs/"])
@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_the_side_file_adds_parts_and_leaves_out_those_that_are_missing(folder, tmp_path, prefix, suffix):
    paths = [prefix + record["img_path"] for record in records(folder)]
    side = tmp_path / f"parts{suffix}"
    write_parts(
        side,
        [
            PartsRow(paths[0], 1, "a tall man", "a red coat"),
            PartsRow(paths[1], 0, None, "grey trousers"),
            PartsRow(paths[1], 1, None, None),
        ],
    )
    plain, dataset = opened(NAME, folder), opened(NAME, folder, parts=str(side))
    items = dataset.items
    assert items.role[:9].tolist() == [
        "rgb", "caption", "caption", "id_caption", "cloth_caption", "rgb", "caption", "cloth_caption", "caption",
    ]  # fmt: skip
    assert items.caption[[3, 4, 7]].tolist() == ["a tall man", "a red coat", "grey trousers"]
    assert items.number[:9].tolist() == [-1, 0, 1, 1, 1, -1, 0, 0, 1]
    assert items.image_id[:9].tolist() == [0] * 5 + [1] * 4
    assert items.path[:9].tolist() == [items.path[0], *[None] * 4, items.path[5], *[None] * 3]
    assert len(items) == len(plain.items) + 3
    assert dataset.digest != plain.digest
    again = tmp_path / f"elsewhere{suffix}"
    again.write_bytes(side.read_bytes())
    assert opened(NAME, folder, parts=str(again)).digest == dataset.digest
    again.write_bytes(side.read_bytes().replace(b"red", b"tan"))
    assert opened(NAME, folder, parts=str(again)).digest != dataset.digest


def test_where_the_side_file_lies_is_no_part_of_the_identity():
    from reid_lab.data.readers.rstpreid import RstpReidSpec
    from reid_lab.spec.section import is_local

    assert is_local(RstpReidSpec.model_fields["parts"])


def test_parts_of_unknown_captions_are_faults(folder, tmp_path):
    side = tmp_path / "parts.csv"
    write_parts(
        side, [PartsRow("nobody.jpg", 0, "a man", None), PartsRow(records(folder)[0]["img_path"], 2, "x", None)]
    )
    assert faults(NAME, folder, parts=str(side)) == [
        f"{side}: the data set has no caption 0 of nobody.jpg",
        f"{side}: the data set has no caption 2 of {records(folder)[0]['img_path']}",
    ]


def test_faults_of_the_side_file_and_of_the_data_set_are_told_together(folder, tmp_path):
    changed = records(folder)
    changed[0]["id"] = "x"
    save(folder, changed)
    told = faults(NAME, folder, parts=str(tmp_path / "none.json"))
    assert told[0].endswith("record 0: id must be an integer, not a string")
    assert told[1] == f"{tmp_path / 'none.json'}: no such file"
