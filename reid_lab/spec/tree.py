"""YAML text to a tree whose every key and value knows where it was written.

The text is read by PyYAML's C parser; what plain words mean is YAML 1.2's core schema, not PyYAML's
1.1 (`1e-3` is a number; `no`, `on` and `2:30` are text; `0o17` is octal; `<<` is a key like any other).
Refused: duplicate keys, keys that are not text, foreign tags, several documents, more than `MAX_BYTES`
of text, more than `MAX_NODES` values once aliases are followed, and more than `MAX_DEPTH` levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reid_lab.errors import Fault
from reid_lab.spec.words import resolve

MAX_BYTES = 1 << 20
MAX_NODES = 20_000
MAX_DEPTH = 40


@dataclass(frozen=True)
class Mark:
    """A place in a file (lines and columns count from 1), or in an override (`line` 0)."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else f"{self.source}:{self.column}"


@dataclass(frozen=True)
class Scalar:
    """A single value: None, bool, int, float or str."""

    value: bool | int | float | str | None
    mark: Mark


@dataclass(frozen=True)
class Array:
    """A sequence."""

    items: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True)
class Entry:
    """The value of a key, and where the key stands."""

    key: Mark
    node: Node


@dataclass(frozen=True)
class Table:
    """A mapping with text keys."""

    entries: dict[str, Entry]
    mark: Mark


Node = Scalar | Array | Table


def plain(node: Node) -> Any:
    """The tree as plain data; sequences become tuples."""
    if isinstance(node, Table):
        return {key: plain(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, Array):
        return tuple(plain(item) for item in node.items)
    return node.value


class Unreadable(Exception):
    """The text is no YAML; nothing more can be said about it than the one fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def read(path: Path, source: str) -> str:
    """The text of a file; `source` is its name in faults.

    Raises:
        Unreadable: missing, no regular file, too large, or not UTF-8.
    """
    try:
        if not path.exists():
            raise Unreadable(Fault("no such file", source))
        if not path.is_file():
            raise Unreadable(Fault("not a file", source))
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Unreadable(Fault(f"cannot be read: {(error.strerror or str(error)).lower()}", source)) from None
    if len(data) > MAX_BYTES:
        raise Unreadable(Fault(f"larger than {MAX_BYTES // 1024} KiB; a spec is a few kilobytes of text", source))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise Unreadable(Fault("not UTF-8 text", f"{source}:{line}:{column}")) from None


_UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE


def parse(text: str, source: str, *, shift: int | None = None) -> tuple[Node, list[Fault]]:
    """The tree of a YAML text, and the faults that leave a tree (duplicate keys, odd keys, tags).

    Args:
        text: the YAML text.
        source: the file's name, or the override's text.
        shift: for an override, how many characters of `source` stand before `text`.

    Raises:
        Unreadable: no YAML, several documents, or a bound is exceeded.
    """
    bad = _UNPRINTABLE.search(text)
    composer = _Composer(source, shift)
    if bad:
        line = text.count("\n", 0, bad.start())
        mark = composer.at(line, bad.start() - (text.rfind("\n", 0, bad.start()) + 1))
        raise Unreadable(Fault(f"the character {bad.group()!r} is not allowed in YAML", str(mark)))
    try:
        return composer.compose(text), composer.faults
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        mark = composer.at(place.line, place.column) if place else Mark(source, 1, 1)
        raise Unreadable(Fault(f"bad YAML: {_explain(error, text)}", str(mark))) from None


def _explain(error: yaml.MarkedYAMLError, text: str) -> str:
    place, problem = error.problem_mark, str(error.problem)
    lines = text.splitlines()
    here = lines[place.line] if place and place.line < len(lines) else ""
    if "cannot start any token" in problem and place:
        character = here[place.column : place.column + 1]
        if character == "\t":
            return "a tab; indent with spaces"
        return f"a value cannot start with '{character}'; put it in quotes"
    if "mapping values are not allowed" in problem:
        return "a ':' is not expected here; is the indentation wrong, or does a text need quotes?"
    if "expected key" in problem:
        return "a key is expected here; is the indentation wrong?"
    start = error.context_mark
    begun = f", begun at line {start.line + 1}" if start and place and start.line < place.line else ""
    if "unexpected end of stream" in problem:
        return f"the text ends inside quotes{begun}"
    context = f" ({error.context}{begun})" if error.context else ""
    return f"{problem}{context}"


_TAG = "tag:yaml.org,2002:"


class _Composer:
    """Builds the tree from the parser's events, so that the bounds hold before memory is spent."""

    def __init__(self, source: str, shift: int | None) -> None:
        self.source = source
        self.shift = shift
        self.faults: list[Fault] = []
        self._anchors: dict[str, Node | None] = {}  # None while the anchored value is being read
        self._sizes: dict[int, int] = {}  # id of an anchored node -> values it holds, aliases followed
        self._count = 0

    def at(self, line: int, column: int) -> Mark:
        if self.shift is None:
            return Mark(self.source, line + 1, column + 1)
        return Mark(self.source, 0, self.shift + column + 1)

    def compose(self, text: str) -> Node:
        parser = yaml.CSafeLoader(text)
        try:
            root: Node | None = None
            while (event := parser.get_event()) is not None:
                if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                    mark = self._mark(event)
                    raise Unreadable(Fault("a second document; one file is one spec", str(mark)))
                if isinstance(event, yaml.NodeEvent):
                    root = self._node(event, parser, 0)
            return root if root is not None else Scalar(None, self.at(0, 0))
        finally:
            parser.dispose()

    def _mark(self, event: Any) -> Mark:
        return self.at(event.start_mark.line, event.start_mark.column)

    def _fault(self, what: str, mark: Mark) -> None:
        self.faults.append(Fault(what, str(mark)))

    def _node(self, event: Any, parser: Any, depth: int) -> Node:
        mark = self._mark(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), mark)
        if depth > MAX_DEPTH:
            raise Unreadable(Fault(f"nested deeper than {MAX_DEPTH} levels", str(mark)))
        self._spend(1, mark)
        before = self._count
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, mark)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._tag(event.tag, "seq", mark)
            node = self._array(parser, mark, depth)
        else:
            self._tag(event.tag, "map", mark)
            node = self._table(parser, mark, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
            self._sizes[id(node)] = self._count - before + 1
        return node

    def _spend(self, count: int, mark: Mark) -> None:
        self._count += count
        if self._count > MAX_NODES:
            what = f"more than {MAX_NODES} values once its aliases are followed"
            raise Unreadable(Fault(what, str(mark)))

    def _alias(self, anchor: str, mark: Mark) -> Node:
        if anchor not in self._anchors:
            raise Unreadable(Fault(f"the alias '*{anchor}' has no anchor '&{anchor}' before it", str(mark)))
        node = self._anchors[anchor]
        if node is None:
            raise Unreadable(Fault(f"the alias '*{anchor}' stands inside its own anchor", str(mark)))
        self._spend(self._sizes[id(node)], mark)
        return node

    def _array(self, parser: Any, mark: Mark, depth: int) -> Array:
        items = []
        while not isinstance(event := parser.get_event(), yaml.SequenceEndEvent):
            items.append(self._node(event, parser, depth + 1))
        return Array(tuple(items), mark)

    def _table(self, parser: Any, mark: Mark, depth: int) -> Table:
        entries: dict[str, Entry] = {}
        while not isinstance(event := parser.get_event(), yaml.MappingEndEvent):
            key = self._node(event, parser, depth + 1)
            here = self._mark(event)
            node = self._node(parser.get_event(), parser, depth + 1)
            if not isinstance(key, Scalar) or not isinstance(key.value, str):
                shown = plain(key) if isinstance(key, Scalar) else "a collection"
                self._fault(f"a key must be text, not {'null' if shown is None else shown}", here)
            elif key.value in entries:
                first = entries[key.value].key
                self._fault(f"'{key.value}' is given twice; first at line {first.line}", here)
            else:
                entries[key.value] = Entry(here, node)
        return Table(entries, mark)

    def _scalar(self, event: Any, mark: Mark) -> Scalar:
        if event.tag is None:
            return Scalar(resolve(event.value) if event.implicit[0] else event.value, mark)
        if event.tag in ("!", f"{_TAG}str"):
            return Scalar(event.value, mark)
        value = resolve(event.value)
        kind = event.tag.removeprefix(_TAG)
        kinds = {"null": type(None), "bool": bool, "int": int, "float": float}
        if kind == "float" and type(value) is int:
            value = float(value)
        if type(value) is not kinds.get(kind):
            known = event.tag.startswith(_TAG) and kind in kinds
            self._fault(
                f"'{event.value}' is no {kind}" if known else f"the tag '{_short(event.tag)}' is not allowed", mark
            )
        return Scalar(value, mark)

    def _tag(self, tag: str | None, kind: str, mark: Mark) -> None:
        if tag not in (None, "!", f"{_TAG}{kind}"):
            self._fault(f"the tag '{_short(str(tag))}' is not allowed", mark)


def _short(tag: str) -> str:
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag
