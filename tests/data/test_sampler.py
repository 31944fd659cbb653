import numpy as np
import pytest

from reid_lab.data.sampler import IdentitySampler, RandomSampler, Schedule
from reid_lab.errors import DataError


def test_a_random_pass_takes_every_group_once():
    sampler = RandomSampler(23, 5)
    batches = sampler.batches(0, 0)
    assert [len(b) for b in batches] == [5, 5, 5, 5, 3]
    assert sorted(np.concatenate(batches).tolist()) == list(range(23))
    assert [len(b) for b in RandomSampler(23, 5, drop_last=True).batches(0, 0)] == [5] * 4


def test_passes_differ_and_repeat():
    for sampler in (RandomSampler(23, 5), IdentitySampler(np.arange(24) // 4, 4, 2)):
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
