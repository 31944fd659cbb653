"""Protocols between captions and images."""

from __future__ import annotations

from typing import final

from reid_lab.contracts import IMAGE_ROLES, TEXT_ROLES
from reid_lab.data.items import Dataset, Groups, joint
from reid_lab.data.protocols.asked import finished, finished_given, refuse, roles, roles_of
from reid_lab.data.protocols.base import Options, Protocol, Retrieval
from reid_lab.data.protocols.rules import NOTHING


@final
class TextToImage(Protocol):
    """Text-to-image retrieval as IRRA (Jiang & Ye, CVPR 2023) and its peers measure it.

    The authors' sides are those of image queries, and mean nothing here: val is cut as test is. With
    `eval.queries: [id_caption, cloth_caption]` the parts of one caption ask together.
    """

    doc = "every caption by itself is a query, every rgb image is in the gallery; nothing is removed"

    def tasks(self, dataset: Dataset, split: str, options: Options) -> tuple[Retrieval, ...]:
        """The captions and the images of the split; a caption without a match counts as a miss."""
        asking = roles("eval.queries", options.queries, ("caption",), roles_of(dataset, split, TEXT_ROLES))
        answering = _one_image_role(dataset, split, options)
        queries, gallery = joint(dataset.items, split, asking), joint(dataset.items, split, answering)
        return (finished(Retrieval("text_to_image", queries, gallery, NOTHING, "zero"), options),)

    def given(self, queries: Groups, gallery: Groups, options: Options) -> tuple[Retrieval, ...]:
        """As `tasks`."""
        return (finished_given(Retrieval("text_to_image", queries, gallery, NOTHING, "zero"), options),)


@final
class ImageToText(Protocol):
    """Image-to-text retrieval, the reverse of text-to-image; val is cut as test is."""

    doc = "every rgb image is a query, every caption is in the gallery, any of the identity is correct; none is removed"

    def tasks(self, dataset: Dataset, split: str, options: Options) -> tuple[Retrieval, ...]:
        """The images and the captions of the split; an image without a match counts as a miss."""
        asking = roles("eval.queries", options.queries, ("rgb",), roles_of(dataset, split, IMAGE_ROLES))
        wanted = None if options.gallery is None else (options.gallery,)
        answering = roles("eval.gallery_role", wanted, ("caption",), roles_of(dataset, split, TEXT_ROLES))
        queries, gallery = joint(dataset.items, split, asking), joint(dataset.items, split, answering)
        return (finished(Retrieval("image_to_text", queries, gallery, NOTHING, "zero"), options),)

    def given(self, queries: Groups, gallery: Groups, options: Options) -> tuple[Retrieval, ...]:
        """As `tasks`."""
        refuse("image_to_text", options, "its gallery is one of captions", "shots")
        return (finished_given(Retrieval("image_to_text", queries, gallery, NOTHING, "zero"), options),)


def _one_image_role(dataset: Dataset, split: str, options: Options) -> tuple[str, ...]:
    wanted = None if options.gallery is None else (options.gallery,)
    return roles("eval.gallery_role", wanted, ("rgb",), roles_of(dataset, split, IMAGE_ROLES))
