"""What a written table was made from, kept in the file itself: a comment in LaTeX, Markdown, HTML and CSV.

    <begin>            first line; none in CSV and plain text, where a table begins the file
    the table
    <manifest>         JSON: command, code, runs with their identities and metrics, every cell in full precision
    <end>

A file may hold several tables in a text of its own, but for CSV and plain text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

VERSION = 1
_BEGIN, _MANIFEST, _END = "reid-lab table", "reid-lab manifest", "reid-lab end"
_MARKS: Mapping[str, tuple[str, str, str, str]] = {
    "latex": (f"% {_BEGIN}", f"% {_MANIFEST}", "% ", f"% {_END}"),
    "markdown": (f"<!-- {_BEGIN} -->", f"<!-- {_MANIFEST}", "", f"{_END} -->"),
    "html": (f"<!-- {_BEGIN} -->", f"<!-- {_MANIFEST}", "", f"{_END} -->"),
    "csv": ("", f"# {_MANIFEST}", "# ", f"# {_END}"),
    "table": ("", f"# {_MANIFEST}", "# ", f"# {_END}"),
}
"""Of each format: the first line, the line before the manifest, what its lines begin with, the last line."""


@final
@dataclass(frozen=True)
class Block:
    """A table as it stands in a file: its lines, its manifest's text, and the number of its first line."""

    body: tuple[str, ...]
    manifest: str
    line: int


def sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with the digest by which a change of them is found."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return {**facts, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def intact(text: str, facts: Mapping[str, Any]) -> bool:
    """Whether a manifest's text is what was written: its facts as they were sealed, and no digit of them otherwise.

    The last digit of a float may change without changing the float, hence the text.
    """
    return text == _text(facts) and sealed({k: v for k, v in facts.items() if k != "sha256"}) == dict(facts)


def _text(facts: Mapping[str, Any]) -> str:
    # A comment of HTML must not hold two hyphens.
    return json.dumps(facts, indent=1, ensure_ascii=False).replace("--", "-\\u002d")


def framed(body: str, facts: Mapping[str, Any], form: str) -> str:
    """A table with its manifest."""
    begin, before, prefix, end = _MARKS[form]
    lines = [*([begin] if begin else ()), *body.splitlines()]
    return "\n".join([*lines, before, *(prefix + line for line in _text(sealed(facts)).splitlines()), end]) + "\n"


def blocks(text: str) -> Iterator[Block]:
    """The tables of a file that carry a manifest."""
    start, manifest, body = 0, list[str](), list[str]()
    inside = False
    for number, line in enumerate(text.splitlines()):
        told = line.strip().removeprefix("<!--").removesuffix("-->").strip("%# ")
        if told == _BEGIN:
            start, body = number + 1, []
        elif told == _MANIFEST:
            inside, manifest = True, []
        elif told == _END and inside:
            inside = False
            yield Block(tuple(body), "\n".join(manifest), start + 1)
            start, body = number + 1, []
        elif inside:
            manifest.append(line.removeprefix("% ").removeprefix("# "))
        else:
            body.append(line)
