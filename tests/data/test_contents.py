"""The parts of a data set, by which a change is named."""

import os
from pathlib import Path

import pytest

from reid_lab.assembly import open_source
from reid_lab.catalogue import load_data, load_spec
from reid_lab.data import contents
from reid_lab.data.splits import only


def opened(lab, *sets):
    return open_source(load_spec(lab.file, sets).spec.data, trained=True).dataset


@pytest.fixture
def folder(lab):
    return lab.written("png")


def test_a_drawn_world_is_told_by_its_values_and_what_was_drawn(lab):
    found = contents.contents(opened(lab))
    assert found["world.hard"] == "0.2"
    assert {
        "generator version",
        "caption_drop",
        "pixels of rgb in train",
        "pixels of rgb in test",
        "words of caption",
    } <= (found.keys())
    other = contents.contents(opened(lab, "data.hard=0.4"))
    assert {name for name in found if found[name] != other[name]} >= {"world.hard", "pixels of rgb in train"}
    words = contents.contents(opened(lab, "data.caption_error=0.5"))
    assert {name for name in found if found[name] != words[name]} == {"caption_error", "words of caption"}


def test_part_of_a_data_set_has_the_contents_of_the_whole(lab):
    whole = opened(lab)
    part = only(whole, ("train",))
    assert contents.contents(part) == contents.contents(whole)
    assert contents.stored(only(part, ("train",))) is whole


def test_a_folder_is_told_file_by_file(lab, folder):
    data = open_source(load_data("cuhk_pedes", [f"root={folder}"])).dataset
    before = contents.contents(data)
    assert set(before) == {"annotations", *data.items.path.tolist()} - {None}
    name = next(name for name in before if name != "annotations")
    file = next(folder.rglob(Path(name).name))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    after = contents.contents(data)
    assert [key for key in before if before[key] != after[key]] == [name]


def test_of_too_much_to_read_the_times_are_told(lab, folder, monkeypatch):
    monkeypatch.setattr(contents, "READ", 0)
    data = open_source(load_data("cuhk_pedes", [f"root={folder}"])).dataset
    found = contents.contents(data)
    name = next(name for name in found if name != "annotations")
    file = next(folder.rglob(Path(name).name))
    os.utime(file, ns=(5, 7))
    assert found[name].startswith(contents.WRITTEN)
    assert contents.contents(data)[name] == f"{contents.WRITTEN}7"
