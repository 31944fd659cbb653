"""Linear probes: how well a linear classifier reads a label from an embedding that stays as it is.

Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes, ICLR workshop. What a linear
reader finds is there; what it does not find may still be there in another form.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from reid_lab.seeding import rng

Ints = NDArray[np.int64]
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""What regularisation is chosen from: scikit-learn's C, the inverse of its strength."""
UNCHOSEN = 1e-1  # where nothing can be held out to choose by
INNER = 2  # folds of the training part of a fold, in which it is chosen
STEPS = 150  # of L-BFGS


@final
@dataclass(frozen=True)
class Probed:
    """One probe. All of `balanced`, `accuracy`, `permuted`, `majority` and `strength` have one value for each fold.

    n: items; clusters: people (or moments) that no two folds share; classes: how many values were told apart;
    rare: items left out because fewer clusters than folds have their value. balanced: the mean over classes of the
    share of the class that is found; accuracy: the share of all items. permuted: `balanced` after labels were
    permuted; majority: the accuracy of always saying what most items of the training part are.
    """

    n: int
    clusters: int
    classes: int
    rare: int
    balanced: tuple[float, ...]
    accuracy: tuple[float, ...]
    permuted: tuple[float, ...]
    majority: tuple[float, ...]
    strength: tuple[float, ...]


def enough(labels: Ints, clusters: Ints, folds: int) -> NDArray[np.bool_]:
    """The items (n,) whose label is known and is that of at least `folds` clusters."""
    keep = np.zeros(len(labels), dtype=bool)
    for value in np.unique(labels[labels >= 0]):
        having = labels == value
        keep |= having & (len(np.unique(clusters[having])) >= folds)
    return keep


def splits(labels: Ints, clusters: Ints, folds: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Item numbers of the training and test part of every fold; no cluster is in both, labels are spread evenly."""
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a label of fewer items than folds, in an inner fold
        yield from cut.split(np.zeros(len(labels)), labels, clusters)


def permuted(labels: Ints, people: Ints, seed: int) -> Ints:
    """The labels (n,) of others: people change places where each has one label that others share, else items do."""
    draw = rng("permuted", seed)
    who, first, inverse = np.unique(people, return_index=True, return_inverse=True)
    if len(np.unique(labels)) < len(who) and (labels == labels[first][inverse]).all():
        return labels[first][draw.permutation(len(who))][inverse]
    return draw.permutation(labels)


def probe(x: Any, labels: Ints, clusters: Ints, people: Ints, *, folds: int = 5, seed: int = 0) -> Probed | None:
    """Reads labels from embeddings x (n, D); None where fewer than two classes are known well enough.

    Args:
        labels: (n,), -1 where unknown.
        clusters: (n,) what no two folds share: people, or moments where the label is the identity itself.
        people: (n,) whose item it is, for the permutation.
        folds: of the cross-validation; a class needs as many clusters.
        seed: of folds and permutation.

    Each fold standardises x by its training part, chooses the regularisation by `balanced` in two inner folds of
    it, and weighs classes inversely to how many items they have.
    """
    keep = enough(labels, clusters, folds)
    x, y, group, who = np.asarray(x, dtype=np.float32)[keep], labels[keep], clusters[keep], people[keep]
    classes = np.unique(y)
    if len(classes) < 2:
        return None
    shuffled = permuted(y, who, seed)
    found: list[tuple[float, ...]] = []
    for train, test in splits(y, group, folds, seed):
        strength = _chosen(x[train], y[train], group[train], seed)
        said, chance = (_said(x[train], labelled[train], x[test], (strength,))[0] for labelled in (y, shuffled))
        values, counts = np.unique(y[train], return_counts=True)
        most = values[counts.argmax()]
        scores = (_balanced(y[test], said), _share(y[test], said), _balanced(shuffled[test], chance))
        found.append((*scores, _share(y[test], np.full(len(test), most)), strength))
    columns = [tuple(column) for column in zip(*found, strict=True)]
    return Probed(len(y), len(np.unique(group)), len(classes), int((labels >= 0).sum()) - len(y), *columns)


def _chosen(x: Any, y: Ints, clusters: Ints, seed: int) -> float:
    """The strength with the best mean over the inner folds; of equal ones the strongest regularisation.

    Where every class has one cluster alone, nothing can be held out, and the strength is `UNCHOSEN`.
    """
    if all(len(np.unique(clusters[y == value])) < INNER for value in np.unique(y)):
        return UNCHOSEN
    total = np.zeros(len(STRENGTHS))
    for train, test in splits(y, clusters, INNER, seed):
        if len(np.unique(y[train])) > 1:
            total += [_balanced(y[test], said) for said in _said(x[train], y[train], x[test], STRENGTHS)]
    return STRENGTHS[int(total.argmax())]


def _said(x: Any, y: Ints, asked: Any, strengths: tuple[float, ...]) -> list[Ints]:
    """What a classifier of each strength, trained on x and y, says of `asked`."""
    if len(np.unique(y)) < 2:  # permuted labels of a small fold
        return [np.full(len(asked), y[0]) for _ in strengths]
    scale = StandardScaler().fit(x)
    model = LogisticRegression(class_weight="balanced", max_iter=STEPS, tol=1e-3, warm_start=True)
    x, asked, said = scale.transform(x), scale.transform(asked), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of weak regularisation, which is then seldom chosen
        for strength in strengths:
            said.append(model.set_params(C=strength).fit(x, y).predict(asked))
    return said


def _balanced(true: Ints, said: Ints) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # something is said that no item of the test part is
        return float(balanced_accuracy_score(true, said))


def _share(true: Ints, said: Ints) -> float:
    return float((true == said).mean())
