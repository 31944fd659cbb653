"""Figures of what a finished run's model makes of its data: maps, similarities, attention, words, ranked lists.

`kinds` joins `KINDS` with that of `report.figures`; a module, and torch, is imported when a kind is drawn. To add one:
write a function of an `Opened` run that returns a `Drawn`, call `looked` before it returns, parse its options in
`asked.py`, add a line below and a section in docs/figures.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from reid_lab.errors import UserError, unknown
from reid_lab.report import figures
from reid_lab.report.figures.kind import Draw, Kind


def _map() -> Draw:
    from reid_lab.looking.asked import embedding_map

    return embedding_map


def _similarity() -> Draw:
    from reid_lab.looking.asked import similarity

    return similarity


def _attention() -> Draw:
    from reid_lab.looking.asked import attention

    return attention


def _words() -> Draw:
    from reid_lab.looking.asked import words

    return words


def _sheet() -> Draw:
    from reid_lab.looking.asked import sheet

    return sheet


_PART = {"part": "val or test (val); a look at test is recorded", "device": "auto, cpu, cuda, … (the run's own)"}
_TASK = {"task": "a task of the protocol (the first)"}
_SEED = {"seed": "of what is drawn at random (0)"}
_PEOPLE = {"people": "identities, with commas, instead of drawn ones", **_SEED}

KINDS: Mapping[str, Kind] = {
    "map": Kind(
        "embeddings of a few people: principal components and t-SNE, a row for each run",
        "weights",
        _map,
        options={
            "identities": "how many people (12)",
            **_PEOPLE,
            "perplexity": "of t-SNE (15)",
            **_TASK,
            **_PART,
        },
        weights=True,
        of_test=False,
    ),
    "similarity": Kind(
        "how similar right and wrong pairs are: histograms, d′ and overlap, a panel for each run",
        "weights",
        _similarity,
        options={"bins": "of the histograms (60)", **_TASK, **_PART},
        weights=True,
        of_test=False,
    ),
    "attention": Kind(
        "what the class token of one run attends to, over images: the last block, and the rollout",
        "weights of a model with an image transformer",
        _attention,
        options={"images": "how many (8)", **_PEOPLE, "role": "modality (rgb)", **_PART},
        weights=True,
        of_test=False,
    ),
    "words": Kind(
        "which patches are like which words of a caption, for one run",
        "weights of a model whose words and patches share a space",
        _words,
        options={"captions": "how many (2)", **_PEOPLE, "role": "modality of the images (rgb)", **_PART},
        weights=True,
        of_test=False,
    ),
    "sheet": Kind(
        "ranked lists of the best, the worst and random queries of one run",
        "weights, and a gallery of images",
        _sheet,
        options={"each": "how many of each (2)", "top": "images of a list (10)", **_SEED, **_TASK, **_PART},
        weights=True,
        of_test=False,
    ),
}
"""Name -> kind, of those drawn from weights and data."""


def kinds() -> Mapping[str, Kind]:
    """All kinds of figures: of records, and of what models make of data."""
    return {**figures.KINDS, **KINDS}


def kind_named(name: str) -> Kind:
    """The kind of this name. Raises `UserError` where there is none."""
    known = kinds()
    if name not in known:
        raise UserError(unknown("kind of figure", name, known))
    return known[name]
