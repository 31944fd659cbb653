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

from reid_lab.data.synthetic.sensors import Subject, subject
from reid_lab.data.synthetic.traits import COLOURS, IDENTITY, NO_COLOUR, OUTFIT
from reid_lab.data.synthetic.world import World
from reid_lab.seeding import rng

_COLOUR_WORDS: Mapping[str, tuple[str, ...]] = {
    "black": ("black", "black", "jet black"), "white": ("white",), "grey": ("grey", "gray"),
    "navy": ("navy", "dark blue", "navy blue"), "blue": ("blue", "bright blue"), "red": ("red", "bright red"),
    "brown": ("brown", "chestnut"), "green": ("green", "emerald"), "beige": ("beige", "cream", "tan"),
    "pink": ("pink", "rose"), "yellow": ("yellow", "lemon"), "maroon": ("maroon", "burgundy", "dark red"),
    "orange": ("orange",), "purple": ("purple", "violet"), "olive": ("olive", "khaki"),
}  # fmt: skip
_GENDER = {"man": ("man", "male", "guy", "gentleman"), "woman": ("woman", "female", "lady")}
_PRONOUN = {"man": "he", "woman": "she"}
_AGE = {"young": ("young", "youthful"), "middle": ("middle aged", "mature"), "old": ("old", "elderly", "senior")}
_BUILD = {"slim": ("slim", "thin", "slender"), "average": ("average",), "heavy": ("heavy", "stout", "large")}
_HEIGHT = {"short": ("short", "small"), "average": ("medium height",), "tall": ("tall",)}
_SKIN = {
    "pale": ("pale",),
    "light": ("light", "fair"),
    "tan": ("tanned", "olive"),
    "brown": ("brown",),
    "dark": ("dark",),
}
_HAIR = {
    "bald": ("a bald head", "a shaved head"), "cropped": ("cropped {} hair", "buzzed {} hair"),
    "short": ("short {} hair",), "bob": ("{} hair to the shoulders", "a {} bob"),
    "long": ("long {} hair", "long flowing {} hair"),
    "ponytail": ("a {} ponytail", "{} hair tied in a ponytail"), "bun": ("a {} bun", "{} hair in a bun"),
    "curly": ("curly {} hair", "a {} afro"),
}  # fmt: skip
_HAIR_COLOUR = {
    "black": ("black", "dark"),
    "brown": ("brown", "brunette"),
    "blond": ("blond", "fair"),
    "red": ("red", "ginger"),
    "grey": ("grey", "silver"),
}
_GLASSES = {"glasses": ("glasses", "spectacles"), "sunglasses": ("sunglasses", "dark glasses")}
_BEARD = ("a beard", "facial hair")
_UPPER = {
    "tshirt": ("tee", "tee shirt"), "shirt": ("shirt", "button up shirt"), "sweater": ("sweater", "pullover", "jumper"),
    "hoodie": ("hoodie", "hooded sweatshirt"), "jacket": ("jacket", "open jacket"),
    "coat": ("coat", "overcoat", "long coat"), "dress": ("dress", "frock"),
}  # fmt: skip
_PATTERN = {
    "striped": ("{} and {} striped", "{} {} striped"), "checked": ("{} and {} checked", "{} and {} plaid"),
    "dotted": ("{} {} dotted", "{} and {} spotted"), "block": ("{} and {}", "two tone {} and {}"),
}  # fmt: skip
_LOGO = ("with a {} logo", "with a {} print on the chest")
_INNER = ("over a {} top", "over something {}")
_LOWER = {
    "trousers": ("trousers", "pants", "jeans"), "shorts": ("shorts", "short pants"), "skirt": ("skirt", "short skirt"),
    "long_skirt": ("long skirt", "maxi skirt"), "leggings": ("leggings", "tights"),
}  # fmt: skip
_SINGULAR_LOWER = ("skirt", "long_skirt")
_SHOES = {"sneakers": ("sneakers", "trainers", "shoes"), "boots": ("boots",), "sandals": ("sandals",)}
_BAG = {
    "backpack": ("backpack", "rucksack"), "shoulder_bag": ("shoulder bag", "satchel"), "handbag": ("handbag", "purse"),
    "suitcase": ("suitcase", "rolling case"),
}  # fmt: skip
_HAT = {"cap": ("cap", "baseball cap"), "beanie": ("beanie", "knit hat", "woolly hat")}
_EXTRA = {"scarf": ("scarf", "shawl"), "umbrella": ("umbrella", "folded umbrella"), "mask": ("mask", "face mask")}
_ACTION = {
    0: ("walking towards the camera", "facing the camera", "seen from the front"),
    1: ("walking to the right", "seen from the side"),
    2: ("walking away", "seen from behind"),
    3: ("walking to the left", "seen from the side"),
}  # fmt: skip
# How each list of things is told: a phrase, and where it stands (behind the noun, or as a verb of sentence 1 or 2).
_NOUN, _FIRST, _SECOND = range(3)
_Style = Mapping[str, tuple[str, int]]
_WHOLE: tuple[_Style, ...] = (
    {"have": ("with", _NOUN), "wear": ("is wearing", _FIRST), "carry": ("is carrying", _SECOND)},
    {"wear": ("wears", _FIRST), "have": ("has", _SECOND), "carry": ("carries", _SECOND)},
    {"wear": ("dressed in", _NOUN), "have": ("has", _FIRST), "carry": ("holds", _FIRST)},
    {"wear": ("in", _NOUN), "carry": ("carries", _FIRST), "have": ("has", _SECOND)},
)
_IDENTITY: tuple[_Style, ...] = (
    {"have": ("with", _NOUN)},
    {"have": ("has", _FIRST)},
    {"have": ("who has", _NOUN)},
    {"have": ("having", _NOUN)},
)
_CLOTHES: tuple[_Style, ...] = (
    {"wear": ("in", _NOUN), "carry": ("carrying", _NOUN)},
    {"wear": ("wears", _FIRST), "carry": ("carries", _FIRST)},
    {"wear": ("is dressed in", _FIRST), "carry": ("holds", _SECOND)},
    {"wear": ("wearing", _NOUN), "carry": ("is carrying", _FIRST)},
)
_STYLES = (*_WHOLE, *_IDENTITY, *_CLOTHES)
_GLUE = ("a an and of the , .", "person", "skin", "build")


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


def vocabulary() -> tuple[str, ...]:
    """All words and punctuation marks that captions can contain, lower case and sorted."""
    tables: list[Mapping[str, tuple[str, ...]] | Mapping[int, tuple[str, ...]]] = [
        _COLOUR_WORDS, _GENDER, _AGE, _BUILD, _HEIGHT, _SKIN, _HAIR, _HAIR_COLOUR, _GLASSES, _UPPER, _PATTERN, _LOWER,
        _SHOES, _BAG, _HAT, _EXTRA, _ACTION,
    ]  # fmt: skip
    texts = [text for table in tables for values in table.values() for text in values]
    texts += [*_BEARD, *_LOGO, *_INNER, *_GLUE, *_PRONOUN.values()]
    texts += [phrase for style in _STYLES for phrase, _ in style.values()]
    return tuple(sorted({word for text in texts for word in re.findall(r"[a-z]+|[,.]", text)}))


class _Witness:
    """Draws what is told of one image, word by word."""

    def __init__(self, seen: Subject, wording: Wording, draw: np.random.Generator) -> None:
        self.who, self.worn = seen.person.attributes, seen.outfit.attributes
        self.scene, self.wording, self.draw = seen.scene, wording, draw
        self.facts: dict[str, int] = {}
        self.towards = math.cos(seen.scene.yaw)

    def index(self, count: int) -> int:
        return int(self.draw.random() * count)

    def pick(self, words: Sequence[str]) -> str:
        return words[self.index(len(words))]

    def pronoun(self) -> str:
        """The pronoun, or "the person" while the gender has not been told."""
        return _PRONOUN[IDENTITY["gender"][self.who["gender"]]] if "gender" in self.facts else "the person"

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
        return self.pick(_COLOUR_WORDS[COLOURS[value]])

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
        witness.identity("height", share * 0.8, _HEIGHT),
        witness.identity("build", share * 0.8, _BUILD),
        witness.identity("age", share, _AGE),
    ]
    # "average" needs its noun, and "medium height" stands behind: both follow the person.
    after = []
    if adjectives[0] == "medium height":
        after.append("medium height")
        adjectives[0] = None
    if adjectives[1] == "average":
        after.append("average build")
        adjectives[1] = None
    noun = witness.identity("gender", 1.25, _GENDER) or "person"
    words = _with_article(" ".join([*(a for a in adjectives if a), noun]))
    return f"{words} of {_listed(after)}" if after else words


def _have(witness: _Witness, share: float) -> list[str]:
    """Hair, beard, glasses and skin, as far as they are seen and told."""
    who, told = witness.who, []
    style = IDENTITY["hair_style"][who["hair_style"]]
    hidden = witness.worn["hat"] and style in ("bald", "cropped", "short")
    if not hidden and witness.tells():
        witness.facts["hair_style"] = who["hair_style"]
        phrase = witness.pick(_HAIR[style])
        if "{}" in phrase:
            colour = witness.identity("hair_colour", 1.0, _HAIR_COLOUR) or ""
            phrase = " ".join(phrase.format(colour).split())
            phrase = _with_article(phrase[2:]) if phrase.startswith("a ") else phrase
        told.append(phrase)
    seen = witness.towards > -0.2
    if seen and who["beard"] and witness.worn["extra"] != 3 and witness.tells():
        witness.facts["beard"] = 1
        told.append(witness.pick(_BEARD))
    if seen and who["glasses"] and witness.tells():
        witness.facts["glasses"] = who["glasses"]
        told.append(witness.pick(_GLASSES[IDENTITY["glasses"][who["glasses"]]]))
    skin = witness.identity("skin", share * 0.6, _SKIN)
    return [*told, f"{skin} skin"] if skin else told


def _upper(witness: _Witness) -> str:
    worn, facts = witness.worn, witness.facts
    facts["upper"] = worn["upper"]
    noun = witness.pick(_UPPER[OUTFIT["upper"][worn["upper"]]])
    if worn["pattern"] and witness.tells():
        facts["pattern"] = worn["pattern"]
        shape = witness.pick(_PATTERN[OUTFIT["pattern"][worn["pattern"]]])
        words = shape.format(witness.colour("upper_colour", always=True), witness.colour("second_colour", always=True))
    else:
        words = witness.colour("upper_colour")
    words = _with_article(f"{words} {noun}".strip())
    if worn["logo"] and witness.towards > 0.3 and witness.tells():
        facts["logo"] = 1
        words += " " + _with_colour(witness.pick(_LOGO), witness.colour("second_colour"))
    if worn["inner_colour"] != NO_COLOUR and witness.towards > 0.3 and witness.tells():
        words += " " + _with_colour(witness.pick(_INNER), witness.colour("inner_colour", always=True))
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
        single = OUTFIT["lower"][worn["lower"]] in _SINGULAR_LOWER
        told.append(witness.thing("lower", _LOWER, "lower_colour", article=single))
    if not low_hidden and witness.tells(0.8):
        told.append(witness.thing("shoes", _SHOES, "shoe_colour", article=False))
    if worn["hat"] and witness.tells():
        told.append(witness.thing("hat", _HAT, "hat_colour"))
    extra = OUTFIT["extra"][worn["extra"]]
    seen = extra == "scarf" or (extra == "mask" and witness.towards > -0.1)
    if seen and witness.tells():
        told.append(witness.thing("extra", _EXTRA, "extra_colour"))
    return told


def _carry(witness: _Witness) -> list[str]:
    worn, told = witness.worn, []
    strapped = OUTFIT["bag"][worn["bag"]] == "backpack" and witness.towards > 0.6
    if worn["bag"] and witness.tells(0.6 if strapped else 1.0):
        told.append(witness.thing("bag", _BAG, "bag_colour"))
    if OUTFIT["extra"][worn["extra"]] == "umbrella" and witness.tells():
        told.append(witness.thing("extra", _EXTRA, "extra_colour"))
    return told


def _whole(witness: _Witness) -> str:
    noun = _subject(witness, 0.55)
    if witness.tells(0.35):
        noun += f" {witness.pick(_ACTION[witness.scene.view])}"
    style = _WHOLE[witness.index(len(_WHOLE))]
    return _told(style, noun, witness.pronoun(), have=_have(witness, 0.5), wear=_wear(witness), carry=_carry(witness))


def _identity(witness: _Witness) -> str:
    noun = _subject(witness, 1.0)
    return _told(_IDENTITY[witness.index(len(_IDENTITY))], noun, witness.pronoun(), have=_have(witness, 1.3))


def _clothes(witness: _Witness) -> str:
    style = _CLOTHES[witness.index(len(_CLOTHES))]
    return _told(style, "a person", "the person", wear=_wear(witness), carry=_carry(witness))


def _told(style: _Style, noun: str, pronoun: str, **lists: list[str]) -> str:
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
    witness = _Witness(seen, wording, rng("words", world.name, world.seed, split, number, image, form))
    return Caption(FORMS[form](witness), witness.facts)
