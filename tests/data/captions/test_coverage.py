"""Whole data sets split, and the table of what was covered."""

from reid_lab.data.captions import PartsRow, split_all

CAPTIONS = [
    ("a/1.jpg", 0, "A man in a red shirt."),
    ("a/1.jpg", 1, "A person with a blue gizmo hat, gizmo and frobs."),
    ("a/2.jpg", 0, "She is walking."),
    ("a/3.jpg", 0, "Walking."),
]


def test_every_caption_gets_a_row_in_order():
    rows, _ = split_all(iter(CAPTIONS))
    assert rows[0] == PartsRow("a/1.jpg", 0, "A man", "a person wearing a red shirt")
    assert [row[:2] for row in rows] == [caption[:2] for caption in CAPTIONS]
    assert rows[2][2:] == ("a woman", None)
    assert rows[3][2:] == (None, None)


def test_coverage_counts_parts_and_unknown_words():
    _, coverage = split_all(CAPTIONS)
    counts = (coverage.captions, coverage.identity, coverage.clothes, coverage.both, coverage.neither)
    assert counts == (4, 2, 2, 1, 1)
    assert coverage.unknown == (("gizmo", 2), ("frobs", 1))
    assert (coverage.words, coverage.unknown_words) == (20, 3)
    rows = coverage.rows(shown=1)
    assert ("captions", 4, "100.00%") in rows
    assert ("with an identity part", 2, "50.00%") in rows
    assert rows[-1] == ("  gizmo", 2, "10.00%")


def test_no_captions_no_shares():
    rows, coverage = split_all([])
    assert rows == []
    assert coverage.rows()[0] == ("captions", 0, "-")
