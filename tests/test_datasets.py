"""What `reid-lab data` opens and refuses, before anything is drawn or written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reid_lab import datasets
from reid_lab.data.items import left_out_in_words
from reid_lab.errors import DataError, SpecError
from tests.data.readers.worlds import written


@pytest.fixture
def icfg(tmp_path):
    return written("icfg_pedes", tmp_path / "icfg")


@pytest.fixture
def cuhk(tmp_path):
    return written("cuhk_pedes", tmp_path / "cuhk")


def told(call, *given, **options):
    with pytest.raises((DataError, SpecError)) as caught:
        call(*given, **options)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize("asked", ["val={identities: 0.3}", "val.identities=0.3"])
def test_val_is_carved_when_it_is_asked_for_in_either_form(icfg, asked):
    assert datasets.open_data("icfg_pedes", (), icfg).items.splits() == ("train", "test")
    assert datasets.open_data("icfg_pedes", [asked], icfg).items.splits() == ("train", "val", "test")


def test_merged_sources_are_opened_as_they_are_unless_val_is_asked_for(cuhk, icfg):
    roots = json.dumps({"cuhk_pedes": str(cuhk), "icfg_pedes": str(icfg)})
    sets = ["train=[cuhk_pedes, icfg_pedes]", f"roots={roots}"]
    items = datasets.open_data("merged", sets).items
    assert set(items.source[items.split == "val"].tolist()) == {0}
    assert "the authors have no val split" in told(datasets.open_data, "merged", [*sets, "val=authors"])[0]
    assert "a folder for each source: roots" in told(datasets.open_data, "merged", sets, cuhk)[0]


def test_images_that_are_tolerated_missing_are_told_by_views_and_merged_sets(cuhk, icfg):
    lost = sorted((cuhk / "imgs").rglob("*.png"))[:4]
    for path in lost:
        path.unlink()
    roots = json.dumps({"cuhk_pedes": str(cuhk), "icfg_pedes": str(icfg)})
    whole = datasets.open_data("cuhk_pedes", ["missing=skip"], cuhk)
    assert sorted(whole.left_out) == [path.relative_to(cuhk).as_posix() for path in lost]
    assert datasets.open_data("cuhk_pedes", ["missing=skip", "val=none"], cuhk).left_out == whole.left_out
    sets = ["train=[cuhk_pedes, icfg_pedes]", f"roots={roots}", "missing=skip"]
    merged = datasets.open_data("merged", sets)
    assert merged.left_out == tuple(f"cuhk_pedes: {path}" for path in whole.left_out)
    words = left_out_in_words(whole)
    assert words.startswith("left out (data.missing: skip): 4 images that the folder lacks: imgs/")
    assert words.endswith(", …")
    assert words.count("imgs/") == 3
    assert left_out_in_words(datasets.open_data("icfg_pedes", (), icfg)) == ""


def test_a_folder_that_cannot_be_written_is_told_before_the_world_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "open_world", lambda *_: pytest.fail("drawn"))
    (tmp_path / "file").write_text("x")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name, what in {
        tmp_path: "is not empty; name a new folder",
        tmp_path / "file": "is no folder",
        Path(): "is the current folder; name a new one in it",
        Path("/"): "is not empty; name a new folder",
    }.items():
        assert told(datasets.write_layout, "cuhk_pedes", Path(name)) == [f"{name}: {what}"]


def test_captions_are_split_where_a_side_file_is_read(cuhk, tmp_path):
    assert told(datasets.split_captions, "folder", tmp_path, tmp_path / "parts.json") == [
        "folder takes no side file (data.parts); its captions' parts are the columns id_caption and cloth_caption; "
        "those that do: cuhk_pedes, icfg_pedes, rstpreid"
    ]
    target = tmp_path / "parts.csv"
    datasets.split_captions("cuhk_pedes", cuhk, target)
    items = datasets.open_data("cuhk_pedes", [f"parts={target}"], cuhk).items
    assert {"id_caption", "cloth_caption"} <= set(items.roles())
    before = target.read_bytes()
    again = told(datasets.split_captions, "cuhk_pedes", cuhk, target)
    assert again == [f"{target}: exists already; name a new file (--out) or write over it (--replace)"]
    datasets.split_captions("cuhk_pedes", cuhk, target, replace=True)
    assert target.read_bytes() == before
