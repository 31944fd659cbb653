"""The embedded benchmark written out as CUHK-PEDES, and what every writer refuses."""

import json

import numpy as np
import pytest
from PIL import Image

from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.data.writers import writer
from reid_lab.data.writers.base import write
from reid_lab.errors import DataError

SPEC = SyntheticSpec(
    preset="smoke",
    train_identities=8,
    val_identities=3,
    test_identities=4,
    train_images=2,
    eval_images=4,
    image_size=(64, 32),
)
CUHK = writer("cuhk_pedes")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_synthetic(SPEC, tmp_path_factory.mktemp("cache"))


def _read(root, entry):
    return np.asarray(Image.open(root / "imgs" / entry["file_path"]).convert("RGB")).transpose(2, 0, 1)


def test_png_keeps_order_captions_and_every_bit(dataset, tmp_path):
    write(CUHK, dataset, tmp_path / "out", "png")
    entries = json.loads((tmp_path / "out" / "reid_raw.json").read_text())
    items = dataset.items
    rgb, text = items.role == "rgb", items.role == "caption"
    assert [e["split"] for e in entries] == items.split[rgb].tolist()
    assert [e["id"] for e in entries] == (items.pid[rgb] + 1).tolist()
    assert [e["captions"] for e in entries] == [[c] for c in items.caption[text]]
    pixels = dataset.images(np.flatnonzero(rgb), None)
    assert all(np.array_equal(_read(tmp_path / "out", e), p) for e, p in zip(entries, pixels, strict=True))


def test_jpeg_is_close_and_laid_out_as_the_real_one(dataset, tmp_path):
    write(CUHK, dataset, tmp_path)
    entries = json.loads((tmp_path / "reid_raw.json").read_text())
    assert all(set(e) == {"split", "captions", "file_path", "processed_tokens", "id"} for e in entries)
    assert all(e["processed_tokens"][0] == e["captions"][0].replace(",", "").replace(".", "").split() for e in entries)
    folders = {p.name for p in (tmp_path / "imgs").iterdir()}
    assert folders == {"cam_a", "cam_b", "CUHK01", "CUHK03", "Market", "test_query", "train_query"}
    assert len({e["file_path"] for e in entries}) == len(entries) == len(list((tmp_path / "imgs").rglob("*.jpg")))
    pixels = dataset.images(np.flatnonzero(dataset.items.role == "rgb"), None).astype(int)
    errors = [np.abs(_read(tmp_path, e) - p).mean() for e, p in zip(entries, pixels, strict=True)]
    assert 0 < max(errors) < 5


def test_a_folder_that_holds_something_is_refused(dataset, tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(DataError, match="not empty"):
        write(CUHK, dataset, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_written_is_one_line(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write(CUHK, dataset, tmp_path / "file" / "out")


@pytest.mark.parametrize(("roles", "lacking"), [(("rgb",), "caption"), (("nir", "caption"), "rgb")])
def test_an_export_needs_photographs_and_captions(roles, lacking, tmp_path):
    spec = SPEC.model_copy(update={"roles": roles, "image_size": (32, 16)})
    with pytest.raises(DataError, match=rf"needs the roles rgb, caption; not among roles: {lacking}"):
        write(CUHK, open_synthetic(spec, tmp_path / "cache"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_layout_names_the_nearest():
    with pytest.raises(DataError, match=r"unknown layout 'cuhk_peds'; .*did you mean 'cuhk_pedes'"):
        writer("cuhk_peds")
