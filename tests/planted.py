"""An architecture that does something at a chosen moment: what a plug-in could do by mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from reid_lab.architectures import Entry, irra

RESULT_VERSION = 1
ENTRY = Entry("Planted", "none", "none", "tests.planted", "Planted", "none")

when: str = ""
act: Callable[[], object] = str


def _moment(name: str) -> None:
    if name == when:
        act()


class Spec(irra.Spec):
    name: Literal["planted"] = "planted"


class Planted(irra.Irra):
    """IRRA, which does `act` at the moment `when`."""

    def __init__(self, spec, facts, seed):
        _moment("build")
        super().__init__(spec, facts, seed)

    def encode(self, batch):
        _moment("encode")
        return super().encode(batch)

    def values(self, encoded, progress):
        _moment("values")
        return super().values(encoded, progress)

    def embed(self, batch):
        _moment("embed")
        return super().embed(batch)
