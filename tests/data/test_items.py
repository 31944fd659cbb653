import numpy as np
import pytest
from pydantic import ValidationError

from reid_lab.data.items import Row, delivered_size, described, facts, pairs, resolve_modality, singles, tabulate
from reid_lab.data.readers.cuhk_pedes import CuhkPedesSpec
from reid_lab.data.synthetic import SyntheticSpec
from reid_lab.errors import DataError
from tests.data.toys import Toy, paired


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("vis", "rgb"), ("RGB", "rgb"), ("rgb", "rgb"), ("ir", "nir"), ("NI", "nir"), ("TI", "tir"), ("th", "tir"),
        ("thermal", "tir"), ("sk", "sketch"), ("cp", "cpencil"), ("CP", "cpencil"), ("text", "caption"),
        ("id_caption", "id_caption"),
    ],
)  # fmt: skip
def test_names_of_modalities(name, role):
    assert resolve_modality(name) == role


def test_further_aliases_come_first():
    assert resolve_modality("Infrared", {"infrared": "IR"}) == "nir"
    assert resolve_modality("ir", {"IR": "tir"}) == "tir"


def test_unknown_modalities_name_the_nearest():
    with pytest.raises(DataError, match=r"unknown modality 'skecth'; allowed: .*; did you mean 'sketch'\?"):
        resolve_modality("skecth")
    with pytest.raises(DataError, match=r"alias 'x': unknown modality 'rbg'; .* did you mean 'rgb'"):
        resolve_modality("rgb", {"x": "rbg"})


@pytest.mark.parametrize("section", [CuhkPedesSpec, SyntheticSpec])
def test_aliases_are_checked_in_the_spec(section):
    assert section(root="x", aliases={"heat": "thermal"}).aliases == {"heat": "thermal"}
    with pytest.raises(ValidationError, match=r"alias 'x': unknown modality 'rbg'; .* did you mean 'rgb'"):
        section(root="x", aliases={"x": "rbg"})


def test_every_caption_with_its_image():
    toy = Toy(paired((2, 1)))
    groups = pairs(toy.items, "train")
    assert groups.members["rgb"].tolist() == [0, 0, 3, 3, 6, 6]
    assert groups.members["caption"].tolist() == [1, 2, 4, 5, 7, 8]
    assert groups.pids.tolist() == [0, 0, 0, 0, 1, 1]
    assert groups.image_ids.tolist() == [0, 0, 1, 1, 2, 2]
    assert groups.camids.tolist() == [1, 2, 1, 2, 1, 2]


def test_pids_are_relabelled_by_their_order_in_train_only():
    rows = [("train", "rgb", 9, 0), ("train", "rgb", 2, 1), ("train", "caption", 9, 0), ("train", "caption", 5, 2)]
    toy = Toy([*rows, ("test", "rgb", 4, 3)])
    assert singles(toy.items, "train", "rgb").pids.tolist() == [2, 0]
    assert pairs(toy.items, "train").pids.tolist() == [2, 1]
    assert singles(toy.items, "test", "rgb").pids.tolist() == [4]
    assert facts(toy.items, ("rgb", "caption")).identities == 3


def test_a_caption_without_an_image_is_a_group_without_one():
    toy = Toy([("train", "caption", 0, 8), ("train", "rgb", 0, 3), ("train", "caption", 0, 3), ("val", "rgb", 1, 8)])
    assert pairs(toy.items, "train").members["rgb"].tolist() == [-1, 1]


def test_what_cannot_be_grouped():
    toy = Toy([("train", "rgb", 0, 0), ("train", "rgb", 0, 0), ("train", "caption", 0, 0), ("val", "nir", 1, 1)])
    with pytest.raises(DataError, match="two rgb images of train share one image_id"):
        pairs(toy.items, "train")
    with pytest.raises(DataError, match="no caption items in the split 'val'; it has: nir"):
        pairs(toy.items, "val", "nir")
    with pytest.raises(DataError, match="no rgb items in the split 'test'; it has: nothing"):
        singles(toy.items, "test", "rgb")


def test_facts_and_size():
    toy = Toy(paired(), size=(5, 3))
    known = facts(toy.items, ["rgb"], delivered_size(toy), {"hat": 3})
    assert (known.identities, known.cameras, known.roles) == (3, 3, ("rgb",))
    assert (known.image_size, dict(known.labels)) == ((5, 3), {"hat": 3})
    with pytest.raises(DataError, match="toy has no images"):
        delivered_size(Toy([("train", "caption", 0, 0)]))


@pytest.mark.parametrize(
    ("scenes", "count"),
    [
        ((2, 1, 1, 2), 3),  # numbered up to 2, the last of train; test's 7 is not counted
        ((1, -1, 1, -1), 2),  # of some images it is not known
        ((0, 1, 2, 3), 0),  # each moment by itself: nothing that images share
        ((-1, -1, -1, -1), 0),
    ],
)
def test_scenes_are_counted_where_images_share_them(scenes, count):
    train = [Row("train", "rgb", n % 2, n, path=f"{n}", scene=scene) for n, scene in enumerate(scenes)]
    train += [Row("train", "caption", 0, 0, caption="a man", scene=scenes[0])]  # no second moment
    items = tabulate([*train, Row("test", "rgb", 5, 8, path="8", scene=7), Row("test", "rgb", 5, 9, path="9", scene=7)])
    assert dict(facts(items, ["rgb"]).labels) == ({"scenes": count} if count else {})
    assert pairs(items, "train").labels["scenes"].tolist() == [scenes[0]]


def test_labels_and_selection():
    toy = Toy([*paired((1,)), *paired((1,), "val")])
    assert toy.items.splits() == ("train", "val")
    assert toy.items.roles() == ("rgb", "caption")
    assert toy.items.select("val", "caption").tolist() == [4, 5]
    assert toy.items.take(np.array([4, 0])).caption.tolist() == ["caption 4", None]
    groups = pairs(toy.items, "val").with_labels({"hat": np.array([1, 2])})
    assert groups.labels["hat"].tolist() == [1, 2]


def test_a_described_group_has_all_the_parts_and_images_of_its_moment():
    rows = [
        Row("train", "rgb", 7, 0, path="a"),
        Row("train", "caption", 7, 0, caption="one", number=0),
        Row("train", "cloth_caption", 7, 0, caption="one's clothes", number=0),
        Row("train", "caption", 7, 0, caption="two", number=1),
        Row("train", "rgb", 9, 1, path="b"),
        Row("train", "nir", 9, 1, path="c"),
        Row("train", "cloth_caption", 9, 1, caption="three's clothes", number=0),
        Row("train", "rgb", 9, 2, path="d"),
    ]
    groups = described(tabulate(rows), "train", ("rgb", "nir", "tir"), ("caption", "cloth_caption"))
    assert {role: column.tolist() for role, column in groups.members.items()} == {
        "rgb": [0, 0, 4],
        "nir": [-1, -1, 5],
        "caption": [1, 3, -1],
        "cloth_caption": [2, -1, 6],
    }
    assert groups.pids.tolist() == [0, 0, 1]
    assert groups.image_ids.tolist() == [0, 0, 1]


def test_described_groups_of_one_image_and_one_caption_are_pairs():
    items = Toy([*paired(), ("train", "nir", 7, 0)]).items
    found, wanted = described(items, "train", ("rgb",), ("caption",)), pairs(items, "train")
    for role, column in wanted.members.items():
        assert found.members[role].tolist() == column.tolist()
    assert found.pids.tolist() == wanted.pids.tolist()
    with pytest.raises(DataError, match="no tir items"):
        described(items, "train", ("tir",), ("caption",))
