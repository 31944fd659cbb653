"""A whole caption cut into what is said of the body, what is said of the clothes, and the rest.

Every token gets the class of its lexicon, one letter each, so that a caption becomes a short string; one
regular expression finds its noun phrases, and one pass over them decides by the head noun, the verb and
the preposition before it to which side each belongs. Words are never invented inside a phrase: a part holds
the source's words in their order; only the joints ("a person", "wearing", "with") are set anew, and
possessives are left out, since "his" in a clothes part would tell the gender.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from reid_lab.data.captions.lexicon import NEUTRAL, PARTICIPLES, class_of
from reid_lab.data.captions.reading import (
    CLOTHES,
    IDENTITY,
    REST,
    Piece,
    Reading,
    clothes_part,
    identity_part,
    rest_part,
)

TOKEN = re.compile(r"['’]s\b|[^\W_]+(?:[-'’](?!s\b)[^\W_]+)*|[.;!?]+|[,:/&+()\"]")
# A noun phrase: determiners; adjectives, also several joined by a comma or "and"; nouns, the last of which is
# its head. Possessive quantifiers keep the search linear in the length of the caption.
# "Button up shirt" and "shoulder length hair" hold a particle or a noun that describes.
_ADJECTIVE = "(?:[nmauqv]|(?<=[ma])r(?=[nmauypblgckx])|[lk](?=[nmauv]{1,3}[ypblgck]))"
_PHRASE = re.compile(
    rf"([dh]*+(?:{_ADJECTIVE}++(?:(?<=[nma])[,&]{{1,2}}(?=[nma]){_ADJECTIVE}++)*+[ypblgckx]*+|[ypblgckx]++)|[dh]++)|.",
    re.DOTALL,
)
_NOUNS = frozenset("ypblgckx")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a caption says of the body and of the clothes; None where it says nothing. `rest` belongs to neither."""

    identity: str | None
    clothes: str | None
    rest: str | None


def split_caption(text: str) -> Parts:
    """The identity part and the clothes part of a caption, e.g. "a man with short black hair" and
    "a person wearing a white shirt with black stripes and blue jeans"; never raises.

    Glasses are identity; masks, scarves, umbrellas, jewellery and all that is carried are clothes.
    """
    tokens = TOKEN.findall(text)
    classes = "".join(map(class_of, tokens))
    reading = Reading(tokens, classes)
    for match in _PHRASE.finditer(classes):
        first, end = match.span()
        if match.lastindex:
            _phrase(reading, first, end)
        else:
            _word(reading, classes[first], first)
    return Parts(identity_part(reading), clothes_part(reading), rest_part(reading))


def _word(r: Reading, letter: str, at: int) -> None:
    """A token that is no part of a noun phrase."""
    before = r.before
    if letter == "r" and r.classes[at + 1 : at + 2] in ("d", "h"):
        letter = "o"  # "down the street"
    if letter in "wio":
        if letter == "o" and r.verb == "H" and r.classes[at - 1] == "H" and r.tokens[at].lower() == "on":
            _verb(r, "W", at)  # "has on a red coat"
            return
        if not (r.link in ("w", "i", "o", "T") and r.joint == at - 1):
            r.joint = at
        else:
            at = r.joint
        r.link = letter
    elif letter in ",&":
        r.link, r.behind_subject = letter, r.behind_subject and letter == "&"
        if letter == "," or r.classes[at + 1 : at + 2] in tuple("WCHBVsh"):
            r.other = False
    elif letter == "N":
        r.add(REST, "", at, at + 1)
        r.other, r.before, r.link = True, None, ""
    elif letter == ".":
        r.verb = r.wording = r.link = ""
        r.before, r.other, r.behind_subject = None, False, False
    elif letter in "Tr":
        if before and before.end == at:
            before.end = at + 1
            joint = at + 1
        else:
            joint = at
        if letter == "T":
            r.link, r.joint = "T", joint
    elif letter == "V":
        if before and before.side == REST and before.end == at:
            before.end = at + 1
        elif not r.other:
            r.before = r.add(REST, "", at, at + 1)
        r.verb, r.link = "V", ""
    elif letter in "BHt" and before and before.end == at and _predicates(r, before, letter, at):
        before.end = at + 1
        r.link, r.verb = "", "B"
    elif letter == "s" and r.link in ("w", "i", "o"):
        r.link = ""  # "a dress with flowers on it"
    elif letter != "'" and letter != "t":
        _verb(r, letter, at)


def _verb(r: Reading, letter: str, at: int) -> None:
    """A verb, or the pronoun that opens a clause: nothing is attached over it."""
    if letter == "s":
        if not r.pronoun and r.tokens[at].lower() in ("he", "she"):
            r.pronoun = r.tokens[at].lower()
        r.other = r.other and r.tokens[at].lower() in ("who", "whom", "it")
    else:
        r.verb = letter
        r.wording = ""
        if letter == "W":
            r.wording = "wearing"
        elif letter == "C":
            r.wording = PARTICIPLES.get(r.tokens[at].lower(), "carrying")
    r.link, r.before, r.behind_subject = "", None, False


def _predicates(r: Reading, piece: Piece, letter: str, at: int) -> bool:
    """Whether a verb speaks of the thing before it ("his shirt is white"), and not of the person."""
    follows = r.classes[at + 1 : at + 2]
    if piece.tail and len(r.pieces) > 1 and r.tokens[piece.first].lower() == "of" and r.pieces[-2].end == piece.first:
        piece = r.pieces[-2]  # "the collar of his shirt is white"
    if letter == "t":
        return not piece.tail and piece.side != REST and follows in ("B", "H")
    if r.tokens[at - 1].lower() in ("that", "which"):
        return True
    opens = piece.link == "," or (piece.link in ("", "&") and (r.verb in ("", "B") or piece.link == "&"))
    if piece.tail or not opens or follows in ("W", "C", "V", "H", "") or piece.verb == "is":
        return False
    if piece.side == REST and r.classes[piece.end - 1] != "l":
        return False
    if letter == "H" and (piece.link or r.verb):
        return False
    if r.verb in ("W", "C", "H") and not piece.link:
        return False
    if piece.side == CLOTHES and follows == "a":
        return False
    piece.verb = "whose"
    return True


def _phrase(r: Reading, first: int, end: int) -> None:
    """A noun phrase, or adjectives without a noun: finds its side and what it hangs on."""
    letters = r.classes[first:end]
    head = letters[-1]
    if "," in letters or "&" in letters:
        cut = _mixed(r, letters, head)
        if cut:
            _phrase(r, first, first + cut)
            r.link = "&"
            first, letters = first + cut + 1, letters[cut + 1 :]
    if head in "dh":
        return
    if head == "p":
        _person(r, first, end)
    elif head in _NOUNS:
        _thing(r, first, end, letters, head)
    else:
        _adjectives(r, first, end, letters)
    if r.link:
        r.link = ""


def _mixed(r: Reading, letters: str, head: str) -> int:
    """Where joined adjectives fall in two, as in "tall, white shirt" and "in black, short hair"; 0: nowhere."""
    seps = [k for k, letter in enumerate(letters) if letter in ",&"]
    at = seps[-1]
    first = seps[0] if len(seps) == 1 or seps[-1] == seps[0] + 1 else at
    left = letters[:at]
    if head in "gck" and "a" in left:
        return first
    if head in "ybp" and ("m" in left or (r.verb == "W" and r.link in ("", "i")) or (r.link == "i" and "n" in left)):
        return first
    return 0


def _person(r: Reading, first: int, end: int) -> None:
    """The subject, or somebody else, of whom nothing is told."""
    telling = any(
        r.classes[k] in "nmau" or (r.classes[k] == "p" and r.tokens[k].lower() not in NEUTRAL)
        for k in range(first, end)
    )
    if r.link in ("w", "o", "i") or r.verb in ("V", "C") or (r.link == "&" and r.behind_subject) or r.other:
        r.before = r.add(REST, "", r.joint if r.link in ("w", "o", "i") else first, end)
        r.other = True
        return
    if r.subject is None or (telling and not r.told):
        r.subject, r.told = (first, end), telling
    elif telling:
        # "The young man" after "A man": only what is new.
        r.said.update(token.lower() for token in r.tokens[r.subject[0] : r.subject[1]])
        new = [k for k in range(first, end) if r.classes[k] in "na" and r.tokens[k].lower() not in r.said]
        if new:
            r.add(IDENTITY, "is", new[0], new[-1] + 1)
            r.said.update(r.tokens[k].lower() for k in new)
    r.before, r.behind_subject = None, True


def _thing(r: Reading, first: int, end: int, letters: str, head: str) -> None:
    """A phrase with a noun: its head decides."""
    before, link = r.before, r.link
    hangs = link in ("w", "i", "o", "T")
    if before and before.end == first and not link and r.classes[first - 1] in "BH":
        if before.side == REST and head in "yb":
            before.side = IDENTITY
        before.end = end  # "a jacket which has a fur collar"
        return
    if r.other:
        side = REST
    elif head in "by" and before and before.side == CLOTHES and hangs and r.tokens[r.joint].lower() == "of":
        side = before.side = IDENTITY  # "the colour of her hair"
    elif head in "gck":
        side = CLOTHES
        if hangs and link != "w" and before and before.side == REST and head == "k":
            side = REST
    elif head == "y":
        side = IDENTITY
    elif head == "b":
        over = hangs and before is not None and before.side == CLOTHES
        side = CLOTHES if over and (link == "o" or (link == "i" and letters[0] == "h")) else IDENTITY
    elif head == "l":
        side = _place(r, letters, before)
    else:
        side = REST
    if hangs and before and before.side == side and (head in "gklbx" or link != "w" or side == REST):
        r.before = r.add(side, before.verb, r.joint, end, link, tail=True)
    elif side == REST and before and before.side == REST and before.end == first:
        before.end = end
    elif link in ("o", "i") and (side == IDENTITY or (side == CLOTHES and r.tokens[r.joint].lower() == "without")):
        r.before = r.add(side, "of", r.joint, end, link, tail=True)
    else:
        r.before = r.add(side, _says(r, side, head), r.joint if side == REST and hangs else first, end, link)
    r.behind_subject = False


def _place(r: Reading, letters: str, before: Piece | None) -> str:
    """A limb is where a thing hangs, or how the body stands; with an adjective of its own it describes the body."""
    described = "a" in letters or ("n" in letters and "q" not in letters)
    if r.link in ("o", "i", "T"):
        if before:
            return before.side
        return CLOTHES if r.verb in ("W", "C") and r.pieces and r.pieces[-1].side == CLOTHES else REST
    if r.link == "w" and before and before.side == CLOTHES and "h" not in letters and not described:
        return CLOTHES
    return IDENTITY if described else REST


def _says(r: Reading, side: str, head: str) -> str:
    """The verb under which a phrase is listed."""
    if side == IDENTITY:
        return "with"
    if side == REST:
        return ""
    if head == "g":
        return r.wording if r.verb == "C" and r.link not in (",", "&") else "wearing"
    if r.verb in ("W", "C") and r.wording:
        return r.wording
    return "carrying" if head == "c" else "wearing"


def _adjectives(r: Reading, first: int, end: int, letters: str) -> None:
    """Adjectives without a noun: "in black", "is tall and slim", "over something red"."""
    before, link = r.before, r.link
    hangs = link in ("w", "i", "o", "T")
    if r.other:
        side = REST
    elif hangs and before:
        r.before = r.add(before.side, before.verb, r.joint, end, link, tail=True)
        return
    elif before and before.end == first and not link and (before.side != REST or before.verb or "a" not in letters):
        if before.verb == "whose" and before.side == REST and ("a" in letters or "n" in letters):
            before.side = IDENTITY
        before.end = end
        return
    elif r.verb == "B" and r.tokens[end - 1].lower().endswith("ing") and not hangs:
        side = REST  # "is running"; running shoes have their noun
    elif r.verb in ("W", "C") or (link == "i" and "a" not in letters and ("n" in letters or "m" in letters)):
        side = CLOTHES
    elif "a" in letters:
        side = IDENTITY
    elif "m" in letters and link != "o":
        side = CLOTHES
    elif "n" in letters and r.verb == "B" and not hangs:
        side = IDENTITY
    elif before and link in (",", "&"):
        side = before.side
    else:
        side = REST
    verb = "is" if side == IDENTITY else (r.wording or "wearing") if side == CLOTHES else ""
    r.before = r.add(side, verb, r.joint if side == REST and hangs else first, end, link)
