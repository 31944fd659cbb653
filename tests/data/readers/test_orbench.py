"""ORBench: people by folder, 32 kinds of query; what its reader finds in a folder, and what it says of a bad one."""

import json
import os
import shutil
from functools import partial

import numpy as np
import pytest

from reid_lab.data.omni import AVERAGES, KINDS, QUERY_KINDS
from reid_lab.data.protocols import PROTOCOLS, Options
from reid_lab.data.readers.orbench import FOLDERS, GALLERY, TEST, TRAIN, read
from reid_lab.data.reading import Faults
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.data.writers import writer
from reid_lab.data.writers.base import write
from tests.data.readers import layouts

opened, faults = partial(layouts.opened, "orbench"), partial(layouts.told, "orbench")
SMALL = SyntheticSpec(
    preset="smoke",
    roles=(*FOLDERS, "caption"),
    train_identities=3,
    val_identities=2,
    test_identities=3,
    train_images=2,
    eval_images=2,
    image_size=(32, 16),
)
PUBLISHED = [
    *("NIR", "CP", "SK", "TEXT"),
    *("NIR+CP", "CP+NIR", "NIR+SK", "SK+NIR", "NIR+TEXT", "TEXT+NIR"),
    *("CP+SK", "SK+CP", "CP+TEXT", "TEXT+CP", "SK+TEXT", "TEXT+SK"),
    *("NIR+CP+SK", "CP+NIR+SK", "SK+NIR+CP", "NIR+CP+TEXT", "CP+NIR+TEXT", "TEXT+NIR+CP"),
    *("NIR+SK+TEXT", "SK+NIR+TEXT", "TEXT+NIR+SK", "CP+SK+TEXT", "SK+CP+TEXT", "TEXT+CP+SK"),
    *("NIR+CP+SK+TEXT", "CP+NIR+SK+TEXT", "SK+NIR+CP+TEXT", "TEXT+NIR+CP+SK"),
]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return open_synthetic(SMALL, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def written(embedded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "ORBench"
    return layouts.written("orbench", embedded, folder)


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "ORBench")


def edit(folder, name, change):
    """Rewrites an annotation with what `change` makes of it."""
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(change(content) or content))


def moment_of(path):
    """The world's moment, which the writer tells in the file name."""
    return int(path.split("_s")[1].split("_")[0])


def test_the_kinds_stand_in_published_order():
    assert list(QUERY_KINDS) == PUBLISHED == list(KINDS)
    assert [len(kinds) for kinds in AVERAGES.values()] == [4, 12, 12, 4]
    assert [kind for kinds in AVERAGES.values() for kind in kinds] == PUBLISHED
    assert KINDS["TEXT+NIR+CP+SK"] == ("caption", "nir", "cpencil", "sketch")


@pytest.mark.parametrize("role", FOLDERS)
def test_a_written_folder_gives_the_worlds_images_back(embedded, written, role):
    dataset = opened(written)
    found, world = dataset.items, embedded.items
    here = np.flatnonzero(found.role == role)
    of = {int(moment): row for row, moment in enumerate(world.image_id) if world.role[row] == role}
    there = np.array([of[moment_of(path)] for path in found.path[here]])
    assert len(set(there.tolist())) == len(there) == (world.role == role).sum()
    assert np.array_equal(found.pid[here], world.pid[there])
    assert np.array_equal(found.split[here] == "test", world.split[there] == "test")
    side = {"rgb": "gallery"}.get(role, "query")
    assert np.array_equal(found.side[here], np.where(found.split[here] == "test", side, ""))
    pixels = dataset.images(here, None)
    assert pixels.shape[1] == 3
    assert np.array_equal(pixels, np.broadcast_to(embedded.images(there, None), pixels.shape))


def test_captions_of_train_describe_their_photograph(embedded, written):
    items, world = opened(written).items, embedded.items
    texts = dict(zip(world.image_id[world.role == "caption"], world.caption[world.role == "caption"], strict=True))
    captions = np.flatnonzero((items.role == "caption") & (items.split == "train"))
    assert len(captions) == 3 * 2 + 2 * 2
    for row in captions:
        assert items.role[row - 1] == "rgb"
        assert items.image_id[row - 1] == items.image_id[row]
        assert items.caption[row] == texts[moment_of(items.path[row - 1])]


def test_no_other_images_share_a_moment(written):
    items = opened(written).items
    images = items.image_id[items.role != "caption"]
    assert len(set(images.tolist())) == len(images)
    assert set(items.image_id[(items.role == "caption") & (items.split == "test")].tolist()) == {-1}


def test_queries_are_listed_in_published_order_with_their_roles(written):
    dataset = opened(written)
    content = json.loads((written / TEST).read_text())
    assert list(content) == [GALLERY, *PUBLISHED]
    assert list(dataset.listed) == PUBLISHED
    for kind, groups in dataset.listed.items():
        assert tuple(groups.members) == KINDS[kind]
        assert len(groups) == len(content[kind]) == 6
        for number, record in enumerate(content[kind]):
            assert groups.pids[number] == record[0] - 1
            for role, value in zip(KINDS[kind], record[1:], strict=True):
                row = groups.members[role][number]
                assert dataset.items.role[row] == role
                assert dataset.items.split[row] == "test"
                assert dataset.items.pid[row] == record[0] - 1
                assert (dataset.items.caption if role == "caption" else dataset.items.path)[row] == value


def test_every_item_of_the_anchor_asks_once_with_partners_of_its_person(written):
    dataset = opened(written)
    for kind, groups in dataset.listed.items():
        anchor = groups.members[KINDS[kind][0]]
        assert len(set(anchor.tolist())) == len(anchor), kind
        for column in groups.members.values():
            assert np.array_equal(dataset.items.pid[column], groups.pids), kind
    assert any(
        not np.array_equal(dataset.listed["NIR+CP"].members["cpencil"], dataset.listed[kind].members["cpencil"])
        for kind in ("NIR+CP+SK", "NIR+CP+TEXT", "NIR+CP+SK+TEXT")
    )  # drawn, not the first of each


def test_the_omni_protocol_asks_the_listed_queries_in_published_order(written):
    dataset = opened(written)
    tasks = PROTOCOLS["omni"].tasks(dataset, "test", Options())
    assert [task.name for task in tasks] == PUBLISHED
    for task in tasks:
        assert tuple(task.queries.members) == KINDS[task.name]
        assert np.array_equal(task.queries.pids, dataset.listed[task.name].pids)
        assert len(task.gallery) == 6


def test_writing_twice_gives_the_same_files(embedded, written, tmp_path):
    write(writer("orbench"), embedded, tmp_path / "again", "png")
    for name in (TRAIN, TEST):
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()


def test_an_item_of_several_queries_is_one_item(written):
    items = opened(written).items
    test = items.split == "test"
    assert (test & (items.role == "nir")).sum() == 6
    paths = items.path[test & (items.role != "caption")].tolist()
    assert len(set(paths)) == len(paths)
    captions = test & (items.role == "caption")
    texts = list(zip(items.pid[captions].tolist(), items.caption[captions].tolist(), strict=True))
    assert len(set(texts)) == len(texts) == 6


def test_one_caption_of_two_people_is_two_items(folder):
    def change(content):
        first, other = content["TEXT"][0], next(r for r in content["TEXT"] if r[0] != content["TEXT"][0][0])
        other[1] = first[1]

    edit(folder, TEST, change)
    dataset = opened(folder)
    rows = dataset.listed["TEXT"].members["caption"]
    texts = dataset.items.caption[rows].tolist()
    twice = [row for row, text in zip(rows, texts, strict=True) if texts.count(text) == 2]
    assert len(set(twice)) == 2


def test_people_are_known_by_their_folder_whatever_the_ids(folder):
    before = opened(folder)
    edit(folder, TEST, lambda content: {key: [[r[0] + 70, *r[1:]] for r in of] for key, of in content.items()})
    edit(folder, TRAIN, lambda records: [{**r, "id": 9 - r["id"]} for r in records])
    after = opened(folder)
    assert np.array_equal(before.items.pid, after.items.pid)
    assert np.array_equal(before.listed["SK+CP"].pids, after.listed["SK+CP"].pids)


@pytest.mark.parametrize("below", ["..", "."])
def test_the_folder_above_may_be_named(folder, below):
    dataset = opened(folder / below)
    assert dataset.items.path[0].startswith("vis/" if below == "." else "ORBench/vis/")
    assert list(dataset.listed) == PUBLISHED


def test_numbers_do_not_depend_on_the_order_of_the_file_system(folder, monkeypatch):
    before = read(folder, Faults())
    monkeypatch.setattr(os, "scandir", layouts.Backwards)
    after = read(folder, Faults())
    for name in ("path", "caption", "pid", "image_id", "role", "side"):
        assert np.array_equal(getattr(before.items, name), getattr(after.items, name)), name
    for kind in QUERY_KINDS:
        for role in KINDS[kind]:
            assert np.array_equal(before.listed[kind].members[role], after.listed[kind].members[role])


def test_wrong_keys_are_named_with_the_nearest(folder):
    def change(content):
        content["NIR-CP"] = content.pop("NIR+CP")
        content["extra"] = []
        content["SK"] = {"a": 1}
        del content["TEXT+SK"]

    edit(folder, TEST, change)
    path = folder / TEST
    assert faults(folder) == [
        f"{path}: unknown key 'NIR-CP'; is 'NIR+CP' meant?",
        f"{path}: unknown key 'extra'",
        f"{path}: SK must be a list, not an object",
        f"{path}: no key 'NIR+CP'",
        f"{path}: no key 'TEXT+SK'",
    ]


def test_an_empty_gallery_is_told_once(folder):
    edit(folder, TEST, lambda content: content.update({GALLERY: []}))
    assert faults(folder) == [f"{folder / TEST}: {GALLERY} is empty"]


def test_wrong_records_are_told_with_key_and_number(folder):
    def change(content):
        content["NIR+TEXT"][0] = content["NIR+TEXT"][0][:2]
        content["NIR+TEXT"][1][2] = None
        content["TEXT"][2][0] = 999
        content["TEXT"][3][0] = "5"
        content[GALLERY][1] = {"pid": 1}

    edit(folder, TEST, change)
    path = folder / TEST
    assert faults(folder) == [
        f"{path}: RGB_GALLERY: record 1: a list is expected, not an object",
        f"{path}: TEXT: record 2: pid 999 is not in RGB_GALLERY",
        f"{path}: TEXT: record 3: pid must be an integer, not a string",
        f"{path}: NIR+TEXT: record 0: pid and 2 items are expected, not 2 values",
        f"{path}: NIR+TEXT: record 1: item 2 must be a string, not null",
    ]


def test_paths_of_another_kind_or_person_are_told(folder):
    def change(content):
        content["CP"][0][1] = "sk/0006/x.jpg"
        content["CP"][1][1] = "../../etc/passwd"
        content["CP"][2][1] = content["CP"][5][1]
        content["CP"][3][1] = "cp/\ud800/x.jpg"
        content["TEXT"][0][1] = "a man\ud800"

    edit(folder, TEST, change)
    path = folder / TEST
    other = json.loads((folder / TEST).read_text())["CP"][5][1]
    assert faults(folder) == [
        f"{path}: CP: record 0: the path must look like cp/0001/x.jpg, not 'sk/0006/x.jpg'",
        f"{path}: CP: record 1: the path must look like cp/0001/x.jpg, not '../../etc/passwd'",
        f"{path}: CP: record 2: {other} shows another person than the query's, whose folder is 0007",
        f"{path}: CP: record 3: the path must look like cp/0001/x.jpg, not 'cp/\\ud800/x.jpg'",
        f"{path}: TEXT: record 0: the caption is not valid Unicode",
    ]


def test_wrong_records_of_train_are_told(folder):
    def change(records):
        records[0]["captions"] = records[0].pop("caption")
        records[1]["id"] = "2"
        records[2]["file_path"] = "0001/x.jpg"
        records[3]["caption"] = ["a man"]
        records[4]["id"] = 77
        records.append(3)

    edit(folder, TRAIN, change)
    path = folder / TRAIN
    assert faults(folder) == [
        f"{path}: record 0: no key 'caption'; is 'captions' meant?",
        f"{path}: record 1: id must be an integer, not a string",
        f"{path}: record 2: file_path: the path must look like vis/0001/x.jpg, not '0001/x.jpg'",
        f"{path}: record 3: caption must be a string, not a list",
        f"{path}: record 10: an object is expected, not an integer",
        f"{path}: folder 0003 has two values of id: 77 and 3",
    ]


def test_a_pid_of_two_folders_is_told_once(folder):
    def change(content):
        for record in content[GALLERY][2:4]:
            record[0] = content[GALLERY][0][0]

    edit(folder, TEST, change)
    told = faults(folder)
    assert told[0] == f"{folder / TEST}: pid 6 stands for two folders: 0006 and 0007"
    assert sum("two folders" in line for line in told) == 1


def test_a_folder_that_the_annotations_cite_and_that_is_missing_is_told(folder):
    shutil.rmtree(folder / "vis" / "0002")
    told = faults(folder)
    assert len(told) == 1
    assert told[0].startswith(f"{folder / 'vis' / '0002'}: the folder is missing")
    items = opened(folder, missing="skip").items
    assert not ((items.pid == 1) & np.isin(items.role, ("rgb", "caption"))).any()


def test_people_of_train_have_every_modality_unless_it_is_tolerated(folder):
    shutil.rmtree(folder / "nir" / "0001")
    for path in (folder / "sk" / "0003").iterdir():
        path.unlink()
    (folder / "sk" / "0003" / "Thumbs.db").write_text("x")
    assert faults(folder) == [
        f"{folder / 'nir' / '0001'}: the folder is missing",
        f"{folder / 'sk' / '0003'}: no images in it, but the person is in {TRAIN}",
    ]
    items = opened(folder, missing="skip").items
    assert not ((items.pid == 0) & (items.role == "nir")).any()
    assert ((items.pid == 0) & (items.role == "sketch")).any()


def test_a_missing_query_image_drops_its_queries_where_it_is_tolerated(folder):
    before = opened(folder)
    row = before.listed["NIR"].members["nir"][0]
    lost = before.items.path[row]
    (folder / lost).unlink()
    assert faults(folder) == [f"{folder / lost}: the image is missing"]
    after = opened(folder, missing="skip")
    for kind, groups in before.listed.items():
        uses = (groups.members["nir"] == row).sum() if "nir" in groups.members else 0
        assert len(after.listed[kind]) == len(groups) - uses, kind
    assert len(after.listed["NIR"]) == 5


def test_empty_files_and_strays(folder):
    (folder / "sk" / "readme.txt").write_text("x")
    (folder / "nir" / "9999").mkdir()
    (folder / "nir" / "9999" / "x.jpg").write_text("no one's")
    assert len(opened(folder).items) == 5 * (3 + 2 + 3) * 2
    path = sorted((folder / "cp" / "0001").iterdir())[0]
    path.write_bytes(b"")
    assert faults(folder) == [f"{path}: the image is an empty file"]


@pytest.mark.parametrize("text", ["[{]", "3", "{}"])
def test_both_annotations_are_told_when_neither_can_be_read(folder, text):
    (folder / TRAIN).write_text(text)
    (folder / TEST).unlink()
    told = faults(folder)
    assert len(told) == 2
    assert told[0].startswith(f"{folder / TRAIN}")
    assert told[1].startswith(f"{folder / TEST}: no such file")


def test_a_wrong_folder_is_told_with_what_is_meant(folder):
    (told,) = faults(folder / "vis")
    assert "data.root must hold train_annos.json, test_gallery_and_queries.json, vis/" in told
    assert f"is {folder} meant?" in told
