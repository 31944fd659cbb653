"""Rules: what is taken out of a query's ranking.

All that a rule takes out shows the query's person: it is asked about gallery items of the query's pid only.
A label that is unknown (-1) equals nothing and differs from nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reid_lab.data.items import ABSENT, Groups
from reid_lab.errors import DataError
from reid_lab.metrics.retrieval import Removed

Test = Callable[[Groups, Groups], Removed]


@dataclass(frozen=True)
class Rule:
    """What is taken out of a query's ranking, in words, and as a function of queries and gallery; None: nothing.

    needs: the labels that both sides must know for the rule to mean anything (`camids`, `scenes`, …).
    """

    words: str
    of: Test | None = None
    needs: tuple[str, ...] = ()


def label(groups: Groups, name: str) -> np.ndarray:
    """A label of groups (n,) int64: `pids`, `camids`, `image_ids` or one of `Groups.labels`; -1 where unknown."""
    if name in ("pids", "camids", "image_ids"):
        column: np.ndarray = getattr(groups, name)
        return column
    return groups.labels.get(name, np.full(len(groups), ABSENT, dtype=np.int64))


def known(groups: Groups, name: str) -> bool:
    """Whether any group knows a label."""
    return bool(np.any(label(groups, name) != ABSENT))


def same(name: str) -> Test:
    """Takes out gallery items whose label is the query's."""

    def of(queries: Groups, gallery: Groups) -> Removed:
        asking, there = label(queries, name).tolist(), label(gallery, name)

        def removed(query: int, numbers: np.ndarray) -> np.ndarray:
            if asking[query] == ABSENT:
                return np.zeros(len(numbers), dtype=bool)
            gone: np.ndarray = there[numbers] == asking[query]
            return gone

        return removed

    return of


def other(name: str) -> Test:
    """Takes out gallery items whose label is another than the query's, where both are known."""

    def of(queries: Groups, gallery: Groups) -> Removed:
        asking, there = label(queries, name).tolist(), label(gallery, name)

        def removed(query: int, numbers: np.ndarray) -> np.ndarray:
            wanted, found = asking[query], there[numbers]
            if wanted == ABSENT:
                return np.zeros(len(numbers), dtype=bool)
            gone: np.ndarray = (found != wanted) & (found != ABSENT)
            return gone

        return removed

    return of


def either(first: Test, *others: Test) -> Test:
    """Takes out what any of the tests takes out."""

    def of(queries: Groups, gallery: Groups) -> Removed:
        one, *more = (test(queries, gallery) for test in (first, *others))

        def removed(query: int, numbers: np.ndarray) -> np.ndarray:
            gone = one(query, numbers)
            for part in more:
                gone = gone | part(query, numbers)
            return gone

        return removed

    return of


MOMENT, CAMERA, SCENE = same("image_ids"), same("camids"), same("scenes")

NOTHING = Rule("nothing")

RULES: dict[str, Rule] = {
    "nothing": NOTHING,
    "moment": Rule("the query's own moment", MOMENT, ("image_ids",)),
    "camera": Rule("the query's identity in its camera, and its own moment", either(CAMERA, MOMENT), ("camids",)),
    "scene": Rule("the query's identity in its scene, and its own moment", either(SCENE, MOMENT), ("scenes",)),
    "clothes": Rule(
        "the query's identity in its camera or in the same clothes, and its own moment",
        either(CAMERA, same("clothes"), MOMENT),
        ("camids", "clothes"),
    ),
    "other_clothes": Rule(
        "the query's identity in its camera or in other clothes, and its own moment",
        either(CAMERA, other("clothes"), MOMENT),
        ("camids", "clothes"),
    ),
}
"""What `eval.removed` may name."""

CAMERALESS: dict[str, Rule] = {
    "camera": RULES["moment"],
    "clothes": Rule("the query's identity in the same clothes, and its own moment", RULES["clothes"].of, ("clothes",)),
    "other_clothes": Rule(
        "the query's identity in other clothes, and its own moment", RULES["other_clothes"].of, ("clothes",)
    ),
}
"""What is left of rules where no camera is known."""


def require(rule: Rule, queries: Groups, gallery: Groups, remedy: str) -> None:
    """Refuses a rule over groups that do not know the labels that it needs.

    remedy: what the user may do, with `{label}` in it.

    Raises:
        DataError: a label of `Rule.needs` is unknown to a whole side.
    """
    for name in rule.needs:
        sides = [side for side, groups in (("queries", queries), ("gallery", gallery)) if not known(groups, name)]
        if sides:
            what = f"'{rule.words}' is removed from rankings, but the {' and the '.join(sides)} have no {name}"
            raise DataError(f"{what}; {remedy.format(label=name)}")
