"""Data sets that are trained on as one: nothing collides, everything is tested by itself."""

from __future__ import annotations

import numpy as np
import pytest

from reid_lab.catalogue import load_data
from reid_lab.data import DATASETS
from reid_lab.data.merged import MergedSpec
from reid_lab.data.protocols import PROTOCOLS, Options
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.data.writers import writer
from reid_lab.data.writers.base import write
from reid_lab.errors import DataError, SpecError

NAMES = ("cuhk_pedes", "icfg_pedes")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("merged"), {}
    for seed, name in enumerate(NAMES):
        spec = SyntheticSpec(
            preset="smoke",
            roles=("rgb", "caption"),
            seed=seed,
            train_identities=6,
            val_identities=2,
            test_identities=3,
            train_images=2,
            eval_images=2,
            image_size=(32, 16),
        )
        write(writer(name), open_synthetic(spec, folder / "cache"), folder / name, "png")
        found[name] = str(folder / name)
    return found


def opened(roots, **fields):
    spec = MergedSpec(train=NAMES, roots=roots, **{"val": {"identities": 0.25, "seed": 0}, **fields})
    return DATASETS["merged"].open(spec, None)


def alone(roots, name):
    entry = DATASETS[name]
    spec = entry.spec(root=roots[name])
    return entry.as_it_is(spec, None)


def test_nothing_of_two_sources_collides_and_nothing_is_lost(roots):
    dataset = opened(roots)
    items, parts = dataset.items, [alone(roots, name) for name in NAMES]
    assert len(items) == sum(len(part.items) for part in parts)
    assert np.bincount(items.source).tolist() == [len(part.items) for part in parts]
    for column in ("pid", "image_id", "camid", "scene", "clothes"):
        values = [set(getattr(items, column)[items.source == k].tolist()) - {-1} for k in (0, 1)]
        assert not values[0] & values[1], column
        wanted = [set(getattr(part.items, column).tolist()) - {-1} for part in parts]
        assert list(map(len, values)) == list(map(len, wanted)), column
    rgb = np.flatnonzero(items.role == "rgb")
    pixels = np.concatenate([p.images(np.flatnonzero(p.items.role == "rgb"), None) for p in parts])
    assert np.array_equal(dataset.images(rgb, None), pixels)
    mixed = rgb[np.random.default_rng(0).permutation(len(rgb))]
    assert np.array_equal(dataset.images(mixed, None), pixels[np.searchsorted(rgb, mixed)])


def test_every_sources_digest_is_told_and_counts(roots):
    dataset = opened(roots)
    assert dict(dataset.sources) == {name: dataset.sources[name] for name in NAMES}
    turned = DATASETS["merged"].open(
        MergedSpec(train=NAMES[::-1], roots=roots, val={"identities": 0.25, "seed": 0}), None
    )
    assert turned.digest != dataset.digest
    assert dict(turned.sources) == dict(dataset.sources)
    assert opened(roots, val={"identities": 0.25, "seed": 1}).digest != dataset.digest


def test_val_is_the_authors_or_carved(roots):
    items = opened(roots).items
    for source, authors in ((0, {2}), (1, {1, 2})):
        assert len(np.unique(items.pid[(items.source == source) & (items.split == "val")])) in authors
    with pytest.raises(DataError, match=r"no val split.*data\.roots\.icfg_pedes"):
        opened(roots, val="authors")


def test_each_source_is_tested_against_its_own_gallery(roots):
    dataset = opened(roots)
    tasks = PROTOCOLS["text_to_image"].tasks(dataset, "test", Options())
    assert [task.name.split("/")[0] for task in tasks] == list(NAMES)
    for number, task in enumerate(tasks):
        for side in (task.queries, task.gallery):
            assert set(side.labels["sources"].tolist()) == {number}
            items = np.concatenate(list(side.members.values()))
            assert set(dataset.items.source[items].tolist()) == {number}


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["train=[cuhk_pedes]", "roots={cuhk_pedes: x}"], "two data sets or more"),
        (["train=[cuhk_pedes, icfg-pedes]", "roots={cuhk_pedes: x}"], "did you mean 'icfg_pedes'"),
        (["train=[cuhk_pedes, icfg_pedes]", "roots={cuhk_pedes: x}"], "the folder of this source"),
        (["train=[cuhk_pedes, icfg_pedes]", "roots={cuhk_pedes: x, icfg_pedes: y, ltcc: z}"], "unknown source 'ltcc'"),
        (
            ["train=[cuhk_pedes, market1501]", "roots={cuhk_pedes: x, market1501: y}", "parts={market1501: z}"],
            "no captions",
        ),
    ],
)
def test_what_does_not_fit_is_refused(sets, told):
    with pytest.raises(SpecError, match=told):
        load_data("merged", sets)


def test_faults_of_all_sources_are_told_at_once(roots, tmp_path):
    with pytest.raises(DataError) as caught:
        opened({name: str(tmp_path / name) for name in NAMES})
    assert [fault.what.rpartition("(")[2] for fault in caught.value.faults] == [f"data.roots.{n})" for n in NAMES]
