"""What the queries of a test are about, as their data set tells: the slicings that records alone do not give."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_lab.assembly import Parts
from reid_lab.data.captions.lexicon import class_of
from reid_lab.data.items import ABSENT, Dataset, Groups
from reid_lab.data.protocols import PROTOCOLS, Retrieval
from reid_lab.data.protocols.rules import label
from reid_lab.data.synthetic.lexicon import COLOUR_WORDS
from reid_lab.errors import DataError
from reid_lab.measuring import measured, options
from reid_lab.metrics.retrieval import measure
from reid_lab.metrics.scores import InnerProduct
from reid_lab.probing.attributes import Attribute, attributes
from reid_lab.probing.queries import Queries, joined, of_found
from reid_lab.probing.slices import UNKNOWN, Slicing, by_label
from reid_lab.spec.run import RunSpec

COLOUR = {word for words in COLOUR_WORDS.values() for told in words for word in told.split()} - {
    "dark",
    "bright",
    "jet",
}
"""Every word of a colour's name: those of the embedded world, which are ordinary ones."""
FACTORS = ("occlusion", "view", "upper", "upper_colour", "gender")
"""Of the embedded world, what the query's own moment is sliced by."""
_WORD = re.compile(r"[a-z]+")
_FEWEST = 10  # people with a word in their queries, for it to be a slice
_CHANGE = {0: "the same outfit only", 1: "the same and another outfit", 2: "another outfit only"}


def tasks_of(spec: RunSpec, dataset: Dataset) -> tuple[Retrieval, ...]:
    """The tasks of a run's test again. Raises `DataError` where the data do not serve them."""
    if spec.eval.protocol is None:
        raise DataError("eval.protocol is null: nothing was asked")
    return PROTOCOLS[spec.eval.protocol].tasks(dataset, "test", options(spec.eval, spec.data.aliases))


def check_same(queries: Queries, tasks: Sequence[Retrieval]) -> None:
    """Raises `DataError` where these are not the queries that were recorded."""
    pids = np.concatenate([task.queries.pids for task in tasks])
    images = np.concatenate([task.queries.image_ids for task in tasks])
    if not (np.array_equal(pids, queries.pids) and np.array_equal(images, queries.image_ids)):
        raise DataError("the data set does not hold the queries that the run was tested with")


def slicings(dataset: Dataset, tasks: Sequence[Retrieval]) -> Iterator[Slicing]:
    """All slicings that the data know of, each with more than one slice."""
    known = attributes(dataset)
    for made in (*_of_moments(known, tasks), *_of_words(dataset, tasks), _of_clothes(tasks)):
        if made is not None and len(made.slices) > 1:
            yield made


def _of_moments(known: dict[str, Attribute], tasks: Sequence[Retrieval]) -> Iterator[Slicing]:
    numbers = np.concatenate([_first(task.queries) for task in tasks])
    cameras = np.concatenate([task.queries.camids for task in tasks])
    if (cameras != ABSENT).any():
        yield by_label("camera", cameras)
    for name in FACTORS:
        if name in known:
            values = dict(enumerate(known[name].values))
            yield by_label(name, known[name].labels[numbers], values)


def _first(groups: Groups) -> NDArray[np.int64]:
    """Each group's first item."""
    columns = np.stack(list(groups.members.values()))
    first: NDArray[np.int64] = columns[(columns != ABSENT).argmax(axis=0), np.arange(columns.shape[1])]
    return first


def _of_words(dataset: Dataset, tasks: Sequence[Retrieval]) -> Iterator[Slicing]:
    """By the length of the words of a query, and by the colours and garments that they name."""
    told: list[list[str]] = []
    for task in tasks:
        texts = [""] * len(task.queries)
        for column in task.queries.members.values():
            for k, item in enumerate(column.tolist()):
                if item != ABSENT and dataset.items.caption[item] is not None:
                    texts[k] += f" {dataset.items.caption[item]}"
        told += [_WORD.findall(text.lower()) for text in texts]
    lengths = np.array([len(words) for words in told])
    if not lengths.any():
        return
    yield _by_length(lengths)
    pids = np.concatenate([task.queries.pids for task in tasks])
    for name, wanted in (("colour word", COLOUR.__contains__), ("garment word", lambda word: class_of(word) in "gc")):
        vocabulary = sorted({word for words in told for word in set(words) if wanted(word)})
        masks = [(word, np.array([word in words for words in told])) for word in vocabulary]
        often = [(word, mask) for word, mask in masks if len(np.unique(pids[mask])) >= _FEWEST]
        yield Slicing(name, tuple(often), whole=False)


def _by_length(lengths: NDArray[np.int64]) -> Slicing:
    """Thirds of the queries that have words, by how many."""
    low, high = (int(edge) for edge in np.quantile(lengths[lengths > 0], (1 / 3, 2 / 3), method="lower"))
    slices = (
        ("no words", lengths == 0),
        (f"up to {low} words", (lengths > 0) & (lengths <= low)),
        (f"{low + 1} to {high} words", (lengths > low) & (lengths <= high)),
        (f"more than {high} words", lengths > high),
    )
    return Slicing("caption length", tuple((name, mask) for name, mask in slices if mask.any()))


def _of_clothes(tasks: Sequence[Retrieval]) -> Slicing | None:
    """By what the person wears on the gallery's correct images, those that a rule takes out left aside."""
    found: list[int] = []
    for task in tasks:
        asking, there = label(task.queries, "clothes"), label(task.gallery, "clothes")
        gone = None if task.rule.of is None else task.rule.of(task.queries, task.gallery)
        order = np.argsort(task.gallery.pids, kind="stable")
        ends = [np.searchsorted(task.gallery.pids[order], task.queries.pids, side=side) for side in ("left", "right")]
        for query, (low, high) in enumerate(zip(*ends, strict=True)):
            own = order[low:high]
            if gone is not None and len(own):
                own = own[~np.asarray(gone(query, own), dtype=bool)]
            worn = there[own]
            if asking[query] == ABSENT or not len(worn) or (worn == ABSENT).any():
                found.append(ABSENT)
            else:
                alike = worn == asking[query]
                found.append(0 if alike.all() else 1 if alike.any() else 2)
    return by_label("clothes change", np.array(found), _CHANGE)


def camera_pairs(parts: Parts, tasks: Sequence[Retrieval]) -> tuple[Queries, Slicing]:
    """Every query once for each camera of the gallery, of which only the images of that camera are ranked.

    The queries are those of every camera in turn; the slices are pairs `query camera > gallery camera`. Raises
    `DataError` where cameras are not known.
    """
    found: list[Queries] = []
    pairs: list[NDArray[Any]] = []
    for one, queries, gallery in measured(parts, tasks):
        task, device = one.task, one.how.device
        asking = task.queries.camids
        cameras = np.unique(task.gallery.camids[task.gallery.camids != ABSENT])
        if not len(cameras) or (asking == ABSENT).all():
            raise DataError(f"{parts.spec.data.name} does not know the cameras of its test; there are no pairs")
        for camera in cameras.tolist():
            index = np.flatnonzero(task.gallery.camids == camera)
            groups = task.gallery.take(index)
            result = measure(
                InnerProduct(queries.to(device), gallery[index.tolist()].to(device)),
                task.queries.pids,
                groups.pids,
                removed=None if task.rule.of is None else task.rule.of(task.queries, groups),
                no_match="skip",
                ap=one.how.ap,
            )
            columns = {name: getattr(result, name) for name in ("ap", "inp", "first_hit", "valid")}
            found.append(of_found(task.name, task.queries.pids, task.queries.image_ids, columns))
            pairs.append(np.array([f"{a} > {camera}" if a != ABSENT else UNKNOWN for a in asking.tolist()]))
    return joined(found), by_label("camera pair", np.concatenate(pairs))
