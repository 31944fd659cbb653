"""Who queries whom."""

import pytest

from reid_lab.data.protocols import PROTOCOLS
from reid_lab.errors import DataError
from tests.data.toys import Toy, paired


def test_every_caption_queries_every_image():
    items = Toy([*paired(), *paired((2, 1), "test"), ("test", "nir", 7, 0)]).items
    task = PROTOCOLS["text_to_image"].task(items, "test")
    assert task.queries.members["caption"].tolist() == items.select("test", "caption").tolist()
    assert task.gallery.members["rgb"].tolist() == items.select("test", "rgb").tolist()
    assert set(task.queries.members) == {"caption"}
    assert set(task.gallery.members) == {"rgb"}
    assert task.queries.pids.tolist() == [7, 7, 7, 7, 17, 17]
    assert task.gallery.pids.tolist() == [7, 7, 17]
    assert (task.name, task.removed, task.no_match) == ("text_to_image", "nothing", "zero")


@pytest.mark.parametrize("role", ["caption", "rgb"])
def test_a_split_that_cannot_serve_is_refused(role):
    rows = [*paired(), *[row for row in paired((2,), "test") if row[1] != role]]
    with pytest.raises(DataError, match=f"no {role} items in the split 'test'"):
        PROTOCOLS["text_to_image"].task(Toy(rows).items, "test")


def test_every_protocol_says_what_it_does():
    assert all(protocol.doc for protocol in PROTOCOLS.values())
