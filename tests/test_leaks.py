"""An architecture that asks for test items while it is fitted is refused; ordinary runs notice nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from reid_lab.architectures import ARCHITECTURES
from reid_lab.catalogue import load_spec
from reid_lab.data import DATASETS
from reid_lab.data.splits import only
from reid_lab.data.synthetic import open_synthetic
from tests import planted
from tests.lab import status

SHORT = ("train.length.epochs=1", "model.name=planted")


@pytest.fixture
def plant(lab, monkeypatch):
    """Plants what the architecture does, and when; hands over its data set, opened beforehand."""
    monkeypatch.setitem(ARCHITECTURES, "planted", planted.ENTRY)
    data = load_spec(lab.file).spec.data

    def planting(when, act):
        dataset = DATASETS["synthetic"].open(data, lab.cache)
        monkeypatch.setattr(planted, "when", when)
        monkeypatch.setattr(planted, "act", lambda: act(dataset, data, lab.cache))

    return planting


def opens(dataset, data, cache):
    DATASETS["synthetic"].open(data, cache)


def opens_as_it_is(dataset, data, cache):
    DATASETS["synthetic"].as_it_is(data, cache)


def opens_past_the_registry(dataset, data, cache):
    opened = open_synthetic(data, cache)
    opened.images(opened.items.select("test", "rgb"), None)


def reads_items(dataset, data, cache):
    len(dataset.items)


def reads_images(dataset, data, cache):
    dataset.images(np.array([len(planted_items) - 2]), None)


def reads_attributes(dataset, data, cache):
    dataset.attributes("test")


def takes_the_test_split(dataset, data, cache):
    only(dataset, ("test",))


def in_a_thread(dataset, data, cache):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(reads_items, dataset, data, cache).result()


planted_items = range(2 * (48 + 12 + 12))  # of the laboratory's world: a photograph and a caption of each moment


@pytest.mark.parametrize("when", ["build", "values", "embed"])
@pytest.mark.parametrize(
    "act",
    [
        opens,
        opens_as_it_is,
        opens_past_the_registry,
        reads_items,
        reads_images,
        reads_attributes,
        takes_the_test_split,
        in_a_thread,
    ],
)
def test_an_architecture_cannot_ask_for_test_items_while_it_is_fitted(lab, plant, act, when):
    plant(when, act)
    refused = lab.run(*SHORT)
    assert refused.code == 2
    (line,) = refused.complaints
    assert "planted" in line
    assert "data set 'synthetic'" in line
    assert "while it is fitted" in line
    assert len(lab.folders()) == (when != "build")
    for run in lab.folders():
        assert status(run)[0] == "failed"
        assert not run.finished("fit")


def test_train_items_can_be_read_and_selection_on_test_marks_the_run_instead(lab, plant):
    plant("values", lambda dataset, *_: dataset.images(np.array([0]), None))
    assert lab.run(*SHORT).code == 0
    plant("values", reads_items)
    assert lab.run(*SHORT).code == 0, "it is finished: nothing is fitted"
    done = lab.run(*SHORT, "eval.select_on=test")
    assert done.code == 0, done.err
    assert any("selected on TEST" in line for line in done.out)


def test_the_second_training_on_train_and_val_is_sealed_too(lab, plant):
    plant("", reads_items)
    assert lab.run(*SHORT, "train.fit_on=train+val").code == 0
    plant("values", reads_items)
    assert "while it is fitted" in lab.run(*SHORT, "train.fit_on=train+val", options=["--fresh"]).complaints[0]


def test_threads_that_load_and_decode_go_on(lab):
    folder = lab.written("png")
    done = lab.run(
        "train.length.epochs=1", f"data={{name: cuhk_pedes, root: {folder}, cache: none}}", "runtime.workers=2"
    )
    assert done.code == 0, done.err
