"""A recorder and a reporter that do nothing: for the ranks that do not write, and when nobody watches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from reid_lab.engine.plan import FitResult


@final
class Mute:
    """The recorder of all ranks but the first."""

    def record(self, kind: str, name: str, step: int, value: Any) -> None:
        """Does nothing."""

    def flush(self) -> None:
        """Does nothing."""


@final
class Silent:
    """The reporter when nobody watches."""

    def start(self, done: int, total: int) -> None:
        """Does nothing."""

    def stage(self, name: str, step: int, trainable: int) -> None:
        """Does nothing."""

    def step(self, step: int, losses: Mapping[str, float], samples_per_second: float) -> None:
        """Does nothing."""

    def evaluation(self, step: int, metrics: Mapping[str, float], best: bool) -> None:
        """Does nothing."""

    def checkpoint(self, step: int, path: Path) -> None:
        """Does nothing."""

    def finish(self, result: FitResult) -> None:
        """Does nothing."""
