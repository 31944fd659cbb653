"""What differs between a run as it was recorded and what a replay finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

from reid_lab.tracking.records import encode, packed

Kind = Literal["code", "dependency", "data", "spec", "seed", "weights", "version", "machine", "record"]
ABSENT = object()
LONGEST = 120


@final
@dataclass(frozen=True)
class Difference:
    """One input that is not as recorded: its kind, which one, and what was and is.

    recorded and now are `ABSENT` where a sentence tells all. fatal: nothing can be computed.
    """

    kind: Kind
    name: str
    recorded: Any = ABSENT
    now: Any = ABSENT
    fatal: bool = False

    def __str__(self) -> str:
        if self.recorded is ABSENT:
            return f"{self.kind}: {self.name}"
        return f"{self.kind}: {self.name}: recorded {shown(self.recorded)}, now {shown(self.now)}"


@final
@dataclass
class Findings:
    """What was found: differences, and what cannot differ the result or cannot be known."""

    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def compare(self, kind: Kind, name: str, recorded: Any, now: Any) -> None:
        """Adds a difference where two values are not the same plain data."""
        if encode(packed(recorded)) != encode(packed(now)):
            self.differences.append(Difference(kind, name, recorded, now))

    def compare_all(self, kind: Kind, recorded: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> None:
        """The same for every name of either side; a name that one side lacks differs, too."""
        for name in dict.fromkeys((*recorded, *now)):
            self.compare(kind, f"{prefix}{name}", recorded.get(name, "nothing"), now.get(name, "nothing"))


def shown(value: Any) -> str:
    """A value as text of bounded length; digests are cut."""
    text = value if isinstance(value, str) else encode(packed(value))
    if len(text) == 64 and all(sign in "0123456789abcdef" for sign in text):
        return f"{text[:12]}…"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def few(names: Sequence[str], most: int = 8) -> str:
    """Names in one line, the first of many."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
