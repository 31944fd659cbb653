"""Counterfactual pictures and captions change one thing; distances say how far an embedding moves by it."""

import numpy as np
import pytest

from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.data.synthetic.traits import OUTFIT
from reid_lab.errors import DataError
from reid_lab.probing.attributes import attributes, place
from reid_lab.probing.counterfactual import CHANGES, Counterfactual, cosine, others, shifts, variants

ROLES = ("rgb", "caption", "id_caption", "cloth_caption")


@pytest.fixture(scope="module")
def world(world_cache):
    """A drawn world of 24 people in val."""
    spec = SyntheticSpec(
        preset="smoke", roles=ROLES, train_identities=2, val_identities=24, test_identities=2, train_images=2,
        eval_images=2, image_size=(32, 16), hard=0.7,
    )  # fmt: skip
    return open_synthetic(spec, world_cache)


@pytest.fixture(scope="module")
def changed(world):
    return Counterfactual(world, "val", ROLES, people=24, images=2)


def subjects(world, changed):
    """What every moment of `groups` shows, in their order."""
    worn_by = others(world.world, "val", 24, 0)
    shown = [
        variants(world.world, "val", number, image, "rgb", worn_by[number])
        for number in range(24)
        for image in range(2)
    ]
    return [variant[change] for change in ("as it is", *CHANGES) for variant in shown]


def test_what_is_not_changed_is_the_data_set_s_own_picture(world, changed):
    own = world.images(world.items.select("val", "rgb"), None)
    drawn = changed.images(changed.items.select("val", "rgb")[:48], None)
    assert np.array_equal(own, drawn)


def test_each_change_leaves_everything_else(world, changed):
    shown = np.array(subjects(world, changed), dtype=object).reshape(4, 48)
    for before, outfit, person, scene in shown.T:
        assert outfit.person == person.person or outfit.scene == person.scene
        assert outfit.person == before.person
        assert outfit.scene is before.scene
        assert dict(outfit.outfit.attributes) != dict(before.outfit.attributes)
        assert person.outfit is before.outfit
        assert person.scene is before.scene
        assert person.person != before.person
        assert person.person.attributes["gender"] == before.person.attributes["gender"]
        assert (scene.person, scene.outfit) == (before.person, before.outfit)
        assert scene.scene.camera != before.scene.camera


def test_words_of_the_body_stay_in_another_outfit_and_those_of_clothes_on_another_person(changed):
    assert changed.changed("cloth_caption", "person") == 0
    assert changed.changed("cloth_caption", "outfit") > 0.9
    assert changed.changed("id_caption", "person") > 0.9
    assert changed.changed("id_caption", "outfit") < 0.5  # a hat hides hair, a mask a beard
    assert changed.changed("caption", "person") > 0.7  # a whole caption may tell nothing of the body but its gender


def test_an_embedding_of_clothes_alone_moves_with_the_outfit_alone(world, changed):
    shown = subjects(world, changed)
    worn = [tuple(sorted(subject.outfit.attributes.items())) for subject in shown]
    kinds = sorted(set(worn))
    clothes = np.eye(len(kinds), dtype=np.float32)[[kinds.index(outfit) for outfit in worn]]
    moved = changed.distances(clothes)
    assert moved["outfit"].tolist() == [1.0] * 24
    assert not moved["person"].any()
    assert not moved["scene"].any()


def test_an_embedding_of_the_body_alone_moves_with_the_person_alone(world, changed):
    shown = subjects(world, changed)
    body = np.array([list(subject.person.shape.values()) for subject in shown])
    moved = changed.distances((body - body.mean(axis=0)).astype(np.float32))
    assert not moved["outfit"].any()
    assert not moved["scene"].any()
    assert (moved["person"] > 0).all()


def test_distances_are_cosines_of_any_length():
    a = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    b = np.array([[0.0, 3.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert cosine(a, b) == pytest.approx([1, 2, 0, 1, 1 - 0.5**0.5])


def test_shifts_are_means_over_people_in_units_of_the_scene():
    random = np.random.default_rng(0)
    scene = random.uniform(0.1, 0.3, 80)
    found = shifts({"outfit": 2 * scene, "person": np.zeros(80), "scene": scene})
    assert found["outfit"].mean == pytest.approx(2 * scene.mean())
    assert found["outfit"].low < 2 * scene.mean() < found["outfit"].high
    assert found["outfit"].relative == pytest.approx((2, 2, 2))  # twice as far for everybody: no doubt about the ratio
    assert found["person"].relative == (0, 0, 0)
    assert found["outfit - person"].mean == pytest.approx(2 * scene.mean())
    assert shifts(dict.fromkeys(CHANGES, np.zeros(5)))["outfit"].relative is None


def test_too_few_people_are_refused(world):
    with pytest.raises(DataError, match="too few"):
        others(world.world, "val", 4, 0)


def test_attributes_are_the_world_s_own_factors(world):
    known = attributes(world)
    assert set(OUTFIT) <= set(known)
    assert "outfit" not in known  # one each: it is the identity
    for item in (0, 17, len(world.items) - 1):
        split, number, image = place(world.world, int(world.items.image_id[item]))
        assert split == world.items.split[item]
        assert world.world.first_pid(split) + number == world.items.pid[item]
        assert image == world.items.image_id[item] % 2
    assert known["view"].labels.tolist() == world.item_attributes(np.arange(len(world.items)))["view"].tolist()
    assert (known["hat_colour"].labels == -1).tolist() == (known["hat"].labels == 0).tolist()
