"""What a folder's files are checked for before any is opened, whichever reader found them."""

import errno
import os

import numpy as np
import pytest
from PIL import Image

from reid_lab.data import folders
from reid_lab.data.folders import Folder, Pixels, digest, inspect, without
from reid_lab.data.items import Groups, Row, tabulate
from reid_lab.data.reading import Faults, Reader, Reading
from reid_lab.errors import DataError


def reading(paths, **fields):
    """A reading with an rgb image of one identity for each path, and a caption of each."""
    rows = []
    for number, path in enumerate(paths):
        rows.append(Row("train", "rgb", number, number, path))
        rows.append(Row("train", "caption", number, number, caption=f"caption {number}", number=0))
    return Reading(tabulate(rows), b"annotations", **fields)


def reader(of):
    return Reader("toy", lambda root, faults: of, "images", {}, "nowhere")


def saved(root, *paths, size=(8, 16)):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(root / path)
    return list(paths)


def told(of, root, **options):
    faults = Faults()
    found = inspect(of, root, faults, **options)
    return [(kind, str(fault)) for kind, fault in faults.found], found


def test_a_good_folder_has_nothing_to_be_told(tmp_path):
    paths = saved(tmp_path, "a/1.png", "b/2.png")
    faults, found = told(reading(paths), tmp_path)
    assert not faults
    assert found.sizes == {path: os.path.getsize(tmp_path / path) for path in paths}
    assert found.missing == ()


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../x.png", "imgs/../a.png"])
def test_paths_that_leave_the_folder_are_refused(tmp_path, path):
    assert told(reading([path]), tmp_path)[0] == [
        ("outside the folder", f"{path}: the image lies outside {tmp_path}")
    ]  # fmt: skip


def test_a_path_with_a_nul_is_one_line(tmp_path):
    for path in ("a\0.png", "a\0b/1.png"):
        ((kind, line),) = told(reading([path]), tmp_path)[0]
        assert line.startswith(str(tmp_path / "a\\x00"))
        assert kind == "unreadable"
        assert line.endswith("the image cannot be read (embedded null byte)")


def test_loops_of_links_are_told_for_files_and_folders(tmp_path):
    (tmp_path / "file.png").symlink_to("file.png")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    faults, _ = told(reading(["file.png", "one/1.png"]), tmp_path)
    why = os.strerror(errno.ELOOP)
    assert faults == [
        ("unreadable", f"{tmp_path / 'file.png'}: the image cannot be read ({why})"),
        ("unreadable", f"{tmp_path / 'one/1.png'}: the image cannot be read ({why})"),
    ]


def test_links_that_leave_the_folder_are_refused_and_others_followed(tmp_path):
    root = tmp_path / "root"
    saved(tmp_path, "outside.png", "root/in/1.png")
    (root / "out.png").symlink_to(tmp_path / "outside.png")
    (root / "up").symlink_to(tmp_path)
    (root / "in/2.png").symlink_to("1.png")
    (root / "broken.png").symlink_to("none.png")
    faults, found = told(reading(["out.png", "up/outside.png", "in/2.png", "broken.png"]), root)
    assert [kind for kind, _ in faults] == ["outside the folder", "outside the folder", "missing image"]
    assert set(found.sizes) == {"in/2.png"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered_is_told(tmp_path):
    saved(tmp_path, "shut/1.png")
    (tmp_path / "shut").chmod(0)
    try:
        faults, _ = told(reading(["shut/1.png"]), tmp_path)
    finally:
        (tmp_path / "shut").chmod(0o700)
    assert faults == [
        ("unreadable", f"{tmp_path / 'shut/1.png'}: the image cannot be read ({os.strerror(errno.EACCES)})")
    ]  # fmt: skip


def test_what_the_system_refuses_is_told(tmp_path, monkeypatch):
    saved(tmp_path, "shut/1.png", "2.png")
    real = os.stat

    def refuse(path, *args, **kwargs):
        if "shut/" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(folders.os, "stat", refuse)
    faults, found = told(reading(["shut/1.png", "2.png"]), tmp_path)
    assert faults == [
        ("unreadable", f"{tmp_path / 'shut/1.png'}: the image cannot be read ({os.strerror(errno.EACCES)})")
    ]  # fmt: skip
    assert set(found.sizes) == {"2.png"}


def test_a_missing_folder_is_one_line_with_the_number_of_its_images(tmp_path):
    saved(tmp_path, "a/1.png")
    faults, found = told(reading(["a/1.png", "a/2.png", "b/1.png", "b/2.png", "a/c/d/1.png", "a/c/e/1.png"]), tmp_path)
    assert faults == [
        ("missing image", f"{tmp_path / 'a/2.png'}: the image is missing"),
        ("missing folder", f"{tmp_path / 'b'}: the folder is missing, and 2 images with it"),
        ("missing folder", f"{tmp_path / 'a/c'}: the folder is missing, and 2 images with it"),
    ]
    assert found.missing == ("a/2.png", "b/1.png", "b/2.png", "a/c/d/1.png", "a/c/e/1.png")
    assert told(reading(["a/1.png", "b/1.png"]), tmp_path, tolerated=True)[0] == []


def test_empty_files_and_folders_in_the_place_of_images(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [kind for kind, _ in told(reading(["empty.png", "folder.png"]), tmp_path)[0]] == ["empty file", "no file"]


def test_contradictions_of_the_items(tmp_path):
    saved(tmp_path, "1.png", "2.png")
    rows = [
        Row("train", "rgb", 4, 0, "1.png"),
        Row("test", "rgb", 4, 1, "2.png"),
        Row("train", "rgb", 5, 2, "./1.png"),
        Row("train", "nir", 5, 2, "1.png"),
        Row("train", "caption", 5, 9, caption="of nothing", number=0),
        Row("test", "caption", -1, -1, caption="a query", number=0),
        Row("train", "caption", -1, -1, caption="unlabelled", number=0),
    ]
    assert told(Reading(tabulate(rows), first_id=1), tmp_path)[0] == [
        ("identity in two splits", "2.png: identity 5 stands in two splits: train, test"),
        ("duplicate image", "1.png: the rgb image is listed 2 times"),
        ("caption without image", "no image belongs to the caption 'of nothing'"),
    ]


def test_missing_images_may_be_left_out_with_all_that_needs_them(tmp_path):
    paths = saved(tmp_path, "1.png", "2.png", "3.png")
    groups = Groups({"rgb": np.array([0, 2, 4])}, np.arange(3), np.full(3, -1), np.arange(3))
    whole = reading(paths, listed={"all": groups})
    before = Folder(reader(whole), tmp_path, Pixels())
    (tmp_path / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png: the image is missing"):
        Folder(reader(whole), tmp_path, Pixels())
    after = Folder(reader(whole), tmp_path, Pixels(), "skip")
    assert after.left_out == ("2.png",)
    assert after.items.pid.tolist() == [0, 0, 2, 2]
    assert after.items.caption.tolist() == [None, "caption 0", None, "caption 2"]
    assert after.listed["all"].members["rgb"].tolist() == [0, 2]
    assert after.listed["all"].image_ids.tolist() == [0, 2]
    assert after.digest != before.digest
    assert Folder(reader(reading(["1.png", "3.png"])), tmp_path, Pixels(), "skip").digest == after.digest
    with pytest.raises(DataError, match="no images in it"):
        Folder(reader(reading(["x.png"])), tmp_path, Pixels(), "skip")


def test_captions_stay_while_an_image_of_their_moment_does(tmp_path):
    rows = [
        Row("train", "rgb", 0, 0, "1.png"),
        Row("train", "nir", 0, 0, "2.png"),
        Row("train", "caption", 0, 0, caption="a", number=0),
        Row("train", "caption", 0, -1, caption="alone", number=0),
        Row("train", "rgb", 0, -1, "3.png"),
    ]
    left = without(Reading(tabulate(rows)), ("2.png", "3.png"))
    assert left.items.role.tolist() == ["rgb", "caption", "caption"]


def test_the_digest_knows_names_that_are_no_text(tmp_path):
    one, other = (digest(reading([name]), {name: 1}) for name in ("a\udcff.png", "a\udcfe.png"))
    assert one != other


def test_windows_are_parts_of_a_file(tmp_path):
    plane = np.zeros((4, 6, 3), dtype=np.uint8)
    plane[:, 3:] = 200
    Image.fromarray(plane).save(tmp_path / "1.png")
    rows = [Row("train", "rgb", 0, 0, "1.png"), Row("train", "nir", 0, 0, "1.png")]
    found = Reading(tabulate(rows), windows={"rgb": (0, 0, 3, 4), "nir": (3, 0, 3, 4)})
    dataset = Folder(reader(found), tmp_path, Pixels())
    assert dataset.size == (4, 3)
    assert np.array_equal(dataset.images(np.array([0]), None), np.zeros((1, 3, 4, 3)))
    assert np.array_equal(dataset.images(np.array([1]), None), np.full((1, 1, 4, 3), 200))


def test_what_was_found_before_a_reader_gave_up_is_told_too(tmp_path):
    def read(root, faults):
        faults.add("row", "wrong", "rows.csv:2")
        raise DataError("no\tend")

    with pytest.raises(DataError) as caught:
        Folder(Reader("toy", read, "rows", {}, ""), tmp_path, Pixels())
    assert [str(fault) for fault in caught.value.faults] == ["rows.csv:2: wrong", "no\\tend"]


@pytest.mark.parametrize("name", ["none", "file", "loop"])
def test_a_root_that_is_no_folder(tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match=r"(no such|is no) folder \(data.root\)"):
        Folder(reader(reading([])), tmp_path / name, Pixels())
