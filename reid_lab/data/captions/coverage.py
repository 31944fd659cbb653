"""All captions of a data set split, and how much of them the splitter covers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from reid_lab.data.captions.lexicon import known
from reid_lab.data.captions.sidefile import PartsRow
from reid_lab.data.captions.splitter import TOKEN, split_caption

SHOWN_WORDS = 20


@dataclass(frozen=True)
class Coverage:
    """What the splitter made of a data set's captions. `unknown` are words of no lexicon, the most frequent first."""

    captions: int
    identity: int
    clothes: int
    both: int
    neither: int
    words: int
    unknown_words: int  # occurrences, not different words
    unknown: tuple[tuple[str, int], ...]

    def rows(self, shown: int = SHOWN_WORDS) -> list[tuple[str, int, str]]:
        """What is counted, the number, and its share, as rows of a table; then the `shown` first unknown words."""
        counts = (
            ("captions", self.captions, self.captions),
            ("with an identity part", self.identity, self.captions),
            ("with a clothes part", self.clothes, self.captions),
            ("with both", self.both, self.captions),
            ("with neither", self.neither, self.captions),
            ("words", self.words, self.words),
            ("words of no lexicon", self.unknown_words, self.words),
            *((f"  {word}", count, self.words) for word, count in self.unknown[:shown]),
        )
        return [(what, count, f"{100 * count / of:.2f}%" if of else "-") for what, count, of in counts]


def split_all(captions: Iterable[tuple[str, int, str]]) -> tuple[list[PartsRow], Coverage]:
    """Splits (file_path, caption index, caption) triples.

    Returns:
        One row a caption, in the order given, also where both parts are missing; and the coverage.
    """
    rows = []
    tokens: Counter[str] = Counter()
    for path, index, text in captions:
        parts = split_caption(text)
        rows.append(PartsRow(path, index, parts.identity, parts.clothes))
        tokens.update(TOKEN.findall(text))
    words: Counter[str] = Counter()
    for token, count in tokens.items():
        if token[0].isalpha():
            words[token.lower()] += count
    unknown = {word: count for word, count in words.items() if not known(word)}
    identity = sum(row.id_caption is not None for row in rows)
    clothes = sum(row.cloth_caption is not None for row in rows)
    both = sum(row.id_caption is not None and row.cloth_caption is not None for row in rows)
    coverage = Coverage(
        captions=len(rows),
        identity=identity,
        clothes=clothes,
        both=both,
        neither=len(rows) - identity - clothes + both,
        words=words.total(),
        unknown_words=sum(unknown.values()),
        unknown=tuple(sorted(unknown.items(), key=lambda item: (-item[1], item[0]))),
    )
    return rows, coverage
