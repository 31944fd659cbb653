"""Gradient reversal: the identity forwards, times -alpha backwards.

Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 2016, section 4.2 (DANN).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from reid_lab.schedules import Schedule, Segment, Span, chain
from reid_lab.spec.section import Choice, Section, Tune


class AlphaSpec(Section):
    """How strongly a gradient is reversed, over the training.

    The defaults are T2IReID's: alpha = min(1, .1 + .02 · epoch), held for an epoch. `sigmoid` with `start` 0 is
    DANN's ramp, 2 / (1 + exp(-10 p)) - 1 with p the share of the ramp; `constant` is `maximum` throughout.
    """

    shape: Annotated[Literal["linear", "sigmoid", "constant"], Choice("constant", "linear", "sigmoid")] = "linear"
    start: Annotated[float, Field(ge=0), Tune(0.0, 0.1)] = 0.1
    maximum: Annotated[float, Field(gt=0), Tune(0.1, 2.0, log=True)] = 1.0
    ramp: Annotated[float, Field(gt=0), Tune(10.0, 60.0)] = 45.0  # epochs from start to maximum
    every: Literal["epoch", "step"] = "epoch"

    @model_validator(mode="after")
    def _rising(self) -> AlphaSpec:
        if self.shape != "constant" and self.start > self.maximum:
            raise ValueError(f"start ({self.start:g}) is above maximum ({self.maximum:g})")
        return self

    def build(self) -> Schedule:
        """The pure function of progress."""
        begin, shape = (self.maximum, "linear") if self.shape == "constant" else (self.start, self.shape)
        return chain([Segment(begin, self.maximum, Span(self.ramp, "epochs"), shape)], self.every)


class _Reverse(torch.autograd.Function):
    """x, whose gradient is multiplied by -alpha."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.alpha * gradients[0], None


def reverse(x: Tensor, alpha: float) -> Tensor:
    """`x` as it is; what comes back is turned round: -alpha times the gradient."""
    return _Reverse.apply(x, alpha)  # type: ignore[no-any-return, no-untyped-call]


@final
class Reversal(nn.Module):
    """Turns gradients round."""

    def forward(self, x: Tensor, alpha: float) -> Tensor:
        """As `reverse`."""
        return reverse(x, alpha)


@final
class NoReversal(nn.Module):
    """The empty slot: gradients pass."""

    def forward(self, x: Tensor, alpha: float) -> Tensor:
        """`x` itself."""
        return x


@final
class Detached(nn.Module):
    """No gradient passes: what reads behind it is a probe."""

    def forward(self, x: Tensor, alpha: float) -> Tensor:
        """`x` without its graph."""
        return x.detach()
