"""The world: everything is a pure function of a few integers."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from reid_lab.data.synthetic import ATTRIBUTES, SyntheticSpec
from reid_lab.data.synthetic.palette import subject
from reid_lab.data.synthetic.sensors import CHANNELS, render
from reid_lab.data.synthetic.traits import GARMENTS, NO_COLOUR, settle
from reid_lab.data.synthetic.world import CAMERAS, SPLITS, camera_of, outfit, person, scene

WORLD = SyntheticSpec(preset="smoke").world
PRETRAINING = SyntheticSpec(preset="pretrain").world

_HASHES = """
import hashlib, sys
from reid_lab.data.synthetic import SyntheticSpec
from reid_lab.data.synthetic.sensors import CHANNELS, render
world = SyntheticSpec(preset="smoke").world
for role in CHANNELS:
    for number in range(3):
        print(hashlib.sha256(render(world, "test", number, 1, role).tobytes()).hexdigest())
"""


def test_another_process_renders_the_same_bits_and_so_does_any_order():
    import hashlib

    other = subprocess.run([sys.executable, "-c", _HASHES], capture_output=True, text=True, check=True)
    wanted = [(role, number) for role in CHANNELS for number in range(3)]
    backwards = {key: render(WORLD, "test", key[1], 1, key[0]) for key in reversed(wanted)}
    assert other.stdout.split() == [hashlib.sha256(backwards[key].tobytes()).hexdigest() for key in wanted]


@pytest.mark.parametrize("role", CHANNELS)
@pytest.mark.parametrize("size", [(96, 48), (32, 16), (128, 64)])
def test_images_have_the_channels_and_size_of_their_role(role, size):
    pixels = render(replace(WORLD, image_size=size), "val", 0, 0, role)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (CHANNELS[role], *size)
    assert pixels.std() > 5


def test_numpy_integers_name_the_same_people_as_plain_ones():
    plain, numpy = render(WORLD, "val", 3, 1, "rgb"), render(WORLD, "val", np.int64(3), np.int64(1), "rgb")
    assert np.array_equal(plain, numpy)


def test_people_do_not_change_when_the_world_grows():
    grown = replace(WORLD, identities=(900, 70, 80), images=(6, 6, 6))
    for split in SPLITS:
        assert np.array_equal(render(WORLD, split, 7, 2, "rgb"), render(grown, split, 7, 2, "rgb"))


def test_no_two_people_are_the_same_in_any_split_or_in_the_pretraining_world():
    bodies, shades = [], []
    for world in (WORLD, PRETRAINING):
        for split in SPLITS:
            for number in range(40):
                who = person(world, split, number)
                bodies.append(tuple(who.shape.values()))
                for index in range(2):
                    clothes = outfit(world, split, number, index, who.attributes["gender"])
                    shades.append(tuple(np.concatenate([clothes.shade[g] for g in GARMENTS]).tolist()))
    assert len(set(bodies)) == len(bodies)
    assert len(set(shades)) == len(shades)


def test_no_preset_of_the_benchmark_shares_the_namespace_of_pretraining():
    names = {preset: SyntheticSpec(preset=preset).world.name for preset in ("smoke", "default", "large", "pretrain")}
    assert {names["smoke"], names["default"], names["large"]} == {"benchmark"}
    assert names["pretrain"] == "pretraining"
    assert PRETRAINING.outfits >= 2


@pytest.mark.parametrize("seed", [0, 5])
def test_cameras_see_a_person_once_before_they_see_it_twice(seed):
    world = replace(WORLD, seed=seed)
    for number in range(30):
        seen = [camera_of(world, "test", number, image) for image in range(CAMERAS)]
        assert sorted(seen) == list(range(CAMERAS))
    firsts = [camera_of(world, "test", number, 0) for number in range(60)]
    assert len(set(firsts)) == CAMERAS


def test_outfits_take_turns_and_change_the_clothes_but_not_the_body():
    first, second, third = (subject(PRETRAINING, "train", 4, image, "rgb") for image in range(3))
    assert first.person == second.person
    assert first.outfit.nir == third.outfit.nir
    assert first.outfit.nir != second.outfit.nir


def test_spectral_roles_share_a_pose_and_drawings_only_do_in_an_aligned_world():
    apart, aligned = WORLD, replace(WORLD, aligned=True)
    shown = scene(apart, "val", 2, 0, "rgb")
    assert scene(apart, "val", 2, 0, "nir") == shown == scene(apart, "val", 2, 0, "tir")
    assert scene(apart, "val", 2, 0, "sketch").yaw != shown.yaw
    assert scene(aligned, "val", 2, 0, "sketch") == scene(aligned, "val", 2, 0, "rgb")


def test_attributes_stay_in_range_and_absent_things_have_no_colour():
    for number in range(150):
        seen = subject(WORLD, "train", number, 0, "rgb")
        known = {**seen.person.attributes, **seen.outfit.attributes, "view": seen.scene.view}
        assert known.keys() == ATTRIBUTES.keys()
        assert all(0 <= known[name] < count for name, count in ATTRIBUTES.items())
        for thing in ("bag", "hat", "extra"):
            assert (known[thing] == 0) == (known[f"{thing}_colour"] == NO_COLOUR)
        assert (known["second_colour"] == NO_COLOUR) == (known["pattern"] == 0 and known["logo"] == 0)
        assert not (known["gender"] == 1 and known["beard"])


def test_settling_is_final():
    for number in range(60):
        attributes = dict(outfit(WORLD, "train", number, 0, 1).attributes)
        assert settle(attributes) == attributes


def test_a_harder_world_holds_more_look_alikes():
    def agreement(hard: float) -> float:
        world = replace(WORLD, hard=hard)
        outfits = [outfit(world, "train", n, 0, person(world, "train", n).attributes["gender"]) for n in range(200)]
        kin = [
            zip(outfits[n].attributes.values(), outfits[n + 1].attributes.values(), strict=True)
            for n in range(0, 200, 4)
        ]
        return float(np.mean([a == b for pairs in kin for a, b in pairs]))

    assert agreement(1.0) > agreement(0.0) + 0.05
