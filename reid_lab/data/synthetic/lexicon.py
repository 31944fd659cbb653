"""The lexicon: the words for every attribute value, and the phrases that join them."""

from __future__ import annotations

import re
from collections.abc import Mapping

COLOUR_WORDS: Mapping[str, tuple[str, ...]] = {
    "black": ("black", "black", "jet black"), "white": ("white",), "grey": ("grey", "gray"),
    "navy": ("navy", "dark blue", "navy blue"), "blue": ("blue", "bright blue"), "red": ("red", "bright red"),
    "brown": ("brown", "chestnut"), "green": ("green", "emerald"), "beige": ("beige", "cream", "tan"),
    "pink": ("pink", "rose"), "yellow": ("yellow", "lemon"), "maroon": ("maroon", "burgundy", "dark red"),
    "orange": ("orange",), "purple": ("purple", "violet"), "olive": ("olive", "khaki"),
}  # fmt: skip
GENDER = {"man": ("man", "male", "guy", "gentleman"), "woman": ("woman", "female", "lady")}
PRONOUN = {"man": "he", "woman": "she"}
AGE = {"young": ("young", "youthful"), "middle": ("middle aged", "mature"), "old": ("old", "elderly", "senior")}
BUILD = {"slim": ("slim", "thin", "slender"), "average": ("average",), "heavy": ("heavy", "stout", "large")}
HEIGHT = {"short": ("short", "small"), "average": ("medium height",), "tall": ("tall",)}
SKIN = {
    "pale": ("pale",),
    "light": ("light", "fair"),
    "tan": ("tanned", "olive"),
    "brown": ("brown",),
    "dark": ("dark",),
}
HAIR = {
    "bald": ("a bald head", "a shaved head"), "cropped": ("cropped {} hair", "buzzed {} hair"),
    "short": ("short {} hair",), "bob": ("{} hair to the shoulders", "a {} bob"),
    "long": ("long {} hair", "long flowing {} hair"),
    "ponytail": ("a {} ponytail", "{} hair tied in a ponytail"), "bun": ("a {} bun", "{} hair in a bun"),
    "curly": ("curly {} hair", "a {} afro"),
}  # fmt: skip
HAIR_COLOUR = {
    "black": ("black", "dark"),
    "brown": ("brown", "brunette"),
    "blond": ("blond", "fair"),
    "red": ("red", "ginger"),
    "grey": ("grey", "silver"),
}
GLASSES = {"glasses": ("glasses", "spectacles"), "sunglasses": ("sunglasses", "dark glasses")}
BEARD = ("a beard", "facial hair")
UPPER = {
    "tshirt": ("tee", "tee shirt"), "shirt": ("shirt", "button up shirt"), "sweater": ("sweater", "pullover", "jumper"),
    "hoodie": ("hoodie", "hooded sweatshirt"), "jacket": ("jacket", "open jacket"),
    "coat": ("coat", "overcoat", "long coat"), "dress": ("dress", "frock"),
}  # fmt: skip
PATTERN = {
    "striped": ("{} and {} striped", "{} {} striped"), "checked": ("{} and {} checked", "{} and {} plaid"),
    "dotted": ("{} {} dotted", "{} and {} spotted"), "block": ("{} and {}", "two tone {} and {}"),
}  # fmt: skip
LOGO = ("with a {} logo", "with a {} print on the chest")
INNER = ("over a {} top", "over something {}")
LOWER = {
    "trousers": ("trousers", "pants", "jeans"), "shorts": ("shorts", "short pants"), "skirt": ("skirt", "short skirt"),
    "long_skirt": ("long skirt", "maxi skirt"), "leggings": ("leggings", "tights"),
}  # fmt: skip
SINGULAR_LOWER = ("skirt", "long_skirt")
SHOES = {"sneakers": ("sneakers", "trainers", "shoes"), "boots": ("boots",), "sandals": ("sandals",)}
BAG = {
    "backpack": ("backpack", "rucksack"), "shoulder_bag": ("shoulder bag", "satchel"), "handbag": ("handbag", "purse"),
    "suitcase": ("suitcase", "rolling case"),
}  # fmt: skip
HAT = {"cap": ("cap", "baseball cap"), "beanie": ("beanie", "knit hat", "woolly hat")}
EXTRA = {"scarf": ("scarf", "shawl"), "umbrella": ("umbrella", "folded umbrella"), "mask": ("mask", "face mask")}
ACTION = {
    0: ("walking towards the camera", "facing the camera", "seen from the front"),
    1: ("walking to the right", "seen from the side"),
    2: ("walking away", "seen from behind"),
    3: ("walking to the left", "seen from the side"),
}  # fmt: skip
# How each list of things is told: a phrase, and where it stands (behind the noun, or as a verb of sentence 1 or 2).
NOUN, FIRST, SECOND = range(3)
Style = Mapping[str, tuple[str, int]]
WHOLE_STYLES: tuple[Style, ...] = (
    {"have": ("with", NOUN), "wear": ("is wearing", FIRST), "carry": ("is carrying", SECOND)},
    {"wear": ("wears", FIRST), "have": ("has", SECOND), "carry": ("carries", SECOND)},
    {"wear": ("dressed in", NOUN), "have": ("has", FIRST), "carry": ("holds", FIRST)},
    {"wear": ("in", NOUN), "carry": ("carries", FIRST), "have": ("has", SECOND)},
)
IDENTITY_STYLES: tuple[Style, ...] = (
    {"have": ("with", NOUN)},
    {"have": ("has", FIRST)},
    {"have": ("who has", NOUN)},
    {"have": ("having", NOUN)},
)
CLOTHES_STYLES: tuple[Style, ...] = (
    {"wear": ("in", NOUN), "carry": ("carrying", NOUN)},
    {"wear": ("wears", FIRST), "carry": ("carries", FIRST)},
    {"wear": ("is dressed in", FIRST), "carry": ("holds", SECOND)},
    {"wear": ("wearing", NOUN), "carry": ("is carrying", FIRST)},
)
STYLES = (*WHOLE_STYLES, *IDENTITY_STYLES, *CLOTHES_STYLES)
GLUE = ("a an and of the , .", "person", "skin", "build")


def vocabulary() -> tuple[str, ...]:
    """All words and punctuation marks that captions can contain, lower case and sorted."""
    tables: list[Mapping[str, tuple[str, ...]] | Mapping[int, tuple[str, ...]]] = [
        COLOUR_WORDS, GENDER, AGE, BUILD, HEIGHT, SKIN, HAIR, HAIR_COLOUR, GLASSES, UPPER, PATTERN, LOWER,
        SHOES, BAG, HAT, EXTRA, ACTION,
    ]  # fmt: skip
    texts = [text for table in tables for values in table.values() for text in values]
    texts += [*BEARD, *LOGO, *INNER, *GLUE, *PRONOUN.values()]
    texts += [phrase for style in STYLES for phrase, _ in style.values()]
    return tuple(sorted({word for text in texts for word in re.findall(r"[a-z]+|[,.]", text)}))
