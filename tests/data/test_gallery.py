"""Embeddings of files: kept by content, in portions that survive an interruption."""

import os
import time

import numpy as np
import pytest

from reid_lab.data import gallery
from reid_lab.errors import DataError


def vector(path) -> np.ndarray:
    raw = np.frombuffer(path.read_bytes().ljust(8, b"\0")[:8], dtype=np.uint8)
    return raw.astype(np.float32)


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(10):
        (folder / f"{k}.png").write_bytes(f"image{k}".encode())
        past = time.time_ns() - 10**11
        os.utime(folder / f"{k}.png", ns=(past, past))
    return folder


def embedder(folder, calls):
    def embed(names):
        calls.append(list(names))
        return np.stack([vector(folder / name) for name in names])

    return embed


def test_portions_double_and_an_interruption_loses_the_last_one_only(place, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "_FIRST", 1)
    names, store, calls = gallery.image_files(place), tmp_path / "kept.npz", []
    whole = embedder(place, calls)

    def interrupted(part):
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(part)

    with pytest.raises(KeyboardInterrupt):
        gallery.embedded(place, names, store, interrupted)
    assert [len(part) for part in calls] == [1, 2, 4]
    calls.clear()
    found = gallery.embedded(place, names, store, whole)
    assert [name for part in calls for name in part] == names[7:]
    assert found.fresh == 3
    np.testing.assert_array_equal(found.vectors, [vector(place / name) for name in names])
    assert gallery.embedded(place, names, store, whole).fresh == 0


def test_order_and_selection_are_those_of_the_names(place, tmp_path):
    names, store, calls = gallery.image_files(place), tmp_path / "kept.npz", []
    gallery.embedded(place, names, store, embedder(place, calls))
    some = [names[k] for k in (7, 2, 5)]
    found = gallery.embedded(place, some, store, embedder(place, calls))
    np.testing.assert_array_equal(found.vectors, [vector(place / name) for name in some])
    assert len(calls) == 1


def test_a_file_that_could_not_be_read_is_tried_again(place, tmp_path):
    names, store, calls = gallery.image_files(place), tmp_path / "kept.npz", []
    gone = place / names[3]
    content = gone.read_bytes()
    gone.unlink()

    def embed(part):
        calls.append(list(part))
        rows = [vector(place / n) if (place / n).exists() else np.full(8, np.nan, np.float32) for n in part]
        return np.stack(rows)

    assert np.isnan(gallery.embedded(place, names, store, embed).vectors[3]).all()
    gone.write_bytes(content)
    found = gallery.embedded(place, names, store, embed)
    np.testing.assert_array_equal(found.vectors[3], vector(gone))
    assert calls[1:] == [[names[3]]]


def test_files_are_found_in_sorted_order_at_any_depth(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a.webp", "c/d/e/3.bmp", ".hidden/4.png", "b/.5.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "back").symlink_to(tmp_path)
    assert gallery.image_files(tmp_path) == ["a.webp", "b/1.png", "b/2.JPG", "c/d/e/3.bmp"]
    with pytest.raises(DataError, match="no images in it or below"):
        gallery.image_files(_empty(tmp_path))


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def test_embeddings_of_a_whole_gallery(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return np.ones((3, 2), dtype=np.float32)

    store = tmp_path / "new" / "kept.npz"
    assert [gallery.remembered(store, compute).fresh for _ in range(3)] == [3, 0, 0]
    store.write_bytes(b"damaged")
    assert gallery.remembered(store, compute).fresh == 3
    assert len(calls) == 2
