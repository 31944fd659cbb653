"""Protocols: which items query which gallery, what is removed from it, and what happens without a match."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from reid_lab.data.items import Groups, Items, singles
from reid_lab.metrics.retrieval import NoMatch


@dataclass(frozen=True)
class Retrieval:
    """One retrieval task: every query group ranks all gallery groups.

    removed: what is taken out of a query's ranking, in words. no_match: a query without a correct
    gallery item is skipped, counted as a miss (`zero`), or an error.
    """

    name: str
    queries: Groups
    gallery: Groups
    removed: str
    no_match: NoMatch


class Protocol(ABC):
    """Cuts a split into queries and gallery."""

    doc: str

    @abstractmethod
    def task(self, items: Items, split: str) -> Retrieval:
        """The retrieval task of a split; raises `DataError` when the split cannot serve it."""


@final
class TextToImage(Protocol):
    """Text-to-image retrieval as IRRA and its peers measure it."""

    doc = "every caption by itself is a query, every rgb image is in the gallery; nothing is removed"

    def task(self, items: Items, split: str) -> Retrieval:
        """The captions and the images of the split; a caption without a match counts as a miss."""
        queries, gallery = singles(items, split, "caption"), singles(items, split, "rgb")
        return Retrieval("text_to_image", queries, gallery, removed="nothing", no_match="zero")


PROTOCOLS: dict[str, Protocol] = {"text_to_image": TextToImage()}
