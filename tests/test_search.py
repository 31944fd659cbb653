"""Search: ranks, what is kept between searches, pages in a real browser, and what is refused."""

import json
import os
import shutil
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from reid_lab import search as room
from reid_lab.assembly import Parts, assemble, open_source
from reid_lab.catalogue import load_spec
from reid_lab.data import gallery as store
from reid_lab.data.files import ImageFiles
from reid_lab.data.items import singles
from reid_lab.engine.checkpoint import load_weights
from reid_lab.tracking.runs import RunFolder
from tests.lab import Lab

SHORT = ("train.length={steps: 2}", "train.batch.size=8", "eval.select_on=last")
WORDS = "a woman in a red coat with a backpack"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_clip, world_cache):
    """A tiny run, its test images as files, and its embeddings of them by the evaluation's own path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REID_LAB_CACHE", str(world_cache))
        lab = Lab(tmp_path_factory.mktemp("searched"), tiny_clip, world_cache)
        done = lab.run(*SHORT)
        assert done.code == 0, done.err
        spec = load_spec(lab.only.path / "spec.yaml").spec
        parts = assemble(spec, open_source(spec.data))
        load_weights(lab.only.selected, parts.model)
        groups = singles(parts.source.dataset.items, "test", "rgb")
        pixels = parts.source.dataset.images(groups.members["rgb"], None)
        folder = lab.folder / "images"
        for number, image in enumerate(pixels):
            file = folder / f"p{groups.pids[number]}" / f"{number:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(file)
    return lab, parts, groups, parts.embed(groups).numpy()


@pytest.fixture
def ask(trained, tmp_path, monkeypatch):
    """`reid-lab search` of the run over a copy of the images, with a cache of its own."""
    lab = trained[0]
    monkeypatch.setenv("REID_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(lab.folder / "images", tmp_path / "gallery")

    def call(*arguments, run=lab.only.run_id):
        return lab.call("search", run, *arguments, "--runs", str(lab.runs))

    return call


@pytest.fixture
def reading(monkeypatch):
    """The paths of every image that is decoded."""
    seen = []
    read = ImageFiles.read

    def spy(self, paths, *more, **others):
        seen.extend(paths)
        return read(self, paths, *more, **others)

    monkeypatch.setattr(ImageFiles, "read", spy)
    return seen


def table(outcome) -> list[list[str]]:
    assert outcome.code == 0, outcome.err
    return [line.split() for line in outcome.out[1:]]


def embedded(parts: Parts, *rows) -> np.ndarray:
    return room._embedded(parts, rows).numpy()


def settle(folder, seconds=100):
    """Gives all files a time that is long past."""
    for file in folder.rglob("*.*"):
        past = time.time_ns() - seconds * 10**9
        os.utime(file, ns=(past, past))


def test_words_rank_the_folder_by_the_inner_product(trained, ask):
    _, parts, groups, vectors = trained
    found = table(ask(WORDS, "--gallery", "gallery", "--top", "5"))
    scores = (embedded(parts, store.text(WORDS, "caption")) @ vectors.T)[0]
    names = [f"p{pid}/{number:02d}.png" for number, pid in enumerate(groups.pids)]
    order = sorted(range(len(names)), key=lambda k: (-scores[k], names[k]))[:5]
    assert [(row[0], row[2]) for row in found] == [(str(rank), names[k]) for rank, k in enumerate(order, 1)]
    assert [float(row[1]) for row in found] == pytest.approx([scores[k] for k in order], abs=2e-4)


def test_an_image_finds_itself_and_a_fused_query_is_one_group(trained, ask):
    _, parts, groups, vectors = trained
    own = f"gallery/p{groups.pids[3]}/03.png"
    (first,) = table(ask("--image", own, "--gallery", "gallery", "--top", "1"))
    assert first[1:] == ["1.0000", own.removeprefix("gallery/")]
    found = table(ask(WORDS, "--image", f"vis={own}", "--gallery", "gallery", "--top", "1"))
    text, image = embedded(parts, store.text(WORDS, "caption")), vectors[3:4]
    fused = text + image
    scores = (fused / np.linalg.norm(fused) @ vectors.T)[0]
    assert float(found[0][1]) == pytest.approx(scores.max(), abs=2e-4)


def test_a_second_search_reads_no_image(trained, ask, tmp_path, reading):
    settle(tmp_path / "gallery")
    first = ask(WORDS, "--gallery", "gallery")
    assert len(reading) == 12
    assert "embedding 12 images of gallery" in first.err[0]
    reading.clear()
    again = ask(WORDS, "--gallery", "gallery")
    assert again.out == first.out
    assert reading == []
    assert not any("embedding" in line for line in again.err)
    (kept,) = (tmp_path / "cache" / "galleries").iterdir()
    assert kept.suffix == ".npz"


def test_what_changed_is_embedded_again_and_what_moved_is_not(trained, ask, tmp_path, reading):
    gallery = tmp_path / "gallery"
    settle(gallery)
    ask(WORDS, "--gallery", "gallery")
    reading.clear()
    one, two, *_, last = sorted(gallery.rglob("*.png"))
    shutil.copy(two, one)
    last.rename(gallery / "moved.png")
    (gallery / "new.png").write_bytes(two.read_bytes())
    found = {row[2]: row[1] for row in table(ask(WORDS, "--gallery", "gallery", "--top", "50"))}
    assert reading == []  # all contents are known
    inside = [file.relative_to(gallery).as_posix() for file in (one, two)]
    assert found[inside[0]] == found[inside[1]] == found["new.png"]
    assert len(found) == 13

    Image.new("RGB", (16, 32), "red").save(two)
    changed = {row[2]: row[1] for row in table(ask(WORDS, "--gallery", "gallery", "--top", "50"))}
    assert reading == [inside[1]]
    assert changed[inside[1]] != found[inside[1]]


def test_a_change_within_the_tick_of_the_clock_is_seen(trained, ask, tmp_path):
    """Size and time are those of the last search; only the content tells."""
    file = tmp_path / "gallery" / "a.bmp"
    Image.new("RGB", (16, 32), "red").save(file)
    before = file.stat()
    first = {row[2]: row[1] for row in table(ask(WORDS, "--gallery", "gallery"))}
    Image.new("RGB", (16, 32), "blue").save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert {row[2]: row[1] for row in table(ask(WORDS, "--gallery", "gallery"))}["a.bmp"] != first["a.bmp"]


def test_a_damaged_cache_is_written_anew_and_one_that_cannot_be_written_is_told(trained, ask, tmp_path, monkeypatch):
    first = ask(WORDS, "--gallery", "gallery")
    (kept,) = (tmp_path / "cache" / "galleries").iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:100], whole[:-30], b"no archive"):
        kept.write_bytes(damaged)
        assert ask(WORDS, "--gallery", "gallery").out == first.out
        assert len(kept.read_bytes()) == len(whole)
    shutil.rmtree(kept.parent)
    kept.parent.write_text("in the way")
    told = ask(WORDS, "--gallery", "gallery")
    assert told.out == first.out
    assert any("could not be kept" in line for line in told.err)


def test_other_weights_have_their_own_embeddings(trained, ask, tmp_path):
    lab = trained[0]
    ask(WORDS, "--gallery", "gallery")
    first = lab.only.run_id
    assert lab.run(*SHORT, "seed=1").code == 0
    (other,) = (run for run in lab.folders() if run.run_id != first)
    try:
        ask(WORDS, "--gallery", "gallery", run=other.run_id)
        assert len(list((tmp_path / "cache" / "galleries").iterdir())) == 2
    finally:
        shutil.rmtree(other.path)


def test_the_test_gallery_knows_its_identities(trained, ask, reading):
    _, parts, groups, vectors = trained
    items = parts.source.dataset.items
    item = items.select("test", "caption")[4]
    first = ask(str(items.caption[item]), "--top", "12")
    found = table(first)
    scores = (embedded(parts, store.text(str(items.caption[item]), "caption")) @ vectors.T)[0]
    order = np.argsort(-scores, kind="stable")
    right = ["yes" if groups.pids[k] == items.pid[item] else "no" for k in order]
    assert [row[-1] for row in found] == right
    assert right.count("yes") == 2
    assert first.out[0].split() == ["rank", "score", "image", "correct"]
    again = ask(str(items.caption[item]), "--top", "12")
    assert again.out == first.out
    assert not any("embedding" in line for line in again.err)
    assert "correct" not in ask("nobody ever wrote this").out[0]
    foreign = ("--image", f"gallery/p{groups.pids[0]}/00.png")  # a copy: nobody told whom it shows
    assert "correct" not in ask(str(items.caption[item]), *foreign).out[0]
    assert "correct" in ask("nobody ever wrote this", "--pid", "31").out[0]
    told = ask(WORDS, "--gallery", "gallery", "--pid", "31")
    assert "correct" not in told.out[0]
    assert any("--pid 31" in line and "not known" in line for line in told.err)


def test_an_image_of_the_test_data_is_known(trained, ask, tmp_path):
    """A run on a folder: the path of a query image tells its person."""
    lab = trained[0]
    folder = lab.written("png")
    first = lab.only.run_id
    try:
        sets = (f"data={{name: cuhk_pedes, root: {folder}, image_size: [32, 16]}}",)
        assert lab.run(*SHORT, *sets).code == 0
        (other,) = (run for run in lab.folders() if run.run_id != first)
        rows = [row for row in json.loads((folder / "reid_raw.json").read_text()) if row["split"] == "test"]
        done = ask("--image", str(folder / "imgs" / rows[0]["file_path"]), run=other.run_id)
        correct = {row[2] for row in table(done) if row[-1] == "yes"}
        assert {name.removeprefix("imgs/") for name in correct} == {
            row["file_path"] for row in rows if row["id"] == rows[0]["id"]
        }
    finally:
        for run in lab.folders():
            if run.run_id != first:
                shutil.rmtree(run.path)


def test_words_that_the_vocabulary_does_not_hold_are_told(ask):
    told = ask("a woman in a blackish spaceship, with a backpack", "--gallery", "gallery")
    assert told.code == 0
    (line,) = (line for line in told.err if "vocabulary" in line)
    assert line.endswith("say little: blackish, spaceship")
    assert not any("vocabulary" in line for line in ask(WORDS, "--gallery", "gallery").err)
    long = ask("a red coat " * 30, "--gallery", "gallery")
    assert any("tokens" in line and "cut" in line for line in long.err)


def test_unreadable_images_are_left_out_and_named(ask, tmp_path):
    good = (tmp_path / "gallery" / "p30" / "00.png").read_bytes()
    (tmp_path / "gallery" / "broken.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "gallery" / "empty.jpg").touch()
    (tmp_path / "gallery" / "notes.txt").write_text("no image")
    (tmp_path / "gallery" / "loop").symlink_to(tmp_path / "gallery")
    for _ in range(2):
        found = ask(WORDS, "--gallery", "gallery", "--top", "50")
        assert len(table(found)) == 12
        assert any("2 of 14 images cannot be read" in x and "broken.png, empty.jpg" in x for x in found.err)
        assert any("the gallery has 12 images" in line for line in found.err)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "nothing to search for"),
        (("   ",), "are empty"),
        ((WORDS, "--gallery", "nowhere"), "nowhere: no such folder"),
        ((WORDS, "--gallery", "nothing"), "nothing: no images in it"),
        ((WORDS, "--gallery", "text.png"), "text.png: is no folder"),
        (("--image", "nowhere.png"), "nowhere.png: no such image"),
        (("--image", "text.png"), "text.png: the image cannot be read"),
        (("--image", "nir=red.png"), "irra does not read nir images (it reads rgb)"),
        (("--image", "rbg=red.png"), "did you mean 'rgb'?"),
        (("--image", "red.png", "--image", "rgb=red.png"), "a second rgb image"),
        ((WORDS, "--gallery", "tir=gallery"), "irra does not read tir images"),
        ((WORDS, "--out", "page.pdf"), ".html, .png"),
        ((WORDS, "--top", "0"), "top"),
    ],
)
def test_refused(ask, tmp_path, arguments, what):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "text.png").write_text("no image")
    Image.new("RGB", (16, 32), "red").save(tmp_path / "red.png")
    refused = ask(*arguments)
    assert refused.code == 2
    assert any(what in line for line in refused.complaints), refused.complaints


def test_a_run_that_is_not_there_or_not_finished(trained, ask, tmp_path):
    lab = trained[0]
    assert "no run 'zzz'" in ask(WORDS, run="zzz").complaints[0]
    bare = RunFolder(lab.runs / "0123456789ab-1")
    bare.path.mkdir()
    bare.journal.touch()
    try:
        assert "is not finished" in ask(WORDS, run=bare.run_id).complaints[0]
    finally:
        shutil.rmtree(bare.path)


def test_pages(trained, ask, tmp_path):
    items = trained[1].source.dataset.items
    caption = str(items.caption[items.select("test", "caption")[0]])
    done = ask(caption, "--top", "6", "--out", "new/page.png")
    assert done.out[-1] == "new/page.png"
    with Image.open(tmp_path / "new" / "page.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 20)}
    assert (213, 94, 0) in colours
    red = ask("<script>alert(1)</script> & co", "--gallery", "gallery", "--top", "6", "--out", "page.html")
    assert red.code == 0, red.err
    page = (tmp_path / "page.html").read_text()
    assert page.count("<li") == 6
    assert "<script" not in page
    assert "http" not in page
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def screenshot(page, folder, width=1200, height=900):
    shot = folder / "shot.png"
    flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
    flags += ["disable-component-update", "disable-sync", "hide-scrollbars", "force-device-scale-factor=1"]
    place = [f"--user-data-dir={folder / 'profile'}", f"--screenshot={shot}", f"--window-size={width},{height}"]
    subprocess.run(
        [CHROMIUM, *(f"--{flag}" for flag in flags), *place, page.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    with Image.open(shot) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def frames(shot, colour) -> int:
    """How many separate frames of a colour a picture has: each begins where a wide line of it has none above."""
    here = np.abs(shot - np.array(colour)).max(axis=2) <= 6
    count = 0
    for row in range(1, len(here)):
        for start, stop in _runs(here[row]):
            if stop - start >= 60 and not here[row - 1, start + 8 : stop - 8].any():
                above = here[max(0, row - 40) : row, (start + stop) // 2]
                below = here[row : row + 4, (start + stop) // 2]
                count += int(below.all() and not above.any())
    return count


def _runs(row):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return zip(edges[::2], edges[1::2], strict=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: pages are not looked at in a browser")
def test_the_page_in_a_browser(trained, ask, tmp_path):
    """Green and red frames as the table says, and every image is painted inside its frame."""
    items = trained[1].source.dataset.items
    item = items.select("test", "caption")[0]
    done = ask(str(items.caption[item]), "--top", "12", "--out", "page.html")
    right = [row[-1] for row in table(done)[:-1]]
    shot = screenshot(tmp_path / "page.html", tmp_path)
    tops = {"yes": frames(shot, (0, 158, 115)), "no": frames(shot, (213, 94, 0))}
    assert tops == {"yes": 2 * right.count("yes"), "no": 2 * right.count("no")}  # a line above, a line below


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: pages are not looked at in a browser")
def test_a_browser_shows_every_image(ask, tmp_path):
    """Images of one colour each: every colour is seen, and the query's too."""
    shutil.rmtree(tmp_path / "gallery")
    (tmp_path / "gallery").mkdir()
    colours = [(250, 200, 40), (40, 90, 250), (150, 40, 220), (40, 220, 220), (250, 120, 200)]
    for number, colour in enumerate(colours):
        Image.new("RGB", (64, 128), colour).save(tmp_path / "gallery" / f"{number}.png")
    Image.new("RGB", (64, 128), (120, 70, 10)).save(tmp_path / "query.png")
    done = ask(WORDS, "--image", "query.png", "--gallery", "gallery", "--out", "page.html")
    assert done.code == 0, done.err
    shot = screenshot(tmp_path / "page.html", tmp_path)
    for colour in [*colours, (120, 70, 10)]:
        assert (np.abs(shot - np.array(colour)).max(axis=2) <= 8).sum() > 2000, colour
    assert frames(shot, (150, 150, 150)) == 2 * len(colours)
