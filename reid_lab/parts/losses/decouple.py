"""Measures of what two features of one image have in common, to be made small.

T2IReID's is the mean |cosine| behind two projections of their own, which are random to begin with: identical
features have about .05 of it at 256 channels. The others need no projection.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reid_lab.contracts import Sum
from reid_lab.parts.losses.pairs import over_rows, unit


def cosine(first: Tensor, second: Tensor) -> Sum:
    """Mean |cos| of the rows of (n, D) and (n, D)."""
    return over_rows((unit(first) * unit(second)).sum(dim=1).abs().sum(), len(first))


def cross_covariance(first: Tensor, second: Tensor) -> Sum:
    """‖CᵀC'‖² / (n-1)², C and C' the centred rows of length 1 of (n, D) and (n, D'): the squared covariances, summed.

    It sees linear dependence only. A statistic of the whole batch: fewer than 2 rows are none.
    """
    n = len(first)
    if n < 2:
        return over_rows((first.sum() + second.sum()) * 0.0, 0)
    a, b = (x - x.mean(dim=0) for x in (unit(first), unit(second)))
    return over_rows(n * ((a.T @ b) / (n - 1)).square().sum(), n)


def hsic(first: Tensor, second: Tensor) -> Sum:
    """tr(KHLH) / (n-1)², Gretton et al., ALT 2005, equation 9: any dependence, not only a linear one.

    first, second: (n, D), (n, D'), made of length 1. K and L are Gaussian kernels, each as wide as the median of its
    squared distances (no gradient goes through it). Fewer than 2 rows are none.
    """
    n = len(first)
    if n < 2:
        return over_rows((first.sum() + second.sum()) * 0.0, 0)
    k, l_ = (_centred(_gaussian(unit(x))) for x in (first, second))
    return over_rows(n * (k * l_).sum() / (n - 1) ** 2, n)


def _gaussian(x: Tensor) -> Tensor:
    """exp(-d² / median d²) of unit rows (n, D) -> (n, n)."""
    distance = (2.0 - 2.0 * (x @ x.T)).clamp(min=0.0)
    others = distance.detach()[~torch.eye(len(x), dtype=torch.bool, device=x.device)]
    return torch.exp(-distance / others.median().clamp(min=1e-6))


def _centred(kernel: Tensor) -> Tensor:
    """HKH with H = I - 1/n."""
    return kernel - kernel.mean(dim=0, keepdim=True) - kernel.mean(dim=1, keepdim=True) + kernel.mean()


FORMS = {"as_published": cosine, "cosine": cosine, "hsic": hsic, "cross_covariance": cross_covariance}
"""As published: the cosine, of projections."""
