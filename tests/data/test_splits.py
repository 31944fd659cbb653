import numpy as np
import pytest

from reid_lab.data.splits import apply_val, carve_val, merge_val, only
from reid_lab.errors import DataError
from tests.data.toys import Toy, paired


def test_val_is_carved_by_identity_and_seed():
    toy = Toy([*paired((1,) * 40), ("test", "rgb", 999, 99)])
    items = carve_val(toy.items, 0.1, 0)
    val = set(items.pid[items.split == "val"].tolist())
    assert len(val) == 4
    assert not val & set(items.pid[items.split == "train"].tolist())
    assert items.split[-1] == "test"
    assert (carve_val(toy.items, 0.1, 0).split == items.split).all()
    assert (carve_val(toy.items, 0.1, 1).split != items.split).any()


def test_the_choice_does_not_depend_on_the_order_of_items():
    rows = paired((1,) * 20)
    there, back = carve_val(Toy(rows).items, 0.2, 3), carve_val(Toy(rows[::-1]).items, 0.2, 3)
    assert (there.split == back.split[::-1]).all()


@pytest.mark.parametrize(("share", "taken"), [(0.001, 1), (0.999, 2)])
def test_one_identity_is_taken_and_one_left(share, taken):
    items = carve_val(Toy(paired((1, 1, 1))).items, share, 0)
    assert len(np.unique(items.pid[items.split == "val"])) == taken


def test_val_that_does_not_fit():
    with_val = Toy([*paired(), ("val", "rgb", 999, 99)])
    with pytest.raises(DataError, match=r"data\.val: the authors have a val split; allowed: authors, none"):
        apply_val(with_val, (0.1, 0))
    with pytest.raises(DataError, match=r"data\.val: the authors have no val split; allowed: \{identities"):
        apply_val(Toy(paired()), "authors")
    with pytest.raises(DataError, match="needs two training identities or more; there are 1"):
        apply_val(Toy(paired((2,))), (0.5, 0))


def test_digests_tell_who_is_in_val():
    toy = Toy(paired((1,) * 10))
    carved = [apply_val(toy, (0.3, seed)).digest for seed in (0, 0, 1)]
    assert carved[0] == carved[1] != carved[2]
    with_val = Toy([*paired(), ("val", "rgb", 999, 99)])
    assert apply_val(with_val, "authors") is with_val
    everything = apply_val(with_val, "none")
    assert everything.items.splits() == ("train",)
    assert everything.digest not in (with_val.digest, carved[0])
    assert (merge_val(with_val.items).split == "train").all()


def test_a_view_reads_the_pixels_of_its_base():
    toy = Toy([*paired((1,), "test"), *paired((2,))])
    view = only(toy, ("train",))
    assert view.keep.tolist() == [3, 4, 5, 6, 7, 8]
    assert view.items.splits() == ("train",)
    assert view.images(np.array([3, 0]), None)[:, 0, 0, 0].tolist() == [6, 3]
    assert (view.name, view.digest) == ("toy", toy.digest)
