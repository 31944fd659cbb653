"""How well the splitter does, measured against the embedded world's true split.

The whole captions of the embedded world follow four styles, each a row of lists (have, wear, carry) behind
their own phrases, so that the side of every word is known from the sentence's build alone; the splitter
knows nothing of these styles.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reid_lab.data.captions.lexicon import PARTICIPLES
from reid_lab.data.captions.splitter import split_caption
from reid_lab.data.synthetic.captions import Wording, describe
from reid_lab.data.synthetic.lexicon import ACTION, GLUE, STYLES, WHOLE_STYLES
from reid_lab.data.synthetic.world import World

_WORD = re.compile(r"[a-z]+|\.")
_PHRASES = {phrase: name for style in WHOLE_STYLES for name, (phrase, _) in style.items()}
_BEGINS = re.compile(rf"\b({'|'.join(sorted(_PHRASES, key=len, reverse=True))})\b|(\.)")
_ACTIONS = re.compile("|".join(sorted({text for texts in ACTION.values() for text in texts}, key=len, reverse=True)))
_GLUE = (
    frozenset({*GLUE[0].split(), "on", "to", "over", "person", "he", "she", "whose", "carrying", "wearing"})
    | frozenset(PARTICIPLES.values())
    | {word for style in STYLES for phrase, _ in style.values() for word in phrase.split()}
)


@dataclass(frozen=True)
class Score:
    """Agreement on one part: of the content words that it holds, and whether there is a part at all."""

    precision: float  # of the words that were put there, the share that belongs there
    recall: float  # of the words that belong there, the share that was put there
    missing: float  # of the captions, the share in which the part is rightly there or rightly missing


@dataclass(frozen=True)
class Agreement:
    """Agreement with the true split; `exact` is the share of captions whose two parts hold the very words, in order."""

    captions: int
    exact: float
    identity: Score
    clothes: Score


def true_words(text: str) -> tuple[list[str], list[str]]:
    """The content words of identity and of clothes in a whole caption of the embedded world, in order.

    Content words are all but articles, "and", "person", pronouns, and the phrases of the styles.
    """
    text = _ACTIONS.sub("", text)
    sides: dict[str, list[str]] = {"identity": [], "clothes": []}
    section, at = "noun", 0
    for found in _BEGINS.finditer(text):
        begins = "" if found[2] else _PHRASES[found[1]]
        # "with a red logo" belongs to a garment, "hair in a bun" to the body.
        if (found[1] == "with" and section == "wear") or (found[1] == "in" and section in ("have", "wear")):
            continue
        _file(sides, section, text[at : found.start()])
        section, at = begins, found.end()
    _file(sides, section, text[at:])
    return sides["identity"], sides["clothes"]


def _file(sides: dict[str, list[str]], section: str, text: str) -> None:
    sides["clothes" if section in ("wear", "carry") else "identity"] += _content(text)


def _content(text: str | None) -> list[str]:
    return [word for word in _WORD.findall((text or "").lower()) if word not in _GLUE]


def agreement(world: World, wording: Wording, split: str) -> Agreement:
    """Splits every whole caption of one split of a world and compares the parts with the truth, word by word."""
    scenes = [(n, image) for n in range(world.identities[_at(split)]) for image in range(world.images[_at(split)])]
    texts = [describe(world, wording, split, number, image, "caption").text for number, image in scenes]
    pairs = []
    for text in texts:
        parts = split_caption(text)
        pairs.append(((_content(parts.identity), _content(parts.clothes)), true_words(text)))
    exact = sum(found == true for found, true in pairs) / max(len(pairs), 1)
    scores = [score([(found[k], true[k]) for found, true in pairs]) for k in range(2)]
    return Agreement(len(pairs), exact, *scores)


def _at(split: str) -> int:
    return ("train", "val", "test").index(split)


def score(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Score:
    """The score of (found, true) word lists; words count as often as they occur. An empty ratio is 1."""
    common = found_words = true_words_ = agree = 0
    for found, true in pairs:
        common += (Counter(found) & Counter(true)).total()
        found_words, true_words_ = found_words + len(found), true_words_ + len(true)
        agree += bool(found) == bool(true)
    return Score(
        common / found_words if found_words else 1.0,
        common / true_words_ if true_words_ else 1.0,
        agree / len(pairs) if pairs else 1.0,
    )
