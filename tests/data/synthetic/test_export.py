"""The contact sheet of the benchmark."""

import numpy as np
import pytest

from reid_lab.data.synthetic import SyntheticSpec, contact_sheet, open_synthetic
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


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_synthetic(SPEC, tmp_path_factory.mktemp("cache"))


def test_the_contact_sheet_has_a_row_per_person_and_shows_its_images(dataset):
    sheet = np.asarray(contact_sheet(dataset, [9, 0]))
    assert sheet.shape == (2 * (128 + 84), 8 * 64, 3)
    first = dataset.images(np.flatnonzero((dataset.items.role == "rgb") & (dataset.items.pid == 9))[:1], None)[0]
    assert np.array_equal(sheet[:128:2, :64:2], first.transpose(1, 2, 0))
    assert (sheet[128:212].min(axis=2) < 128).any()


def test_an_unknown_person_is_named(dataset):
    with pytest.raises(DataError, match="no person 15; the data set has pids 0 to 14"):
        contact_sheet(dataset, [15])
