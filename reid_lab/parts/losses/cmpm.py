"""Cross-modal projection matching: Zhang and Lu, ECCV 2018, section 3.2; `compute_cmpm` of IRRA's code."""

from __future__ import annotations

from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import divergence, over_rows, product, same, unit


def cmpm(image: Tensor, text: Tensor, pids: Tensor, *, epsilon: float = 1e-8) -> Sum:
    """KL(prediction ‖ label) both ways over the projections of one modality onto the other's directions.

    image, text: (n, D), row i of one belongs to row i of the other; pids: (n,). As in the authors'
    code, the label of a row is divided by its Euclidean norm, not by its sum.
    """
    matches = same(pids)
    labels = matches / matches.norm(dim=1, keepdim=True)
    to_text = divergence(product(image, unit(text)), labels, epsilon)
    to_image = divergence(product(text, unit(image)), labels, epsilon)
    return over_rows(to_text + to_image, len(image))
