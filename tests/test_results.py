"""Drawn rankings: what a picture shows of a query and of what was found, and which tasks have one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from reid_lab.data import ranked
from reid_lab.data.items import Groups, Row, tabulate
from reid_lab.data.protocols import Retrieval
from reid_lab.data.protocols.rules import Rule
from reid_lab.results import draw, spread

ROWS = [
    Row("test", "nir", 0, 0, path="a", side="query"),
    Row("test", "caption", 0, 0, caption="a man in red", side="query"),
    Row("test", "caption", 1, 1, caption="a woman in blue", side="query"),
    *(Row("test", "rgb", pid, 2 + pid, path=f"{pid}", side="gallery") for pid in range(3)),
]
NOTHING = Rule("nothing")
COLOURS = [(60, 140, 130), None, None, (250, 200, 40), (40, 90, 250), (150, 40, 220)]


class Flat:
    """Every image is of one colour."""

    items = tabulate(ROWS)

    def images(self, index, size):
        planes = [np.asarray(COLOURS[k], dtype=np.uint8)[:, None, None].repeat(size[0], 1) for k in index]
        return np.stack([plane.repeat(size[1], 2) for plane in planes])


def groups(pids, **members):
    none = np.full(len(pids), -1)
    return Groups({role: np.array(column) for role, column in members.items()}, np.array(pids), none, none)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The pictures of a task, and the words above each."""
    told = []
    list_of = ranked.ranked_list

    def listed(words, asked, *given):
        told.append((words, [role for role, _ in asked], *given[3]))
        return list_of(words, asked, *given, height=40)

    monkeypatch.setattr("reid_lab.results.ranked_list", listed)
    parts = SimpleNamespace(source=SimpleNamespace(dataset=Flat(), facts=SimpleNamespace(image_size=(20, 10))))

    def of(queries, numbers, rule=NOTHING):
        task = Retrieval("NIR+TEXT", queries, groups([0, 1, 2], rgb=[3, 4, 5]), rule, "zero")
        embedded = torch.eye(3)[[0, 2][: len(queries)]]
        made = draw(parts, SimpleNamespace(path=tmp_path), task, embedded, torch.eye(3), numbers)
        return [(number, np.asarray(Image.open(path))) for number, path in made], told

    return of


def pixels(image, colour):
    return int((image == np.array(colour, dtype=np.uint8)).all(axis=2).sum())


def test_a_query_is_drawn_with_its_images_and_captions(drawn):
    pictures, told = drawn(groups([0, 1], nir=[0, -1], caption=[1, 2]), [3, 7])
    assert told == [
        ("a man in red", ["nir"], "NIR+TEXT, query 1 of 2, identity 0"),
        ("a woman in blue", [], "NIR+TEXT, query 2 of 2, identity 1"),
    ]
    assert [number for number, _ in pictures] == [3, 7]
    (_, first), (_, second) = pictures
    assert [pixels(first, colour) for colour in COLOURS if colour] == 4 * [40 * 20]
    assert [pixels(second, colour) for colour in COLOURS if colour] == [0] + 3 * [40 * 20]


def test_a_query_of_images_needs_no_words(drawn):
    ((_, picture),), told = drawn(groups([0], nir=[0]), [0])
    assert told == [("", ["nir"], "NIR+TEXT, query 1 of 1, identity 0")]
    assert pixels(picture, COLOURS[0]) == 40 * 20


def test_the_rightly_found_is_framed_green_and_the_removed_comes_last(drawn):
    def first_of(picture):
        frames = [(picture == np.array(colour)).all(axis=2) for colour in (ranked.RIGHT, ranked.WRONG)]
        return min(range(2), key=lambda kind: np.flatnonzero(frames[kind].any(axis=0)).min())

    (_, found), (_, missed) = drawn(groups([0, 1], caption=[1, 2]), [0, 1])[0]
    assert (first_of(found), first_of(missed)) == (0, 1)
    own = Rule("the own", lambda queries, gallery: lambda query, rows: np.ones(len(rows), dtype=bool))
    ((_, without),) = drawn(groups([0], caption=[1]), [0], own)[0]
    assert first_of(without) == 1


@pytest.mark.parametrize(
    ("pictures", "tasks", "expected"),
    [
        (3, 1, [[0, 1, 2]]),
        (4, 2, [[0, 1], [2, 3]]),
        (2, 5, [[0], [], [], [], [1]]),
        (1, 2, [[0], []]),
        (0, 2, [[], []]),
    ],
)
def test_pictures_are_spread_over_the_tasks(pictures, tasks, expected):
    assert spread(pictures, tasks) == expected
