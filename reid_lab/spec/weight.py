"""The weight of a loss, as architectures declare it."""

from __future__ import annotations

from typing import Annotated, Protocol, TypeVar

from pydantic import Field

from reid_lab.spec.schedule import ScheduleSpec

Weight = Annotated[float, Field(ge=0)] | ScheduleSpec | None
"""The weight of a loss: null or 0 removes the loss, and with it every module that serves it alone."""


class Weighted(Protocol):
    """The section of a loss."""

    @property
    def weight(self) -> Weight:
        """Its weight."""


W = TypeVar("W", bound=Weighted)


def on(weight: Weight) -> bool:
    """Whether a loss is there at all."""
    return weight is not None and weight != 0


def active(slot: W | None) -> W | None:
    """The section of a loss; None where its weight is off."""
    return slot if slot is not None and on(slot.weight) else None
