"""Partners of groups that lack a modality."""

import numpy as np
import torch

from reid_lab.data.items import ABSENT, Groups
from reid_lab.data.partners import Partners, partners
from reid_lab.seeding import keys
from tests.data.toys import Toy

PIDS = np.array([0, 0, 1, 2, 3])
NIR, OWNERS = np.array([40, 41, 42, 43, 44, 45]), np.array([2, 0, 0, 1, 0, 5])


def groups(nir=None):
    members = {"rgb": np.arange(5)} | ({} if nir is None else {"nir": np.array(nir)})
    return Groups(members, PIDS, np.arange(5), np.arange(5))


def test_a_partner_is_any_item_of_the_same_identity():
    draw = Partners({"nir": (NIR, OWNERS)})
    drawn = np.array([draw.fill(groups(), keys(0, n, torch.arange(5))).members["nir"] for n in range(800)])
    assert (drawn[:, 2] == 43).all()
    assert (drawn[:, 3] == 40).all()
    assert (drawn[:, 4] == ABSENT).all()  # identity 3 has none
    for column in drawn[:, :2].T:
        assert [abs((column == item).mean() - 1 / 3) < 0.07 for item in (41, 42, 44)] == [True] * 3
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.12


def test_what_is_there_stays():
    held = Partners({"nir": (NIR, OWNERS)}).fill(groups([44, -1, 7, -1, -1]), keys(0, 0, torch.arange(5)))
    assert held.members["nir"][[0, 2]].tolist() == [44, 7]
    assert held.members["nir"][1] in (41, 42, 44)
    assert held.members["rgb"].tolist() == list(range(5))
    assert held.pids is PIDS


def test_a_draw_is_of_the_key_and_of_the_role_alone():
    both = Partners({"nir": (NIR, OWNERS), "tir": (NIR, OWNERS)})
    own, chosen = keys(3, 1, torch.arange(400)), np.zeros(400, dtype=np.int64)
    many = groups().take(chosen)
    whole = both.fill(many, own)
    part = both.fill(many.take(np.arange(100, 150)), own[100:150])
    assert (part.members["nir"] == whole.members["nir"][100:150]).all()
    assert (whole.members["nir"] != whole.members["tir"]).mean() > 0.5


def test_a_role_without_items_is_absent():
    nobody = np.zeros(0, dtype=np.int64)
    filled = Partners({"nir": (nobody, nobody)}).fill(groups(), keys(0, 0, torch.arange(5)))
    assert (filled.members["nir"] == ABSENT).all()


def test_partners_of_a_data_set_are_of_its_training_split():
    rows = [("train", "rgb", 70, 0), ("train", "rgb", 30, 1), ("val", "nir", 70, 2), ("train", "nir", 70, 3)]
    found = Partners.fill(
        partners(Toy(rows).items, ["nir", "tir"]),
        Groups({"rgb": np.array([0, 1])}, np.array([1, 0]), np.zeros(2), np.zeros(2)),
        keys(0, 0, torch.arange(2)),
    )
    assert found.members["nir"].tolist() == [3, ABSENT]
    assert found.members["tir"].tolist() == [ABSENT, ABSENT]
