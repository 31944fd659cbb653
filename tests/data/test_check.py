"""`data check`: one folder with everything that can be wrong, all of it told; counts; hashes."""

import errno
import json
import os
import threading

import numpy as np
import pytest
from PIL import Image

from reid_lab.data import DATASETS
from reid_lab.data import check as module
from reid_lab.data.check import Report, check
from reid_lab.data.items import Row, tabulate
from reid_lab.data.reading import Counts, Reader, Reading
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.data.writers import NAMES, writer
from reid_lab.data.writers.base import write
from tests.data.readers.worlds import opened, written

CUHK = "cuhk_pedes"


@pytest.fixture
def folder(tmp_path):
    return written(CUHK, tmp_path / "cuhk")


def cuhk(folder):
    entry = DATASETS[CUHK]
    return entry.reader(entry.spec(root=str(folder)))


def records(folder):
    return json.loads((folder / "reid_raw.json").read_text())


def save(folder, changed):
    (folder / "reid_raw.json").write_text(json.dumps(changed))


def faults_of(report):
    return [str(fault) for fault in report.faults]


def test_everything_that_can_be_wrong_is_told_at_once(folder, tmp_path, monkeypatch):
    found = records(folder)
    paths = [folder / "imgs" / record["file_path"] for record in found]
    Image.effect_noise((60, 90), 90).convert("RGB").save(paths[0], format="JPEG")
    paths[0].write_bytes(paths[0].read_bytes()[:-500])
    paths[1].write_bytes(b"")
    paths[2].write_text("no image at all")
    paths[3].unlink()
    paths[3].symlink_to(paths[3].name)
    Image.new("CMYK", (16, 32), (0, 90, 90, 0)).save(paths[4], format="JPEG")
    Image.fromarray(np.full((32, 16), 40000, dtype=np.uint16)).save(paths[5])
    Image.new("P", (16, 32), 3).save(paths[6])
    paths[7].unlink()
    found[8]["captions"] = ["a man", 5]
    found[9]["caption"] = found[9].pop("captions")
    found[10]["file_path"] = "../../etc/passwd"
    found[11]["file_path"] = "gone/1.png"
    found[12]["file_path"] = "gone/2.png"
    found[13]["file_path"] = "shut/3.png"
    found[15]["file_path"] = found[14]["file_path"]
    found[15]["id"] = found[0]["id"]
    (folder / "imgs/shut").mkdir()
    paths[13].rename(folder / "imgs/shut/3.png")
    save(folder, found)
    real = os.stat

    def refuse(path, *args, **kwargs):  # a folder that may not be entered, also where root runs the tests
        if str(path).endswith("shut/3.png"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    report = check(cuhk(folder), folder)
    monkeypatch.undo()
    where, told = folder / "reid_raw.json", faults_of(report)
    twice = f"imgs/{found[14]['file_path']}"
    expected = [
        f"{where}: record 8: captions[1] must be a string, not an integer",
        f"{where}: record 9: no key 'captions'; is 'caption' meant?",
        f"{paths[1]}: the image is an empty file",
        f"{paths[3]}: the image cannot be read ({os.strerror(errno.ELOOP)})",
        f"{folder / 'imgs/shut/3.png'}: the image cannot be read (Permission denied)",
        f"{paths[7]}: the image is missing",
        f"imgs/../../etc/passwd: the image lies outside {folder}",
        f"{folder / 'imgs/gone'}: the folder is missing, and 2 images with it",
        f"{twice}: identity 1 stands in two splits: train, test",
        f"{twice}: the rgb image is listed 2 times",
    ]
    assert told[: len(expected)] == expected
    cut, strange = told[len(expected) :]
    assert cut.startswith(f"{paths[0]}: the image cannot be read (")
    assert "truncated" in cut
    assert strange == f"{paths[2]}: the image cannot be read (no image file)"
    assert report.notes[:3] == (
        f"{paths[4]}: CMYK, read as rgb without its colour profile",
        f"{paths[5]}: 16 bits, of which the upper 8 are read",
        f"{paths[6]}: a palette image, read as rgb",
    )
    assert report.kinds == {
        "record": 2, "empty file": 1, "unreadable": 2, "missing image": 1, "outside the folder": 1,
        "missing folder": 1, "identity in two splits": 1, "duplicate image": 1, "unreadable image": 2,
    }  # fmt: skip
    assert report.told()[-1].startswith("faults: 2 record, 1 empty file, 2 unreadable, ")


def test_more_faults_of_a_kind_than_an_error_shows_are_all_told(folder):
    for record in records(folder):
        (folder / "imgs" / record["file_path"]).write_text("nothing")
    report = check(cuhk(folder), folder)
    assert report.kinds == {"unreadable image": 16}
    assert len(report.faults) == 16
    assert report.digest


def test_a_good_folder_is_counted_beside_the_literature(folder):
    report = check(cuhk(folder), folder)
    assert report.faults == ()
    assert report.notes == ()
    assert report.rows == (
        ("train", "-", "rgb", "8", "34054", "4", "11003", "-"),
        ("train", "-", "caption", "8", "68126", "4", "11003", "-"),
        ("val", "-", "rgb", "4", "3078", "2", "1000", "-"),
        ("val", "-", "caption", "4", "6158", "2", "1000", "-"),
        ("test", "-", "rgb", "4", "3074", "2", "1000", "-"),
        ("test", "-", "caption", "4", "6156", "2", "1000", "-"),
    )
    assert all(len(row) == len(Report.head) for row in report.rows)
    assert report.digest == opened(CUHK, folder).digest
    assert report.contents == ""
    assert report.told() == [
        "literature: Li et al., CVPR 2017; counts as in IRRA's code", f"digest {report.digest}", "faults: none"
    ]  # fmt: skip


def test_sides_and_several_roles_are_counted_apart_and_together(tmp_path):
    rows = [
        Row("test", "rgb", 1, 0, "1.png", side="query", camid=0),
        Row("test", "nir", 1, 0, "2.png", side="query", camid=0),
        Row("test", "rgb", 2, 1, "3.png", side="gallery", camid=1),
        Row("test", "rgb", -1, 2, "4.png", side="gallery", camid=2),
    ]
    for row in rows:
        Image.new("RGB", (4, 4)).save(tmp_path / row.path)
    expected = {"test query": Counts(9, 8), "test": Counts(7, 6, 5)}
    reader = Reader("toy", lambda root, faults: Reading(tabulate(rows)), "images", expected, "nobody")
    assert check(reader, tmp_path).rows == (
        ("test", "query", "images", "2", "8", "1", "9", "1"),
        ("test", "query", "rgb", "1", "-", "1", "-", "1"),
        ("test", "query", "nir", "1", "-", "1", "-", "1"),
        ("test", "gallery", "rgb", "2", "-", "1", "-", "2"),
        ("test", "all", "images", "4", "6", "2", "7", "3"),
        ("test", "all", "rgb", "3", "-", "2", "-", "3"),
        ("test", "all", "nir", "1", "-", "1", "-", "1"),
    )


def test_contents_are_hashed_on_request(folder):
    first = check(cuhk(folder), folder, contents=True)
    assert len(first.contents) == 64
    assert f"contents {first.contents}" in first.told()
    path = folder / "imgs" / records(folder)[0]["file_path"]
    raw = path.read_bytes()
    Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    changed = check(cuhk(folder), folder, contents=True)
    assert changed.contents != first.contents
    path.write_bytes(raw)
    assert check(cuhk(folder), folder, contents=True).contents == first.contents
    (folder / "reid_raw.json").write_text((folder / "reid_raw.json").read_text() + "\n")
    assert check(cuhk(folder), folder, contents=True).contents != first.contents


def test_notes_on_transparency_frames_sizes_and_empty_captions(folder):
    found = records(folder)
    paths = [folder / "imgs" / record["file_path"] for record in found]
    Image.new("RGBA", (16, 32), (9, 9, 9, 255)).save(paths[0])
    Image.new("RGBA", (16, 32), (9, 9, 9, 99)).save(paths[1])
    frames = [Image.new("L", (16, 32), shade) for shade in (0, 99)]
    frames[0].save(paths[2], format="TIFF", save_all=True, append_images=frames[1:])
    Image.new("1", (16, 32)).save(paths[3])
    Image.new("F", (16, 32)).save(paths[4], format="TIFF")
    Image.new("RGB", (20, 40)).save(paths[5])
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (16, 32)).save(paths[7], format="JPEG", exif=turned)
    found[6]["captions"] = [" "]
    save(folder, found)
    report = check(cuhk(folder), folder)
    assert report.notes == (
        f"{paths[0]}: an alpha channel that is opaque throughout, left out",
        f"{paths[2]}: 2 frames, of which the first is read",
        f"{paths[3]}: one bit a pixel, read as grey",
        f"{paths[7]}: EXIF says that it is turned, read as it is stored",
        "images have 2 sizes, from 32x16 to 40x20: data.image_size must be set",
        "captions without a word: 1",
    )
    told = faults_of(report)
    assert len(told) == 2
    assert "transparent" in told[0]
    assert "floating-point" in told[1]


@pytest.mark.parametrize("content", [None, "[", "{}"])
def test_annotations_that_cannot_be_read_are_the_only_fault(folder, content):
    (folder / "reid_raw.json").unlink()
    if content is not None:
        (folder / "reid_raw.json").write_text(content)
    report = check(cuhk(folder), folder)
    (told,) = faults_of(report)
    assert told.startswith(f"{folder / 'reid_raw.json'}:")
    assert (report.rows, report.digest) == ((), "")
    assert report.told()[-1] == "faults: 1 unreadable data set"


@pytest.mark.parametrize("name", NAMES)
def test_every_layout_that_is_written_is_clean(name, tmp_path):
    how = writer(name)
    spec = {"roles": list(how.roles), **how.knobs, "preset": "smoke", "image_size": (32, 16)}
    spec |= {"train_identities": 3, "val_identities": 2, "test_identities": 2, "train_images": 2, "eval_images": 3}
    write(how, open_synthetic(SyntheticSpec(**{**spec, "roles": tuple(spec["roles"])}), tmp_path), tmp_path / "out")
    entry = DATASETS[name]
    reader = entry.reader(entry.spec(root=str(tmp_path / "out")))
    report = check(reader, tmp_path / "out")
    assert report.faults == ()
    assert {row[0] for row in report.rows} >= {"train", "test"}
    assert report.digest == opened(name, tmp_path / "out").digest


def test_a_folder_that_is_not_there(tmp_path):
    assert faults_of(check(cuhk(tmp_path), tmp_path / "none")) == [f"{tmp_path / 'none'}: no such folder"]


def test_windows_that_leave_their_file_are_faults(tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "1.png")
    Image.new("RGB", (5, 4)).save(tmp_path / "2.png")
    rows = [Row("train", role, k, k, f"{k + 1}.png") for k in range(2) for role in ("rgb", "nir")]
    found = Reading(tabulate(rows), windows={"rgb": (0, 0, 3, 4), "nir": (3, 0, 3, 4)})
    report = check(Reader("toy", lambda root, faults: found, "images", {}, "nobody"), tmp_path)
    (told,) = faults_of(report)
    assert told == f"{tmp_path / '2.png'}: the image cannot be read (the window 3x4 at (3, 0) leaves its 5x4)"


def test_progress_counts_every_image_and_images_are_not_kept(folder, monkeypatch):
    steps, alive, most = [], [], []
    real, lock = module._look, threading.Lock()

    def look(*args):
        with lock:
            alive.append(1)
            most.append(len(alive))
        seen = real(*args)
        with lock:
            alive.pop()
        assert not any(isinstance(value, np.ndarray | Image.Image) for value in vars(seen).values())
        return seen

    monkeypatch.setattr(module, "_look", look)
    monkeypatch.setattr(module, "_PORTION", 5)
    check(cuhk(folder), folder, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(k, 16) for k in range(1, 17)]
    assert max(most) <= 5
