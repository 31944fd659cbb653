"""Protocols: which items query which gallery, what is removed from it, and what happens without a match.

A protocol cuts a split into one retrieval task or several (omni: one for every kind of query), and sums
their metrics up. What it removes from a query's ranking always shares the query's identity, so that the
metrics look for it among the correct items only.
"""

from __future__ import annotations

from reid_lab.data.protocols.base import Dropped, Options, Protocol, Retrieval, Shots, mean_of
from reid_lab.data.protocols.images import ClothesChanging, ImageToImage, Multispectral
from reid_lab.data.protocols.modalities import CrossModal, Omni
from reid_lab.data.protocols.rules import NOTHING, RULES, Rule
from reid_lab.data.protocols.sources import BySource
from reid_lab.data.protocols.texts import ImageToText, TextToImage

__all__ = [
    "NOTHING",
    "PROTOCOLS",
    "RULES",
    "Dropped",
    "Options",
    "Protocol",
    "Retrieval",
    "Rule",
    "Shots",
    "mean_of",
]

PROTOCOLS: dict[str, Protocol] = {
    "text_to_image": BySource(TextToImage()),
    "image_to_text": BySource(ImageToText()),
    "image_to_image": BySource(ImageToImage()),
    "cross_modal": BySource(CrossModal()),
    "omni": BySource(Omni()),
    "multispectral": BySource(Multispectral()),
    "clothes_changing": BySource(ClothesChanging()),
}
"""What `eval.protocol` may name."""
