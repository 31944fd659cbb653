"""The reader of CUHK-PEDES: what it finds in a good folder, and what it says of a bad one."""

import json

import numpy as np
import pytest
from PIL import Image

from reid_lab.catalogue import load_data
from reid_lab.data import DATASETS
from reid_lab.data.items import delivered_size
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.data.writers import writer
from reid_lab.data.writers.base import write
from reid_lab.errors import DataError, SpecError

ENTRY = DATASETS["cuhk_pedes"]
SMALL = SyntheticSpec(
    preset="smoke",
    roles=("rgb", "caption"),
    train_identities=8,
    val_identities=3,
    test_identities=4,
    train_images=2,
    eval_images=2,
    image_size=(64, 32),
)
NEAREST = (
    "unknown modality 'vsi'; allowed: caption, cloth_caption, cp, cpencil, id_caption, ir, ni, nir, rgb, sk, sketch, "
    "text, th, thermal, ti, tir, vis; did you mean 'vis'?"
)
COLUMNS = ("split", "role", "side", "pid", "image_id", "number", "caption")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return open_synthetic(SMALL, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def folder(embedded, tmp_path):
    write(writer("cuhk_pedes"), embedded, tmp_path / "cuhk", "png")
    return tmp_path / "cuhk"


def opened(folder, **fields):
    return ENTRY.open(ENTRY.spec(root=str(folder), **fields), folder)


def edit(folder, change):
    """Rewrites the annotation with what `change` makes of its records."""
    path = folder / "reid_raw.json"
    records = json.loads(path.read_text())
    path.write_text(json.dumps(change(records) or records))


def cited(folder):
    """The paths of the images that the records show, in their order."""
    return [f"imgs/{record['file_path']}" for record in json.loads((folder / "reid_raw.json").read_text())]


def rgb(dataset):
    return np.flatnonzero(dataset.items.role == "rgb")


def faults(folder, **fields):
    with pytest.raises(DataError) as caught:
        opened(folder, **fields)
    return [str(fault) for fault in caught.value.faults]


def test_a_written_folder_gives_the_same_items_and_the_same_pixels(embedded, folder):
    dataset = opened(folder)
    for name in COLUMNS:
        assert np.array_equal(getattr(dataset.items, name), getattr(embedded.items, name)), name
    assert np.array_equal(dataset.images(rgb(dataset), None), embedded.images(rgb(embedded), None))
    assert np.array_equal(dataset.images(rgb(dataset), (48, 24)), embedded.images(rgb(embedded), (48, 24)))
    assert delivered_size(dataset) == (64, 32)


def test_jpeg_pixels_are_close(embedded, tmp_path):
    write(writer("cuhk_pedes"), embedded, tmp_path / "jpeg")
    dataset = opened(tmp_path / "jpeg")
    error = dataset.images(rgb(dataset), None).astype(int) - embedded.images(rgb(embedded), None)
    assert 0 < np.abs(error).mean() < 3


def test_several_captions_of_an_image_share_its_number(folder):
    def change(records):
        records[0]["captions"] = ["one", "two", "three"]

    edit(folder, change)
    items = opened(folder).items
    assert items.role[:5].tolist() == ["rgb", "caption", "caption", "caption", "rgb"]
    assert items.caption[:5].tolist() == [None, "one", "two", "three", None]
    assert items.image_id[:5].tolist() == [0, 0, 0, 0, 1]
    assert set(items.camid.tolist()) == {-1}


def test_a_record_may_name_its_modality_by_any_alias(folder):
    def change(records):
        records[0]["modality"] = "NI"
        records[1]["modality"] = "lidar"
        records[2]["modality"] = "vis"

    edit(folder, change)
    dataset = opened(folder, aliases={"lidar": "tir"})
    assert dataset.items.role[:6:2].tolist() == ["nir", "tir", "rgb"]
    with Image.open(folder / dataset.items.path[0]) as file:
        assert np.array_equal(dataset.images(np.array([0]), None)[0, 0], np.asarray(file.convert("L")))
    (told,) = faults(folder)
    assert "record 1: unknown modality 'lidar'" in told


def test_scenes_are_the_folders_of_the_images(folder):
    items = opened(folder).items
    of = dict(zip(items.path[::2], items.scene[::2].tolist(), strict=True))
    folders = sorted({path.split("/")[1] for path in of})
    assert all(folders[scene] == path.split("/")[1] for path, scene in of.items())
    assert items.scene[::2].tolist() == items.scene[1::2].tolist()


def test_images_of_any_mode_are_read_as_rgb_and_resized(folder):
    path = folder / opened(folder).items.path[0]
    Image.new("P", (50, 90), 0).save(path)
    dataset = opened(folder, image_size=(64, 32))
    assert dataset.images(rgb(dataset)[:2], None).shape == (2, 3, 64, 32)


@pytest.mark.parametrize(("resize", "filter_"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC")])
def test_resizing_is_pillows(folder, resize, filter_):
    dataset = opened(folder, image_size=(40, 20), resize=resize)
    with Image.open(folder / dataset.items.path[0]) as file:
        expected = file.convert("RGB").resize((20, 40), Image.Resampling[filter_])
    assert np.array_equal(dataset.images(rgb(dataset)[:1], None)[0], np.asarray(expected).transpose(2, 0, 1))


def test_images_are_kept_in_memory_as_far_as_it_goes(folder, monkeypatch):
    reads = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda path: reads.append(path) or real(path))
    one = 3 * 64 * 32
    dataset = opened(folder, image_size=(64, 32), cache=2.5 * one / 2**30)
    first = dataset.images(rgb(dataset), None)
    assert len(reads) == len(first)
    reads.clear()
    assert np.array_equal(dataset.images(rgb(dataset), None), first)
    assert len(reads) == len(first) - 2
    whole = opened(folder, image_size=(64, 32))
    whole.images(rgb(whole), None)
    reads.clear()
    assert np.array_equal(whole.images(rgb(whole)[::-1], None), first[::-1])
    assert not reads


def test_the_digest_tells_what_was_read(folder):
    before = opened(folder).digest
    assert opened(folder, resize="bicubic").digest == before
    assert opened(folder, val="none").digest != before
    path = folder / opened(folder).items.path[0]
    path.write_bytes(path.read_bytes() + b"\0")
    changed = opened(folder).digest
    assert changed != before
    edit(folder, lambda records: records[0]["captions"].append("another"))
    assert opened(folder).digest not in (before, changed)


def without_val(records):
    return [record for record in records if record["split"] != "val"]


def test_val_is_carved_where_the_authors_have_none(folder):
    edit(folder, without_val)
    dataset = opened(folder, val={"identities": 0.25, "seed": 1})
    items = dataset.items
    assert len(np.unique(items.pid[items.split == "val"])) == 2
    assert not set(items.pid[items.split == "val"].tolist()) & set(items.pid[items.split == "train"].tolist())
    assert opened(folder, val={"identities": 0.25, "seed": 2}).digest != dataset.digest
    assert opened(folder, val={"identities": 0.25, "seed": 1}).digest == dataset.digest
    assert "val" not in opened(folder, val="none").items.splits()


def test_val_none_trains_on_everything(embedded, folder):
    items = opened(folder, val="none").items
    assert (items.split == "train").sum() == np.isin(embedded.items.split, ("train", "val")).sum()


def test_a_val_that_does_not_fit_is_refused(folder):
    assert "the authors have a val split" in faults(folder, val={"identities": 0.25, "seed": 1})[0]
    edit(folder, without_val)
    assert "the authors have no val split" in faults(folder)[0]


def test_the_folder_must_be_named():
    with pytest.raises(SpecError, match=r"data\.root|root.*missing"):
        load_data("cuhk_pedes")


def test_a_folder_that_is_not_there(tmp_path):
    assert faults(tmp_path / "nowhere") == [f"{tmp_path / 'nowhere'}: no such folder (data.root)"]


def test_a_folder_without_its_annotation(tmp_path):
    (told,) = faults(tmp_path)
    assert told.startswith(f"{tmp_path / 'reid_raw.json'}: no such file")


def test_a_folder_without_images(folder):
    (folder / "imgs").rename(folder / "images")
    assert faults(folder) == [f"{folder / 'imgs'}: the folder is missing, and 30 images with it"]


@pytest.mark.parametrize("text", ["[{]", "", '[{"id": 1},]', "[" * 100000])
def test_an_annotation_that_is_no_json(folder, text):
    (folder / "reid_raw.json").write_text(text)
    (told,) = faults(folder)
    assert told.startswith(f"{folder / 'reid_raw.json'}:")
    assert ": no JSON (" in told


def test_an_annotation_that_is_no_text(folder):
    (folder / "reid_raw.json").write_bytes(b"[\xff\xfe\x00")
    assert "no JSON" in faults(folder)[0]


@pytest.mark.parametrize("content", ["{}", "[]", "3"])
def test_an_annotation_that_is_no_list_of_records(folder, content):
    (folder / "reid_raw.json").write_text(content)
    assert "a list of records is expected" in faults(folder)[0]


def renamed(record, old, new):
    record[new] = record.pop(old)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: renamed(r, "captions", "caption"), "no key 'captions'; is 'caption' meant?"),
        (lambda r: r.pop("id"), "no key 'id'"),
        (lambda r: r.update(id="7"), "id must be an integer, not a string"),
        (lambda r: r.update(id=True), "id must be an integer, not true"),
        (lambda r: r.update(id=-1), "id must lie between 0 and 2147483648, not -1"),
        (lambda r: r.update(id=2**31 + 1), "id must lie between 0 and 2147483648, not 2147483649"),
        (lambda r: r.update(split="dev"), "unknown split 'dev'; allowed: test, train, val"),
        (lambda r: r.update(modality="vsi"), NEAREST),
        (lambda r: r.update(modality="text"), "modality 'text' is no image"),
        (lambda r: r.update(captions="a man"), "captions must be a list, not a string"),
        (lambda r: r.update(captions=["a man", None]), "captions[1] must be a string, not null"),
        (lambda r: r.update(captions=["\ud83d"]), "captions[0] is not valid Unicode"),
        (lambda r: r.update(file_path=["x"]), "file_path must be a string, not a list"),
        (lambda r: r.update(file_path="a\0b"), "file_path 'a\\x00b' is no path"),
        (lambda r: r.update(file_path="\udc00.png"), "file_path '\\udc00.png' is no path"),
    ],
)  # fmt: skip
def test_a_wrong_record_is_named(folder, change, told):
    edit(folder, lambda records: change(records[2]) and None)
    assert faults(folder) == [f"{folder / 'reid_raw.json'}: record 2: {told}"]


def test_all_wrong_records_are_told_at_once_and_the_rest_is_counted(folder):
    def change(records):
        records[1].pop("split")
        records[1]["id"] = None
        return [*records, 5, *[{**record, "split": "dev"} for record in records[:9]]]

    edit(folder, change)
    told = faults(folder)
    assert told[0].endswith("record 1: no key 'split'")
    assert told[1].endswith("record 1: id must be an integer, not null")
    assert told[2].endswith("record 30: an object is expected, not an integer")
    assert told[3].endswith("record 31: unknown split 'dev'; allowed: test, train, val")
    assert told[4].endswith("record 32: id must be an integer, not null")
    assert told[5:] == ["… and 7 more of this kind (record)"]


def test_a_person_in_two_splits_is_refused(folder):
    edit(folder, lambda records: records[0].update(split="test"))
    path = cited(folder)[0]
    assert faults(folder) == [f"{path}: identity 1 stands in two splits: train, test"]


def test_ids_may_count_from_0_and_pids_do_not_depend_on_the_order_of_records(folder):
    pids = opened(folder).items.pid.tolist()
    edit(folder, lambda records: [record.update(id=record["id"] - 1) for record in records] and None)
    assert opened(folder).items.pid.tolist() == pids
    edit(folder, lambda records: records[::-1])
    assert opened(folder).items.pid.tolist() == pids[::-1]


def test_missing_images_may_be_skipped(folder):
    whole, (first, *_) = opened(folder), cited(folder)
    (folder / first).unlink()
    assert faults(folder) == [f"{folder / first}: the image is missing"]
    left = opened(folder, missing="skip")
    assert left.left_out == (first,)
    assert left.items.path[0] == whole.items.path[2]
    assert len(left.items) == len(whole.items) - 2
    assert left.digest != whole.digest


def test_a_folder_that_the_records_cite_and_that_is_missing_is_one_line(folder):
    count = sum(path.startswith("imgs/Market/") for path in cited(folder))
    (folder / "imgs/Market").rename(folder / "market")
    assert faults(folder) == [f"{folder / 'imgs/Market'}: the folder is missing, and {count} images with it"]
    left = opened(folder, missing="skip")
    assert len(left.left_out) == count
    assert len(left.items) == 60 - 2 * count


def test_missing_empty_and_strange_images_are_told_together(folder, tmp_path):
    paths = cited(folder)
    for path in paths[:7]:
        (folder / path).unlink()
    (folder / paths[7]).write_bytes(b"")
    outside = tmp_path / "outside.png"
    (folder / paths[8]).rename(outside)
    (folder / paths[8]).symlink_to(outside)

    def change(records):
        records[9]["file_path"] = "../../outside.png"
        records[10]["file_path"] = str(outside)

    edit(folder, change)
    assert faults(folder) == [
        *[f"{folder / path}: the image is missing" for path in paths[:5]],
        "… and 2 more of this kind (missing image)",
        f"{folder / paths[7]}: the image is an empty file",
        f"{paths[8]}: the image lies outside {folder}",
        f"imgs/../../outside.png: the image lies outside {folder}",
        f"{outside}: the image lies outside {folder}",
    ]


def test_a_linked_folder_that_leaves_the_root_is_refused(folder, tmp_path):
    (folder / "imgs").rename(tmp_path / "elsewhere")
    (folder / "imgs").symlink_to(tmp_path / "elsewhere")
    told = faults(folder)
    assert told[0] == f"{cited(folder)[0]}: the image lies outside {folder}"
    assert told[5:] == ["… and 25 more of this kind (outside the folder)"]


def test_links_that_stay_inside_are_followed(folder, tmp_path):
    (folder / "imgs").rename(folder / "pictures")
    (folder / "imgs").symlink_to(folder / "pictures")
    (tmp_path / "link").symlink_to(folder)
    assert len(opened(tmp_path / "link").items) == 60


def test_images_of_several_sizes_need_a_size(folder):
    path = folder / opened(folder).items.path[2]
    Image.new("RGB", (20, 50)).save(path)
    (told,) = faults(folder)
    assert told.startswith(f"{path}: the image is 50x20, but ")
    assert "set data.image_size" in told
    dataset = opened(folder, image_size=(64, 32))
    assert dataset.images(rgb(dataset), None).shape == (30, 3, 64, 32)


def test_files_that_are_no_images_are_named_when_the_headers_are_read(folder):
    path = folder / opened(folder).items.path[0]
    path.write_text("hello")
    assert faults(folder) == [f"{path}: the image cannot be read (no image file)"]


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_broken_images_are_named_all_at_once(embedded, tmp_path, image_format):
    folder = tmp_path / "broken"
    write(writer("cuhk_pedes"), embedded, folder, image_format)
    paths = [folder / p for p in opened(folder).items.path[::2]]
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    paths[3].write_text("no image at all")
    dataset = opened(folder, image_size=(64, 32))
    assert dataset.images(rgb(dataset)[[0, 2]], None).shape == (2, 3, 64, 32)
    with pytest.raises(DataError) as caught:
        dataset.images(rgb(dataset)[:5], None)
    told = [str(fault) for fault in caught.value.faults]
    assert [line.split(": the image cannot be read")[0] for line in told] == [str(paths[1]), str(paths[3])]


def test_captions_have_no_pixels(folder):
    with pytest.raises(DataError, match="must be images of one role, not caption, rgb"):
        opened(folder).images(np.array([0, 1]), None)
