"""The words: what a witness says of one image, in three forms, from a closed vocabulary.

`caption` tells all that is seen, `id_caption` the body only, `cloth_caption` the clothes and bags only.
Every attribute is left out with probability `drop`; a colour is wrong with probability `error`. What the
view hides (glasses from behind, shoes behind a wall) is not told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reid_lab.data.synthetic.lexicon import (
    ACTION,
    AGE,
    BAG,
    BEARD,
    BUILD,
    CLOTHES_STYLES,
    COLOUR_WORDS,
    EXTRA,
    GENDER,
    GLASSES,
    HAIR,
    HAIR_COLOUR,
    HAT,
    HEIGHT,
    IDENTITY_STYLES,
    INNER,
    LOGO,
    LOWER,
    PATTERN,
    PRONOUN,
    SHOES,
    SINGULAR_LOWER,
    SKIN,
    UPPER,
    WHOLE_STYLES,
    Style,
)
from reid_lab.data.synthetic.palette import Subject, subject
from reid_lab.data.synthetic.traits import COLOURS, IDENTITY, NO_COLOUR, OUTFIT
from reid_lab.data.synthetic.world import World
from reid_lab.seeding import rng


@dataclass(frozen=True)
class Wording:
    """How much witnesses leave out and how often they err, as probabilities."""

    drop: float
    error: float


@dataclass(frozen=True)
class Caption:
    """A sentence, and the attribute values that it states (wrong ones included)."""

    text: str
    facts: Mapping[str, int]


class _Witness:
    """Draws what is told of one image, word by word."""

    def __init__(
        self, seen: Subject, wording: Wording, draw: np.random.Generator, lists: Mapping[str, np.random.Generator]
    ) -> None:
        self.who, self.worn = seen.person.attributes, seen.outfit.attributes
        self.scene, self.wording, self.draw, self.lists = seen.scene, wording, draw, lists
        self.facts: dict[str, int] = {}
        self.towards = math.cos(seen.scene.yaw)

    def turns(self, to: str) -> _Witness:
        """Goes on to a list of things, with the draws of its own, if it has some."""
        self.draw = self.lists.get(to, self.draw)
        return self

    def index(self, count: int) -> int:
        return int(self.draw.random() * count)

    def pick(self, words: Sequence[str]) -> str:
        return words[self.index(len(words))]

    def pronoun(self) -> str:
        """The pronoun, or "the person" while the gender has not been told."""
        return PRONOUN[IDENTITY["gender"][self.who["gender"]]] if "gender" in self.facts else "the person"

    def tells(self, chance: float = 1.0) -> bool:
        return bool(self.draw.random() < chance * (1 - self.wording.drop))

    def identity(self, name: str, chance: float, table: Mapping[str, tuple[str, ...]]) -> str | None:
        """A word for an identity attribute, or None when it is left out."""
        if not self.tells(chance):
            return None
        self.facts[name] = self.who[name]
        return self.pick(table[IDENTITY[name][self.who[name]]])

    def colour(self, name: str, always: bool = False) -> str:
        """The words for a colour of the outfit, sometimes wrong, sometimes empty."""
        value = self.worn[name]
        if value == NO_COLOUR or not (always or self.tells()):
            return ""
        if self.draw.random() < self.wording.error:
            value = (value + 1 + int(self.draw.random() * (len(COLOURS) - 1))) % len(COLOURS)
        self.facts[name] = value
        return self.pick(COLOUR_WORDS[COLOURS[value]])

    def thing(self, name: str, table: Mapping[str, tuple[str, ...]], colour: str, article: bool = True) -> str:
        """A garment or bag with its colour, e.g. "a red cap"."""
        self.facts[name] = self.worn[name]
        words = f"{self.colour(colour)} {self.pick(table[OUTFIT[name][self.worn[name]]])}".strip()
        return _with_article(words) if article else words


def _with_article(words: str) -> str:
    """The words after "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _subject(witness: _Witness, share: float) -> str:
    """The noun with its adjectives; the gender is told more often than the rest."""
    adjectives = [
        witness.identity("height", share * 0.8, HEIGHT),
        witness.identity("build", share * 0.8, BUILD),
        witness.identity("age", share, AGE),
    ]
    # "average" needs its noun, and "medium height" stands behind: both follow the person.
    after = []
    if adjectives[0] == "medium height":
        after.append("medium height")
        adjectives[0] = None
    if adjectives[1] == "average":
        after.append("average build")
        adjectives[1] = None
    noun = witness.identity("gender", 1.25, GENDER) or "person"
    words = _with_article(" ".join([*(a for a in adjectives if a), noun]))
    return f"{words} of {_listed(after)}" if after else words


def _have(witness: _Witness, share: float) -> list[str]:
    """Hair, beard, glasses and skin, as far as they are seen and told."""
    who, told = witness.who, []
    style = IDENTITY["hair_style"][who["hair_style"]]
    hidden = witness.worn["hat"] and style in ("bald", "cropped", "short")
    if not hidden and witness.tells():
        witness.facts["hair_style"] = who["hair_style"]
        phrase = witness.pick(HAIR[style])
        if "{}" in phrase:
            colour = witness.identity("hair_colour", 1.0, HAIR_COLOUR) or ""
            phrase = " ".join(phrase.format(colour).split())
            phrase = _with_article(phrase[2:]) if phrase.startswith("a ") else phrase
        told.append(phrase)
    seen = witness.towards > -0.2
    if seen and who["beard"] and witness.worn["extra"] != 3 and witness.tells():
        witness.facts["beard"] = 1
        told.append(witness.pick(BEARD))
    if seen and who["glasses"] and witness.tells():
        witness.facts["glasses"] = who["glasses"]
        told.append(witness.pick(GLASSES[IDENTITY["glasses"][who["glasses"]]]))
    skin = witness.identity("skin", share * 0.6, SKIN)
    return [*told, f"{skin} skin"] if skin else told


def _upper(witness: _Witness) -> str:
    worn, facts = witness.worn, witness.facts
    facts["upper"] = worn["upper"]
    noun = witness.pick(UPPER[OUTFIT["upper"][worn["upper"]]])
    if worn["pattern"] and witness.tells():
        facts["pattern"] = worn["pattern"]
        shape = witness.pick(PATTERN[OUTFIT["pattern"][worn["pattern"]]])
        words = shape.format(witness.colour("upper_colour", always=True), witness.colour("second_colour", always=True))
    else:
        words = witness.colour("upper_colour")
    words = _with_article(f"{words} {noun}".strip())
    if worn["logo"] and witness.towards > 0.3 and witness.tells():
        facts["logo"] = 1
        words += " " + _with_colour(witness.pick(LOGO), witness.colour("second_colour"))
    if worn["inner_colour"] != NO_COLOUR and witness.towards > 0.3 and witness.tells():
        words += " " + _with_colour(witness.pick(INNER), witness.colour("inner_colour", always=True))
    return words


def _with_colour(phrase: str, colour: str) -> str:
    """Fills a colour (or nothing) into a phrase, and mends its article."""
    words = " ".join(phrase.format(colour).split())
    return re.sub(r"\ba (?=[aeiou])", "an ", words)


def _wear(witness: _Witness) -> list[str]:
    """The clothes that are seen and told; the upper garment first."""
    worn, told = witness.worn, []
    low_hidden = witness.scene.occluder == 2
    if witness.tells(1.3):
        told.append(_upper(witness))
    if not low_hidden and witness.tells(1.2):
        single = OUTFIT["lower"][worn["lower"]] in SINGULAR_LOWER
        told.append(witness.thing("lower", LOWER, "lower_colour", article=single))
    if not low_hidden and witness.tells(0.8):
        told.append(witness.thing("shoes", SHOES, "shoe_colour", article=False))
    if worn["hat"] and witness.tells():
        told.append(witness.thing("hat", HAT, "hat_colour"))
    extra = OUTFIT["extra"][worn["extra"]]
    seen = extra == "scarf" or (extra == "mask" and witness.towards > -0.1)
    if seen and witness.tells():
        told.append(witness.thing("extra", EXTRA, "extra_colour"))
    return told


def _carry(witness: _Witness) -> list[str]:
    worn, told = witness.worn, []
    strapped = OUTFIT["bag"][worn["bag"]] == "backpack" and witness.towards > 0.6
    if worn["bag"] and witness.tells(0.6 if strapped else 1.0):
        told.append(witness.thing("bag", BAG, "bag_colour"))
    if OUTFIT["extra"][worn["extra"]] == "umbrella" and witness.tells():
        told.append(witness.thing("extra", EXTRA, "extra_colour"))
    return told


def _whole(witness: _Witness) -> str:
    noun = _subject(witness, 0.55)
    if witness.tells(0.35):
        noun += f" {witness.pick(ACTION[witness.scene.view])}"
    style = WHOLE_STYLES[witness.index(len(WHOLE_STYLES))]
    pronoun = witness.pronoun()
    have, wear = _have(witness.turns("have"), 0.5), _wear(witness.turns("wear"))
    return _told(style, noun, pronoun, have=have, wear=wear, carry=_carry(witness.turns("carry")))


def _identity(witness: _Witness) -> str:
    noun = _subject(witness, 1.0)
    style = IDENTITY_STYLES[witness.index(len(IDENTITY_STYLES))]
    return _told(style, noun, witness.pronoun(), have=_have(witness.turns("have"), 1.3))


def _clothes(witness: _Witness) -> str:
    style = CLOTHES_STYLES[witness.index(len(CLOTHES_STYLES))]
    wear = _wear(witness.turns("wear"))
    return _told(style, "a person", "the person", wear=wear, carry=_carry(witness.turns("carry")))


def _told(style: Style, noun: str, pronoun: str, **lists: list[str]) -> str:
    """One or two sentences; a list of which nothing is told leaves no trace."""
    places: tuple[list[str], list[str], list[str]] = ([], [], [])
    for name, (phrase, place) in style.items():
        if lists[name]:
            places[place].append(f"{phrase} {_listed(lists[name])}")
    modifiers, first, second = places
    if not modifiers and not first:
        first, second = second, []
    sentence = " ".join([noun, *modifiers, " and ".join(first)]).strip() + "."
    return f"{sentence} {pronoun} {' and '.join(second)}." if second else sentence


FORMS: Mapping[str, Callable[[_Witness], str]] = {"caption": _whole, "id_caption": _identity, "cloth_caption": _clothes}


def describe(world: World, wording: Wording, split: str, number: int, image: int, form: str) -> Caption:
    """What is told of an image (of its rgb scene) in one form: caption, id_caption or cloth_caption."""
    seen = subject(world, split, number, image, "rgb")
    witness = _Witness(seen, wording, rng("words", world.name, world.seed, split, number, image, form), {})
    return Caption(FORMS[form](witness), witness.facts)


def retold(seen: Subject, wording: Wording, form: str, *seed: int | str) -> Caption:
    """What is told of a subject, also of one that no split holds; `seed`: a path of names and integers.

    Body, clothes and bags are told with draws of their own, so that other clothes change no other words (but for what
    they hide) and another body changes no word of the clothes.
    """
    lists = {name: rng("retold", *seed, name) for name in ("have", "wear", "carry")}
    witness = _Witness(seen, wording, rng("retold", *seed), lists)
    return Caption(FORMS[form](witness), witness.facts)
