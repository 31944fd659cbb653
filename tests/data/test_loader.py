"""Batches: what is in them, and what they do not depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reid_lab.contracts import IMAGE_ROLES, Batch, InputSpec
from reid_lab.data.augment import Augmentation, make_prepare
from reid_lab.data.items import Groups, pairs, singles
from reid_lab.data.loader import Loader, TrainStream, luminance
from reid_lab.data.partners import partners
from reid_lab.data.sampler import CameraBalancedSampler, IdentitySampler, MatchedPairSampler, RandomSampler
from reid_lab.errors import DataError
from tests.data.toys import INPUTS, Toy, paired


def same(a: Batch, b: Batch) -> bool:
    groups = a.groups.keys() == b.groups.keys() and all(torch.equal(a.groups[k], b.groups[k]) for k in a.groups)
    return (
        groups
        and a.inputs.keys() == b.inputs.keys()
        and all(torch.equal(a.inputs[k].values, b.inputs[k].values) for k in a.inputs)
        and all(torch.equal(a.inputs[k].rows, b.inputs[k].rows) for k in a.inputs)
    )


def joined(parts: list[Batch]) -> Batch:
    """The batch whose contiguous shares these are."""
    starts = np.cumsum([0, *[part.size for part in parts]])
    inputs = {}
    for role in {role for part in parts for role in part.inputs}:
        held = [(part.inputs[role], start) for part, start in zip(parts, starts, strict=False) if role in part.inputs]
        values = torch.cat([item.values for item, _ in held])
        inputs[role] = replace(held[0][0], values=values, rows=torch.cat([i.rows + int(s) for i, s in held]))
    return Batch({k: torch.cat([part.groups[k] for part in parts]) for k in parts[0].groups}, inputs)


@pytest.fixture
def toy():
    return Toy(paired(train=(3, 1, 2, 4, 2, 5, 1)))


def stream(toy, sampler="random", workers=0, seed=3):
    groups = pairs(toy.items, "train")
    drawn = RandomSampler(len(groups), 8) if sampler == "random" else IdentitySampler(groups.pids, 8, 2)
    return TrainStream(Loader(toy, INPUTS), groups, drawn, seed, workers)


def test_a_batch_holds_the_items_and_labels_of_its_groups(toy):
    groups = pairs(toy.items, "train").with_labels({"view": np.arange(36)})
    keys = torch.tensor([5, 6, 7])
    batch = Loader(toy, INPUTS).batch(groups, np.array([4, 0, 4]), keys)
    assert batch.size == 3
    assert batch.groups["pids"].tolist() == groups.pids[[4, 0, 4]].tolist()
    assert batch.groups["image_ids"].tolist() == groups.image_ids[[4, 0, 4]].tolist()
    assert batch.groups["camids"].tolist() == groups.camids[[4, 0, 4]].tolist()
    assert batch.groups["view"].tolist() == [4, 0, 4]
    assert batch.groups["keys"].tolist() == [5, 6, 7]
    rgb, caption = batch.inputs["rgb"], batch.inputs["caption"]
    assert rgb.values.dtype == torch.uint8
    assert rgb.values.shape == (3, 3, 6, 4)
    assert rgb.values[:, 0, 0, 0].tolist() == groups.members["rgb"][[4, 0, 4]].tolist()
    assert caption.values[:, 0].tolist() == groups.members["caption"][[4, 0, 4]].tolist()
    assert rgb.rows.tolist() == caption.rows.tolist() == [0, 1, 2]


def test_absent_items_are_absent():
    toy = Toy([*paired(), ("train", "nir", 7, 0)])
    rgb, caption = toy.items.select("train", "rgb"), toy.items.select("train", "caption")
    nothing = np.full(3, -1)
    column = np.arange(3)
    members = {"rgb": np.array([rgb[0], -1, rgb[2]]), "caption": np.array([-1, caption[1], -1]), "nir": nothing}
    groups = Groups(members, column, column, column)
    inputs = {**INPUTS, "nir": InputSpec(size=(6, 4), channels=1)}
    batch = Loader(toy, inputs).batch(groups, column)
    assert batch.inputs["rgb"].rows.tolist() == [0, 2]
    assert len(batch.inputs["rgb"].values) == 2
    assert batch.inputs["caption"].rows.tolist() == [1]
    assert "nir" not in batch.inputs
    assert batch.groups["keys"].tolist() == [0, 0, 0]


def test_roles_that_the_architecture_does_not_read_are_not_loaded(toy):
    batch = Loader(toy, {"caption": INPUTS["caption"]}).batch(pairs(toy.items, "train"), np.arange(4))
    assert set(batch.inputs) == {"caption"}


def test_images_come_at_the_size_of_the_input():
    toy = Toy(paired(), size=(6, 4))
    groups = singles(toy.items, "train", "rgb")
    assert Loader(toy, {"rgb": InputSpec(size=(10, 5))}).batch(groups, np.arange(2)).inputs["rgb"].values.shape == (
        2, 3, 10, 5,
    )  # fmt: skip
    assert Loader(toy, {"rgb": InputSpec()}).batch(groups, np.arange(2)).inputs["rgb"].values.shape == (2, 3, 6, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_one_channel_is_repeated_where_three_are_wanted(channels):
    toy = Toy([("train", "nir", 7, 0), ("train", "nir", 7, 1)])
    loader = Loader(toy, {"nir": InputSpec(size=(6, 4), channels=channels)})
    values = loader.batch(singles(toy.items, "train", "nir"), np.arange(2)).inputs["nir"].values
    assert values.shape == (2, channels, 6, 4)
    assert torch.equal(values, values[:, :1].expand_as(values))


def test_captions_are_tokenized_once(toy):
    calls = []

    def tokenize(captions):
        calls.append(len(captions))
        return INPUTS["caption"].tokenize(captions)

    loader = Loader(toy, {"caption": InputSpec(tokenize=tokenize, max_length=2)})
    groups = pairs(toy.items, "train")
    for batch in loader.batches(groups, 5):
        assert batch.inputs["caption"].values.shape[1] == 2
    assert calls == [len(groups)]


def test_all_groups_are_read_in_order(toy):
    groups = singles(toy.items, "train", "rgb")
    batches = list(Loader(toy, INPUTS).batches(groups, 7))
    assert [b.size for b in batches] == [7, 7, 4]
    assert torch.cat([b.groups["image_ids"] for b in batches]).tolist() == groups.image_ids.tolist()


@pytest.mark.parametrize("sampler", ["random", "identity"])
def test_workers_change_nothing(toy, sampler):
    alone, helped = stream(toy, sampler), stream(toy, sampler, workers=2)
    steps = [*range(9), 4, 5, 20]
    assert all(same(alone.batch(step), helped.batch(step)) for step in steps)
    helped.close()
    alone.close()


def test_a_resumed_stream_goes_on_as_the_first_one(toy):
    first = stream(toy)
    expected = [first.batch(step) for step in range(14)]
    resumed = stream(toy)
    assert all(same(expected[step], resumed.batch(step)) for step in range(9, 14))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_shares_of_the_ranks_make_up_the_batch(toy, world, workers):
    shares = [stream(toy, workers=workers) for _ in range(world)]
    for step in range(6):
        whole = stream(toy).batch(step)
        parts = [shares[rank].batch(step, rank, world) for rank in range(world)]
        assert max(part.size for part in parts) - min(part.size for part in parts) <= 1
        assert same(joined(parts), whole)
    for share in shares:
        share.close()


def test_keys_are_of_the_seed_and_of_the_place_in_the_pass(toy):
    steps = range(2 * stream(toy).steps_per_epoch)
    keys = torch.cat([stream(toy, seed=0).batch(step).groups["keys"] for step in steps])
    assert len(keys) == 2 * 36
    assert len(keys.unique()) == len(keys)
    other = torch.cat([stream(toy, seed=1).batch(step).groups["keys"] for step in steps])
    assert not set(keys.tolist()) & set(other.tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_stops_the_step_that_needs_it(toy, workers):
    class Broken(Toy):
        def images(self, index, size):
            if 9 in index:
                raise DataError("9.png: the image cannot be read")
            return super().images(index, size)

    broken = Broken(paired(train=(3, 1, 2, 4, 2, 5, 1)))
    good, training = stream(toy), stream(broken, workers=workers)
    failed = 0
    for step in range(good.steps_per_epoch):
        expected = good.batch(step)
        if 9 in expected.inputs["rgb"].values:
            failed += 1
            with pytest.raises(DataError, match=r"9\.png"):
                training.batch(step)
        else:
            assert same(training.batch(step), expected)
    assert failed
    training.close()


def test_a_batch_too_small_for_all_processes_is_refused(toy):
    training = stream(toy)  # 36 groups: the last batch has 4
    assert training.batch(4, 3, 4).size == 1
    for rank in range(5):
        with pytest.raises(DataError, match=r"the batch of step 4 has 4 groups for 5 processes"):
            training.batch(4, rank, 5)


class Two(Toy):
    """Two channels, which nothing is made of."""

    def images(self, index, size):
        return super().images(index, size)[:, :2]


def test_one_channel_is_repeated_and_what_does_not_fit_is_refused():
    toy = Toy([("train", "nir", 0, 0), ("train", "rgb", 0, 0)])
    nir = singles(toy.items, "train", "nir")
    three = Loader(toy, {"nir": InputSpec(channels=3)}).batch(nir, np.array([0])).inputs["nir"].values
    assert three.shape == (1, 3, 6, 4)
    assert torch.equal(three[:, :1].expand(-1, 3, -1, -1), three)
    two = Two([("train", "rgb", 0, 0)])
    with pytest.raises(DataError, match="rgb: the images have 2 channels; the architecture reads 1"):
        Loader(two, {"rgb": InputSpec(channels=1)}).batch(singles(two.items, "train", "rgb"), np.array([0]))


GREY = ("nir", "tir", "sketch")


class Many(Toy):
    """As data sets deliver them: photographs and coloured pencil in colour, the others grey."""

    def images(self, index, size):
        pixels = super().images(index, size)
        return pixels[:, :1] if self.items.role[index[0]] in GREY else pixels[:, :1].repeat(3, axis=1)


def many():
    """Six people with so many images of each kind, and captions of their photographs."""
    rows = paired(train=(3, 2, 4, 1, 2, 3))
    moment = 100
    for pid in range(6):
        for role, count in (("nir", 2), ("tir", pid % 3), ("sketch", 1), ("cpencil", 2 - pid % 2)):
            for _ in range(count):
                rows.append(("train", role, 10 * pid + 7, moment))
                moment += 1
    return Many(rows)


def inputs(channels):
    images = {role: InputSpec(size=(6, 4), channels=3 if role not in GREY else channels) for role in IMAGE_ROLES}
    return images | {"caption": INPUTS["caption"]}


SAMPLERS = {
    "random": lambda groups: RandomSampler(len(groups), 8),
    "identity": lambda groups: IdentitySampler(groups.pids, 8, 2),
    "camera_balanced": lambda groups: CameraBalancedSampler(groups.pids, groups.camids, 8, 2),
    "matched_pair": lambda groups: MatchedPairSampler(groups.pids, 5),
}


def many_stream(sampler, seed=3, workers=0, channels=1):
    toy = many()
    groups = pairs(toy.items, "train")
    drawn = partners(toy.items, IMAGE_ROLES)
    return TrainStream(Loader(toy, inputs(channels)), groups, SAMPLERS[sampler](groups), seed, workers, drawn)


@pytest.mark.parametrize("channels", [1, 3])
def test_five_modalities_and_captions_in_one_batch(channels):
    toy = many()
    training = many_stream("random", channels=channels)
    pid, role = toy.items.pid, toy.items.role
    people = np.unique(pid)
    absent = 0
    for step in range(training.steps_per_epoch):
        batch = training.batch(step)
        assert set(batch.inputs) == {*IMAGE_ROLES, "caption"}
        own = people[batch.groups["pids"].numpy()]
        for name in IMAGE_ROLES:
            item = batch.inputs[name]
            wanted = channels if name in GREY else 3
            assert item.values.dtype == torch.uint8
            assert item.values.shape == (len(item.rows), wanted, 6, 4)
            items = item.values[:, 0, 0, 0].long().numpy()  # a pixel tells its item
            assert (role[items] == name).all()
            assert (pid[items] == own[item.rows.numpy()]).all()
            lacking = sorted(set(range(batch.size)) - set(item.rows.tolist()))
            assert all(((pid == own[row]) & (role == name)).sum() == 0 for row in lacking)
            absent += len(lacking)
    assert absent  # two people have no thermal image


def test_absent_modalities_pass_through_augmentation():
    kinds = inputs(3)
    augmentation = Augmentation(0.5, 2, 0.5, (0.02, 0.4), 0.3, "mean", shared=True, jitter=1.0, brightness=0.2)
    prepare = make_prepare(kinds, augmentation)
    before = many_stream("random", channels=3).batch(0)
    after = prepare(before)
    assert after.inputs.keys() == before.inputs.keys()
    for name in IMAGE_ROLES:
        assert after.inputs[name].values.dtype == torch.float32
        assert after.inputs[name].values.shape == before.inputs[name].values.shape
        assert torch.equal(after.inputs[name].rows, before.inputs[name].rows)
    halves = [prepare(before.rows(0, 3)), prepare(before.rows(3, 8))]
    assert same(joined(halves), after)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(SAMPLERS)), st.integers(0, 9), st.integers(1, 4), st.sampled_from([0, 1, 3]),
    st.lists(st.integers(0, 25), min_size=1, max_size=5),
)  # fmt: skip
def test_a_batch_is_of_the_seed_and_the_step_alone(sampler, seed, world, workers, steps):
    """Whatever the rank, the number of processes and of workers, and the steps that were asked for before."""
    plain, shared = many_stream(sampler, seed), many_stream(sampler, seed, workers)
    for step in steps:
        whole = plain.batch(step)
        assert same(joined([shared.batch(step, rank, world) for rank in range(world)]), whole)
        assert same(many_stream(sampler, seed).batch(step), whole)
    shared.close()


def test_another_pass_meets_other_partners():
    training = many_stream("matched_pair")
    met = {}
    for step in range(6 * training.steps_per_epoch):
        batch = training.batch(step)
        captions = batch.inputs["caption"].values[:, 0]
        item = batch.inputs["nir"]
        for row, pixel in zip(item.rows.tolist(), item.values[:, 0, 0, 0].tolist(), strict=True):
            met.setdefault(int(captions[row]), set()).add(pixel)
        assert len(batch.groups["pids"].unique()) == batch.size
    assert sum(len(found) == 2 for found in met.values()) > len(met) / 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_pinned_images_are_the_same():
    toy = many()
    groups = pairs(toy.items, "train")
    plain, pinned = (Loader(toy, inputs(3), pin=pin).batch(groups, np.arange(5)) for pin in (False, True))
    assert pinned.inputs["rgb"].values.is_pinned()
    assert same(plain, pinned)


def test_one_channel_of_three_is_pillows_grey():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 5, 4), dtype=np.uint8))
    wanted = [np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")) for image in pixels]
    assert np.array_equal(luminance(pixels)[:, 0].numpy(), np.stack(wanted))
    grey = pixels[:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(luminance(grey), pixels[:, :1])
