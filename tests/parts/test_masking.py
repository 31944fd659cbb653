"""Masking of caption tokens, counted over many."""

from dataclasses import dataclass

import pytest
import torch

from reid_lab.parts.masking import Masking, mask_tokens
from reid_lab.seeding import keys

PUBLISHED = Masking(0.15, 0.8, 0.1)


@dataclass
class Ids:
    """The special ids of OpenAI's vocabulary, as IRRA uses them."""

    size: int = 49408
    pad_id: int = 0
    mask_id: int = 49405
    start_id: int = 49406
    end_id: int = 49407
    words: range = range(1, 49405)

    def __call__(self, texts, max_length):
        raise NotImplementedError


def captions(rows=2600, words=40, length=77):
    """start, 40 words, end, padding; over 10^5 words in all."""
    ids = torch.zeros(rows, length, dtype=torch.int64)
    ids[:, 0] = 49406
    ids[:, 1 : words + 1] = torch.randint(1, 49405, (rows, words), generator=torch.Generator().manual_seed(3))
    ids[:, words + 1] = 49407
    return ids


def test_counts_over_a_hundred_thousand_tokens():
    ids = captions()
    masked, labels = mask_tokens(ids, keys(0, 0, torch.arange(len(ids))), PUBLISHED, Ids())
    chosen = labels != 0
    total, count = ids.shape[0] * 40, int(chosen.sum())
    assert total >= 1e5
    assert count / total == pytest.approx(0.15, abs=0.004)
    replaced = chosen & (masked == 49405)
    kept = chosen & (masked == ids)
    random = chosen & ~replaced & ~kept
    assert int(replaced.sum()) / count == pytest.approx(0.8, abs=0.012)
    assert int(kept.sum()) / count == pytest.approx(0.1, abs=0.01)
    assert int(random.sum()) / count == pytest.approx(0.1, abs=0.01)
    assert torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(masked[~chosen], ids[~chosen])
    assert masked[random].min() >= 1
    assert masked[random].max() < 49405
    assert masked[random].float().mean() == pytest.approx(49405 / 2, rel=0.05)


def test_start_end_and_padding_are_never_touched():
    ids = captions()
    masked, labels = mask_tokens(ids, keys(1, 0, torch.arange(len(ids))), Masking(1.0, 0.8, 0.1), Ids())
    special = (ids == 0) | (ids >= 49406)
    assert torch.equal(masked[special], ids[special])
    assert not labels[special].any()
    assert (labels[~special] != 0).all()


def test_a_row_depends_on_its_key_alone():
    ids, all_keys = captions(rows=8), keys(0, 4, torch.arange(8))
    masked, labels = mask_tokens(ids, all_keys, PUBLISHED, Ids())
    order = torch.tensor([5, 2])
    again, again_labels = mask_tokens(ids[order], all_keys[order], PUBLISHED, Ids())
    assert torch.equal(again, masked[order])
    assert torch.equal(again_labels, labels[order])
    other, _ = mask_tokens(ids, keys(0, 5, torch.arange(8)), PUBLISHED, Ids())
    assert not torch.equal(other, masked)


def test_a_caption_of_which_nothing_is_chosen_gets_its_first_word_masked():
    ids = captions(rows=5, words=3, length=8)
    masked, labels = mask_tokens(ids, keys(0, 0, torch.arange(5)), Masking(1e-9, 0.8, 0.1), Ids())
    assert masked[:, 1].tolist() == [49405] * 5
    assert torch.equal(labels[:, 1], ids[:, 1])
    assert not labels[:, 2:].any()


def test_an_empty_caption_stays_as_it_is():
    ids = captions(rows=2, words=0, length=6)
    masked, labels = mask_tokens(ids, keys(0, 0, torch.arange(2)), Masking(1.0, 1.0, 0.0), Ids())
    assert torch.equal(masked, ids)
    assert not labels.any()
