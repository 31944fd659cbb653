"""Pairs with another person's clothes caption."""

import numpy as np
import pytest
import torch

from reid_lab.data.items import ABSENT, Row, described, facts, tabulate, train_clothes
from reid_lab.data.loader import TrainStream
from reid_lab.data.negatives import NEAREST, Negatives, doubled, negatives, similar
from reid_lab.data.sampler import RandomSampler
from reid_lab.errors import DataError
from reid_lab.seeding import keys

CLOTHES = ["red coat and red hat", "red coat and blue hat", "green skirt and boots", "white shirt and jeans", None]
IMAGES, TEXTS = ("rgb",), ("id_caption", "cloth_caption")


def world(clothes=CLOTHES, each=3):
    """People 11, 12, … with `each` moments; all captions of a person are alike; None: no clothes caption."""
    rows, moment = [], 0
    for person, worn in enumerate(clothes):
        for _ in range(each):
            own = ("train", 11 + person, moment)
            rows.append(Row(own[0], "rgb", *own[1:], path=f"{moment}.png", clothes=70 + person))
            rows.append(Row(own[0], "id_caption", *own[1:], caption=f"person {person}", number=0, clothes=70 + person))
            if worn is not None:
                rows.append(Row(own[0], "cloth_caption", *own[1:], caption=worn, number=0, clothes=70 + person))
            moment += 1
    return tabulate(rows)


def made(kind, items=None, seed=0, inner=None):
    items = world() if items is None else items
    return (*negatives(described(items, "train", IMAGES, TEXTS), items, kind, seed, inner), items)


def owners(items, told):
    return np.where(told == ABSENT, ABSENT, items.pid[told] - 11)


def test_the_list_is_doubled():
    items = world()
    groups = described(items, "train", IMAGES, TEXTS)
    both = doubled(groups)
    assert (len(groups), len(both)) == (15, 15 + 12)  # who has no clothes caption is there once
    assert both.labels["is_matched"].tolist() == [1] * 15 + [0] * 12
    assert both.members["rgb"][15:].tolist() == groups.members["rgb"][:12].tolist()
    assert both.labels["cloth_pids"][:15].tolist() == [*groups.pids[:12].tolist(), -1, -1, -1]


@pytest.mark.parametrize("kind", ["as_published", "redrawn", "similar_clothes"])
def test_a_negative_is_of_somebody_else_and_the_rest_stays(kind):
    groups, filler, items = made(kind)
    filled = groups if filler is None else filler.fill(groups, keys(0, 0, torch.arange(len(groups))))
    told, matched = filled.members["cloth_caption"], filled.labels["is_matched"] == 1
    own = owners(items, told)
    assert (own[matched & (told != ABSENT)] == filled.pids[matched & (told != ABSENT)]).all()
    assert (own[~matched] != filled.pids[~matched]).all()
    assert (own[~matched] >= 0).all()
    assert filled.labels["cloth_pids"].tolist() == own.tolist()
    for role in ("rgb", "id_caption"):
        assert filled.members[role].tolist() == groups.members[role].tolist()


def test_as_published_is_drawn_once_by_the_seed():
    groups, filler, _ = made("as_published")
    assert filler is None
    again, other = made("as_published")[0], made("as_published", seed=1)[0]
    assert groups.members["cloth_caption"].tolist() == again.members["cloth_caption"].tolist()
    assert groups.members["cloth_caption"].tolist() != other.members["cloth_caption"].tolist()


def test_redrawn_is_another_in_each_pass_and_hashed_from_the_key():
    groups, filler, _ = made("redrawn")
    first, second = (filler.fill(groups, keys(0, n, torch.arange(27))).members["cloth_caption"] for n in (0, 1))
    assert (first[15:] != second[15:]).any()
    part = filler.fill(groups.take(np.arange(20, 25)), keys(0, 0, torch.arange(20, 25)))
    assert part.members["cloth_caption"].tolist() == first[20:25].tolist()


def test_every_other_person_is_as_likely():
    groups, filler, items = made("redrawn")
    one = groups.take(np.full(6000, 15 + 3))  # of person 1
    drawn = owners(items, filler.fill(one, keys(0, 0, torch.arange(6000))).members["cloth_caption"])
    assert [abs((drawn == person).mean() - 1 / 3) < 0.03 for person in (0, 2, 3)] == [True] * 3


def test_similar_negatives_share_words_and_are_not_the_same():
    coats = ["red coat", "red coat", "red hat", *(f"{word} sandals" for word in "abcdefghijklmnopqrstuv")]
    items = world(coats, each=1)
    groups, filler, _ = made("similar_clothes", items)
    one = groups.take(np.full(400, len(coats)))
    drawn = owners(items, filler.fill(one, keys(0, 0, torch.arange(400))).members["cloth_caption"])
    assert 1 not in drawn, "the very same words are no negative"
    near, counts = similar(
        items.caption[items.select("train", "cloth_caption")].tolist(), np.arange(25), np.arange(25), 0
    )
    assert near[0, 0] == 2
    assert near.shape == (25, NEAREST)
    assert counts[0] == NEAREST
    assert (near[:, 0] != np.arange(25)).all()


def test_where_all_wear_the_same_others_still_serve():
    near, counts = similar(["red coat"] * 4, np.array([0, 0, 1, 1]), np.arange(4) + 50, 0)
    assert counts.tolist() == [2, 2, 2, 2]
    assert set(near[0, :2].tolist()) == {52, 53}


def test_large_sets_are_compared_with_a_drawn_pool(monkeypatch):
    monkeypatch.setattr("reid_lab.data.negatives.POOL", 6)
    texts = [f"w{k % 5} v{k % 3}" for k in range(40)]
    near, _ = similar(texts, np.arange(40), np.arange(40), 3)
    assert len(np.unique(near)) <= 6
    assert near.tolist() == similar(texts, np.arange(40), np.arange(40), 3)[0].tolist()


def test_partners_are_filled_before():
    class Inner:
        def fill(self, groups, keys):
            return groups.take(np.arange(len(groups))[::-1])

    groups, filler, _ = made("redrawn", inner=Inner())
    filled = filler.fill(groups, keys(0, 0, torch.arange(27)))
    assert filled.labels["is_matched"].tolist() == groups.labels["is_matched"][::-1].tolist()
    assert isinstance(made("as_published", inner=filler)[1], Negatives)


def test_labels_reach_the_batch():
    class Reader:
        def batch(self, groups, index, keys):
            return groups.take(index)

    groups, filler, _ = made("redrawn")
    batch = TrainStream(Reader(), groups, RandomSampler(len(groups), 9), 0, partners=filler).batch(0)
    assert {"is_matched", "cloth_pids"} <= batch.labels.keys()


def test_what_cannot_be_paired():
    items = world()
    groups = described(items, "train", IMAGES, ("id_caption",))
    with pytest.raises(DataError, match=r"train.pairs: redrawn needs .* cloth_caption; they have rgb, id_caption"):
        negatives(groups, items, "redrawn", 0)
    with pytest.raises(DataError, match="fewer than 2 people"):
        made("redrawn", world(["red coat", None]))


def test_outfits_of_train_are_counted_from_0():
    items = world()
    assert train_clothes(items).tolist() == [70, 71, 72, 73, 74]
    assert dict(facts(items, ["rgb"]).labels) == {"clothes": 5}
    groups = described(items, "train", IMAGES, TEXTS)
    assert groups.labels["clothes"].tolist() == np.repeat(np.arange(5), 3).tolist()
    bare = tabulate([Row("train", "rgb", 1, 0, path="a"), Row("train", "caption", 1, 0, caption="b", number=0)])
    assert dict(facts(bare, ["rgb"]).labels) == {}
    assert described(bare, "train", IMAGES, ("caption",)).labels["clothes"].tolist() == [-1]
