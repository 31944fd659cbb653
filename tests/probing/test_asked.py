"""What the data tell of a test's queries: words, lengths, factors, clothes that change."""

import re

import numpy as np
import pytest

from reid_lab.data.protocols import PROTOCOLS, Options
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.errors import DataError
from reid_lab.probing.asked import check_same, slicings
from reid_lab.probing.queries import METRICS, Queries


@pytest.fixture(scope="module")
def world(world_cache):
    spec = SyntheticSpec(
        preset="smoke", roles=("rgb", "caption"), train_identities=2, val_identities=2, test_identities=60,
        train_images=2, eval_images=2, image_size=(16, 16), hard=0.7,
    )  # fmt: skip
    return open_synthetic(spec, world_cache)


def sliced_by(dataset, protocol):
    tasks = PROTOCOLS[protocol].tasks(dataset, "test", Options())
    return tasks, {made.name: made for made in slicings(dataset, tasks)}


def test_slices_of_captions(world):
    (task,), found = sliced_by(world, "text_to_image")
    texts = [str(text) for text in world.items.caption[task.queries.members["caption"]]]
    assert {"camera", "occlusion", "view", "upper", "upper_colour", "gender", "caption length"} <= set(found)
    for name, made in found.items():
        total = np.sum([mask for _, mask in made.slices], axis=0)
        assert (total == 1).all() or not made.whole, name
    black = dict(found["colour word"].slices)["black"]
    assert black.tolist() == ["black" in re.findall("[a-z]+", text) for text in texts]
    assert {"jacket", "trousers"} & {name for name, _ in found["garment word"].slices}
    short, middle, long = (mask for _, mask in found["caption length"].slices)
    words = np.array([len(text.split()) for text in texts])
    assert words[short].max() < words[middle].min()
    assert words[middle].max() < words[long].min()
    assert "clothes change" not in found  # everybody has one outfit


def test_slices_of_a_changed_outfit(world_cache):
    spec = SyntheticSpec(
        preset="smoke", roles=("rgb",), train_identities=2, val_identities=2, test_identities=4, train_images=2,
        eval_images=3, image_size=(16, 16), outfits=2,
    )  # fmt: skip
    _, found = sliced_by(open_synthetic(spec, world_cache), "image_to_image")
    # of three images the first and the last show one outfit, the second another
    slices = {name: mask.tolist() for name, mask in found["clothes change"].slices}
    assert slices == {
        "the same and another outfit": [True, False, True] * 4,
        "another outfit only": [False, True, False] * 4,
    }
    assert "colour word" not in found


def test_other_queries_than_those_recorded_are_refused(world):
    tasks, _ = sliced_by(world, "text_to_image")
    asked = tasks[0].queries
    n = len(asked)
    kept = Queries(
        np.full(n, "all"), asked.pids, asked.image_ids, dict.fromkeys(METRICS, np.zeros(n)), np.ones(n, bool)
    )
    check_same(kept, tasks)
    with pytest.raises(DataError, match="does not hold the queries"):
        check_same(Queries(kept.task, kept.pids + 1, kept.image_ids, kept.values, kept.valid), tasks)
