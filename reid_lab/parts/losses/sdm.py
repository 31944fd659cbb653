"""Similarity distribution matching: Jiang and Ye, CVPR 2023 (IRRA), section 3.3; `compute_sdm` of its code."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import divergence, over_rows, product, same, unit

Axis = Literal["rows", "columns"]


def sdm(image: Tensor, text: Tensor, pids: Tensor, scale: Tensor, *, epsilon: float = 1e-8) -> Sum:
    """KL(prediction ‖ label) from image to text plus from text to image (equations 1 to 3).

    image, text: (n, D), row i of one belongs to row i of the other; pids: (n,); scale: 1/temperature.
    The label of a row is uniform over the rows of the same identity.
    """
    return _both_ways(image, text, _normalised(same(pids), "rows"), scale, epsilon)


def soft_sdm(
    image: Tensor,
    text: Tensor,
    pids: Tensor,
    image_ids: Tensor,
    scale: Tensor,
    *,
    value: float = 0.3,
    normalise: Axis = "columns",
    epsilon: float = 1e-8,
) -> Sum:
    """SDM whose label is 1 for the same image and `value` for another image of the same identity.

    image_ids: (n,). IRRA's code has this form, never uses it, and divides each column by that
    column's sum (`columns`), so that rows are no distributions; `rows` divides each row by its own.
    """
    own = same(image_ids)
    labels = (same(pids) - own) * value + own
    return _both_ways(image, text, _normalised(labels, normalise), scale, epsilon)


def _normalised(labels: Tensor, axis: Axis) -> Tensor:
    return labels / labels.sum(dim=1, keepdim=axis == "rows")


def _both_ways(image: Tensor, text: Tensor, labels: Tensor, scale: Tensor, epsilon: float) -> Sum:
    similarity = scale * product(unit(image), unit(text))
    total = divergence(similarity, labels, epsilon) + divergence(similarity.T, labels, epsilon)
    return over_rows(total, len(image))
