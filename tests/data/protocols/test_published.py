"""Data sets as their authors ship them are measured as in the literature."""

from __future__ import annotations

import pytest

from reid_lab.data import DATASETS
from reid_lab.data.omni import AVERAGES, QUERY_KINDS
from reid_lab.data.protocols import PROTOCOLS, RULES
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.data.writers import writer
from reid_lab.data.writers.base import write
from reid_lab.spec.run import ValSpec
from tests.data.protocols.tables import tasks_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Layout -> the embedded world written in it, and read again with a val split carved from train."""
    tmp = tmp_path_factory.mktemp("layouts")

    def opened(name):
        shape = dict.fromkeys(("train_identities", "test_identities"), 4) | {"val_identities": 1}
        shape |= {"train_images": 4, "eval_images": 4, "image_size": (32, 16), "roles": writer(name).roles}
        world = open_synthetic(SyntheticSpec(preset="smoke", **{**shape, **writer(name).knobs}), tmp / "cache")
        write(writer(name), world, tmp / name, "png")
        return DATASETS[name].open(DATASETS[name].spec(root=str(tmp / name), val=ValSpec(identities=0.5)), tmp)

    return opened


_LITERATURE = [
    ("market1501", ["image_to_image"], RULES["camera"].words),
    ("prcc", ["general", "CC", "SC"], RULES["camera"].words),
    ("rgbnt201", ["multispectral"], RULES["camera"].words),
    ("msvr310", ["multispectral"], RULES["scene"].words),
    ("orbench", list(QUERY_KINDS), "nothing"),
]


@pytest.mark.parametrize(("name", "rows", "removed"), _LITERATURE)
def test_data_sets_are_measured_as_in_the_literature(made, name, rows, removed):
    data = made(name)
    judge = DATASETS[name].protocol
    for split in ("val", "test"):
        found = tasks_of(judge, data, split)
        assert list(found) == rows
        first = found[rows[0]]
        assert first.removed == removed
        sides = data.items.side[data.items.split == split]
        as_published = split == "test" and (name == "orbench" or (sides != "").any())
        assert bool(first.notes) != as_published, "a result tells where the authors' own cut is not used"
    values = {row: {"mAP": float(len(rows) == 1 or row in ("CC", "SK"))} for row in rows}
    summed = PROTOCOLS[judge].summary(values)
    assert summed["mAP"] == {"orbench": 0.0625}.get(name, 1.0)
    if name == "orbench":
        assert list(summed) == ["mAP", *(f"{row}/mAP" for row in (*AVERAGES, *QUERY_KINDS))]
        assert summed["ONE/mAP"] == 0.25


def test_every_protocol_says_what_it_does():
    assert all(protocol.doc for protocol in PROTOCOLS.values())
    assert all(rule.words for rule in RULES.values())
