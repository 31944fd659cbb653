import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lab.data.sampler import CameraBalancedSampler, IdentitySampler, MatchedPairSampler, RandomSampler, Schedule
from reid_lab.errors import DataError


def test_a_random_pass_takes_every_group_once():
    sampler = RandomSampler(23, 5)
    batches = sampler.batches(0, 0)
    assert [len(b) for b in batches] == [5, 5, 5, 5, 3]
    assert sorted(np.concatenate(batches).tolist()) == list(range(23))
    assert [len(b) for b in RandomSampler(23, 5, drop_last=True).batches(0, 0)] == [5] * 4


def test_passes_differ_and_repeat():
    pids = np.arange(24) // 4
    samplers = (
        RandomSampler(23, 5),
        IdentitySampler(pids, 4, 2),
        CameraBalancedSampler(pids, np.arange(24) % 3, 4, 2),
        MatchedPairSampler(pids, 4),
    )
    for sampler in samplers:
        one, again, other, seeded = (np.concatenate(sampler.batches(*a)) for a in ((0, 0), (0, 0), (0, 1), (1, 0)))
        assert (one == again).all()
        assert (one[:20] != other[:20]).any()
        assert (one[:20] != seeded[:20]).any()


PIDS = np.array([4] * 7 + [9] * 2 + [1] * 4 + [6] * 5 + [2] * 1)
P, K = 2, 3


@pytest.mark.parametrize("seed", range(20))
def test_identity_batches_hold_p_identities_with_k_groups(seed):
    batches = IdentitySampler(PIDS, P * K, K).batches(seed, 0)
    seen = {pid: [] for pid in PIDS.tolist()}
    for batch in batches:
        blocks = batch.reshape(P, K)
        owners = PIDS[blocks]
        assert (owners == owners[:, :1]).all()
        assert len(set(owners[:, 0].tolist())) == P
        for owner, block in zip(owners[:, 0].tolist(), blocks.tolist(), strict=True):
            seen[owner].append(block)
    left = 0
    for pid, blocks in seen.items():
        count = PIDS.tolist().count(pid)
        chunks = max(count // K, 1)
        left += len(blocks) < chunks
        assert len(blocks) <= chunks
        taken = [group for block in blocks for group in block]
        if count >= K:
            assert len(set(taken)) == len(taken)  # without replacement, leftovers dropped
    assert left < P  # the pass ends when fewer than P identities have a chunk


def test_few_groups_are_drawn_with_replacement():
    pids = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    draws = np.array([IdentitySampler(pids, 8, 4).batches(seed, 0)[0] for seed in range(400)])
    short = draws[pids[draws] == 0].reshape(400, 4)
    assert {tuple(sorted(row)) for row in short.tolist()} == {(0,) * n + (1,) * (4 - n) for n in range(5)}
    assert abs(short.mean() - 0.5) < 0.05
    long = draws[pids[draws] == 1].reshape(400, 4)
    counts = np.bincount(long.ravel(), minlength=8)[2:]
    assert abs(counts / 1600 - 1 / 6).max() < 0.03


def test_the_schedule_reads_one_pass_after_the_other():
    sampler = IdentitySampler(PIDS, P * K, K)
    lengths = [len(sampler.batches(3, number)) for number in range(12)]
    assert len(set(lengths)) > 1  # passes of different lengths
    schedule = Schedule(sampler, 3)
    assert schedule.steps_per_epoch == lengths[0]
    step = 0
    for number in range(12):
        position = 0
        for batch in sampler.batches(3, number):
            found = schedule.at(step)
            assert found[:2] == (number, position)
            assert (found[2] == batch).all()
            step, position = step + 1, position + len(batch)
    fresh = Schedule(sampler, 3)
    for step in (17, 2, 9):  # in any order
        assert (fresh.at(step)[2] == schedule.at(step)[2]).all()


def test_too_few_groups():
    with pytest.raises(DataError, match="3 training groups do not fill one batch of 4"):
        RandomSampler(3, 4, drop_last=True)
    with pytest.raises(DataError, match="0 training groups"):
        RandomSampler(0, 4)
    with pytest.raises(DataError, match="3 identities x 2 are wanted in a batch; train has 2 identities"):
        IdentitySampler(np.array([0, 0, 1]), 6, 2)


@st.composite
def worlds(draw, most=14):
    """Identities with any numbers of groups on any cameras, in any order: pids and camids."""
    counts = draw(st.lists(st.integers(1, most), min_size=1, max_size=9))
    pids = np.repeat(draw(st.permutations(range(100, 100 + len(counts)))), counts)
    camids = np.array(draw(st.lists(st.integers(-1, 4), min_size=len(pids), max_size=len(pids))), dtype=np.int64)
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(pids))
    return pids[order], camids[order]


def as_listed(batches):
    return [batch.tolist() for batch in batches]


@settings(max_examples=150, deadline=None)
@given(worlds(), st.integers(1, 4), st.integers(1, 6), st.integers(0, 5))
def test_camera_balanced_batches_hold_as_many_cameras_as_can_be(world, people, instances, number):
    pids, camids = world
    if people > len(set(pids.tolist())) or camids.max() < 0:
        with pytest.raises(DataError):
            CameraBalancedSampler(pids, camids, people * instances, instances)
        return
    sampler = CameraBalancedSampler(pids, camids, people * instances, instances)
    batches = sampler.batches(7, number)
    again = CameraBalancedSampler(pids, camids, people * instances, instances).batches(7, number)
    assert as_listed(batches) == as_listed(again)
    chunks = Counter()
    for batch in batches:
        blocks = batch.reshape(people, instances)
        assert (pids[blocks] == pids[blocks][:, :1]).all()
        assert len(set(pids[blocks[:, 0]].tolist())) == people
        for block in blocks:
            pid = pids[block[0]]
            chunks[pid] += 1
            own = Counter(camids[pids == pid].tolist())
            taken = Counter(camids[block].tolist())
            assert len(taken) == min(instances, len(own))
            most = max(Counter(block.tolist()).values())
            assert most == math.ceil(instances / min(instances, own.total()))  # twice only where there are too few
            if own.total() >= instances:
                for one in own:
                    for other in own:
                        assert taken[one] <= taken[other] + 1 or taken[other] == own[other]
    allowed = {pid: max(count // instances, 1) for pid, count in Counter(pids.tolist()).items()}
    assert all(chunks[pid] <= count for pid, count in allowed.items())
    assert sum(chunks[pid] < count for pid, count in allowed.items()) < people  # the pass ends as P x K does


def test_camera_balanced_instances_are_dealt_in_turn():
    """One identity: 12 groups of camera 0, 3 of camera 1, 1 of camera 2; 4 chunks of 4 a pass."""
    camids = np.array([0] * 12 + [1] * 3 + [2])
    seen = Counter()
    for number in range(300):
        chunks = CameraBalancedSampler(np.zeros(16, dtype=np.int64), camids, 4, 4).batches(0, number)
        assert len(chunks) == 4
        assert all({0, 1, 2} == set(camids[chunk].tolist()) for chunk in chunks)
        dealt = np.concatenate(chunks)
        seen.update(dealt.tolist())
        frequent = dealt[camids[dealt] == 0]
        assert len(set(frequent.tolist())) == len(frequent)  # none of them twice before all had their turn
    assert seen[15] == 4 * 300  # the rare camera's only group is in every chunk
    share = np.array([seen[group] for group in range(12)])
    assert share.min() > 0.7 * share.mean()
    assert share.max() < 1.3 * share.mean()


def test_cameras_must_be_known():
    with pytest.raises(DataError, match="camera_balanced needs cameras, and the data set tells of none"):
        CameraBalancedSampler(np.arange(8) // 2, np.full(8, -1), 4, 2)
    with pytest.raises(DataError, match="5 identities x 2 are wanted in a batch; train has 4 identities"):
        CameraBalancedSampler(np.arange(8) // 2, np.zeros(8), 10, 2)


def most_batches(counts, size):
    """How many batches of different identities there can be, by filling them from the most frequent identities."""
    left, made = sorted(counts, reverse=True), 0
    while len(left) >= size and left[size - 1] > 0:
        left = sorted([count - 1 for count in left[:size]] + left[size:], reverse=True)
        made += 1
    return made


@settings(max_examples=200, deadline=None)
@given(worlds(), st.integers(1, 6), st.integers(0, 5))
def test_matched_pairs_are_all_of_different_identities(world, size, number):
    pids, _ = world
    counts = Counter(pids.tolist())
    if size > len(counts):
        with pytest.raises(DataError, match=f"{size} identities x 1 are wanted in a batch; train has {len(counts)}"):
            MatchedPairSampler(pids, size)
        return
    batches = MatchedPairSampler(pids, size).batches(11, number)
    assert as_listed(batches) == as_listed(MatchedPairSampler(pids, size).batches(11, number))
    assert len(batches) == most_batches(counts.values(), size)
    for batch in batches:
        assert len(set(pids[batch].tolist())) == len(batch) == size
    taken = np.concatenate(batches).tolist()
    assert len(set(taken)) == len(taken)
    if max(counts.values()) <= len(batches):
        assert len(pids) - len(taken) < size


def test_matched_pairs_take_every_group_and_company_alike():
    pids = np.repeat(np.arange(10), 3)
    together = np.zeros((30, 30))
    for number in range(2_000):
        for batch in MatchedPairSampler(pids, 7).batches(0, number):
            together[np.ix_(batch, batch)] += 1
    times = np.diag(together) / 2_000
    assert abs(times - 28 / 30).max() < 0.03
    others = together[pids[:, None] != pids] / 2_000
    assert abs(others - others.mean()).max() < 0.06
    assert not together[(pids[:, None] == pids) & ~np.eye(30, dtype=bool)].any()
