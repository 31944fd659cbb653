"""What the splitter has read of a caption, and how its two sides are said again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_GAP = re.compile(r" (?=[,:/&+)'’])|(?<=[/(]) ")
IDENTITY, CLOTHES, REST = "identity", "clothes", "rest"


@dataclass(slots=True)
class Piece:
    """Tokens `first` to `end` of one side. A tail begins with its own preposition and hangs on what stands before."""

    side: str
    verb: str
    first: int
    end: int
    link: str = ""
    tail: bool = False


@dataclass(slots=True)
class Reading:
    """Where the pass stands: the clause's verb, how the next phrase is linked, and to what it may be attached."""

    tokens: list[str]
    classes: str
    pieces: list[Piece] = field(default_factory=list)
    subject: tuple[int, int] | None = None
    told: bool = False  # the subject tells more than that there is a person
    said: set[str] = field(default_factory=set)  # adjectives of the subject, lower case
    pronoun: str = ""  # the first that tells the gender
    verb: str = ""  # W, C, H, B, V or empty
    wording: str = ""  # the verb as the parts say it
    link: str = ""  # w, i, o, T, &, "," or empty
    joint: int = 0  # where the preposition stands
    before: Piece | None = None  # a phrase that a preposition attaches to
    other: bool = False  # what follows is said of somebody else
    behind_subject: bool = False

    def add(self, side: str, verb: str, first: int, end: int, link: str = "", tail: bool = False) -> Piece:
        """A new piece behind the others; no token is in two."""
        first = max(first, self.pieces[-1].end) if self.pieces else first
        piece = Piece(side, verb, first, end, link, tail)
        self.pieces.append(piece)
        return piece


def _words(r: Reading, first: int, end: int) -> str:
    """The source's words, without possessives."""
    kept = [token for token, letter in zip(r.tokens[first:end], r.classes[first:end], strict=True) if letter != "h"]
    return _GAP.sub("", " ".join(kept))


def _told(r: Reading, head: str, pieces: list[Piece]) -> str:
    """The head and its pieces, joined: a new verb is said once, a tail stays with what it hangs on."""
    out, verb, last = [head], "", -1
    for piece in pieces:
        first = piece.first + (piece.verb == "whose" and r.classes[piece.first] == "d")
        words = _words(r, first, piece.end)
        if piece.tail:
            out.append(f" {words}" if piece.first == last or not verb else f", {words}")
            verb = verb or piece.verb
        elif piece.verb == verb:
            out.append(f", {words}" if piece.link == "," else f" and {words}")
        else:
            said = "" if piece.verb == "is" else f" {piece.verb}"
            out.append(f"{',' if verb not in ('', 'is', 'of') or not said else ''}{said} {words}")
            verb = piece.verb
        last = piece.end
    return "".join(out)


def identity_part(r: Reading) -> str | None:
    """What is said of the body, or None."""
    pieces = [p for p in r.pieces if p.side == IDENTITY]
    if not (pieces or r.told or r.pronoun):
        return None
    if r.subject and (r.told or not r.pronoun):
        return _told(r, _words(r, *r.subject), pieces)
    return _told(r, {"he": "a man", "she": "a woman"}.get(r.pronoun, "a person"), pieces)


def clothes_part(r: Reading) -> str | None:
    """What is said of the clothes, or None."""
    pieces = [p for p in r.pieces if p.side == CLOTHES]
    return _told(r, "a person", pieces) if pieces else None


def rest_part(r: Reading) -> str | None:
    """What is said of neither, or None."""
    pieces = [p for p in r.pieces if p.side == REST]
    out, last = "", -1
    for piece in pieces:
        words = _words(r, piece.first, piece.end)
        out += (" " if piece.first == last else ", ") * bool(out) + words if words else ""
        last = piece.end
    return out or None
