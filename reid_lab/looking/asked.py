"""From what is asked of a figure, as text, to what is drawn."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from reid_lab.errors import UserError
from reid_lab.looking import heat, maps, sheets
from reid_lab.looking import similarity as similarities
from reid_lab.looking.opened import Opened, opened
from reid_lab.report.figures.kind import Asked, Lacking
from reid_lab.report.figures.style import Drawn

MOST = 6  # runs in one figure


def embedding_map(asked: Asked) -> Drawn:
    """`maps.embedding_map` of every run."""
    people = _people(asked)
    return maps.embedding_map(
        _several(asked, "map"),
        task=asked.options.get("task"),
        identities=asked.number("identities", maps.IDENTITIES) if people is None else people,
        perplexity=_float(asked, "perplexity", maps.PERPLEXITY),
        seed=_whole(asked, "seed", 0),
    )


def similarity(asked: Asked) -> Drawn:
    """`similarity.histograms` of every run."""
    bins = asked.number("bins", similarities.BINS)
    return similarities.histograms(_several(asked, "similarity"), task=asked.options.get("task"), bins=bins)


def attention(asked: Asked) -> Drawn:
    """`heat.attention` of the one run."""
    return heat.attention(
        _one(asked, "attention"),
        role=asked.options.get("role"),
        images=asked.number("images", heat.IMAGES),
        identities=_people(asked),
        seed=_whole(asked, "seed", 0),
    )


def words(asked: Asked) -> Drawn:
    """`heat.patch_words` of the one run."""
    return heat.patch_words(
        _one(asked, "words"),
        role=asked.options.get("role"),
        captions=asked.number("captions", heat.CAPTIONS),
        identities=_people(asked),
        seed=_whole(asked, "seed", 0),
    )


def sheet(asked: Asked) -> Drawn:
    """`sheets.lists` of the one run."""
    return sheets.lists(
        _one(asked, "sheet"),
        task=asked.options.get("task"),
        each=asked.number("each", sheets.EACH),
        top=asked.number("top", sheets.TOP),
        seed=_whole(asked, "seed", 0),
    )


def _several(asked: Asked, kind: str) -> list[Opened]:
    runs = asked.members
    if len(runs) > MOST:
        raise Lacking(f"{kind} shows {MOST} runs at most; the selection gives {len(runs)} (seed=0 narrows it)")
    part, device = asked.options.get("part", "val"), asked.options.get("device")
    return [opened(run.folder, part, device=device, say=_say) for run in runs]


def _one(asked: Asked, kind: str) -> Opened:
    runs = asked.members
    if len(runs) != 1:
        listed = ", ".join(run.run_id for run in runs[:MOST]) + (", …" if len(runs) > MOST else "")
        raise Lacking(f"{kind} shows one run; the selection gives {len(runs)}: {listed}")
    part, device = asked.options.get("part", "val"), asked.options.get("device")
    return opened(runs[0].folder, part, device=device, say=_say)


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201


def _people(asked: Asked) -> Sequence[int] | None:
    text = asked.options.get("people")
    if text is None:
        return None
    named = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in named):
        raise UserError(f"--with people={text}: numbers of identities, with commas, are needed")
    return [int(word) for word in named]


def _whole(asked: Asked, option: str, default: int) -> int:
    text = asked.options.get(option, str(default))
    if not text.isdecimal():
        raise UserError(f"--with {option}={text}: a whole number from 0 is needed")
    return int(text)


def _float(asked: Asked, option: str, default: float) -> float:
    text = asked.options.get(option, str(default))
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--with {option}={text}: a number is needed") from None
