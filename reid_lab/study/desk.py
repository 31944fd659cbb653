"""Where workers in other processes ask the driver whether to go on, and wait for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import final

Question = tuple[str, int, Mapping[str, float]]
"""The name of a job, the ordinal of its evaluation (0: it begins), and the metrics."""


@final
class Desk:
    """Questions on one side, answers on the other; all methods run in one event loop.

    Nothing is kept but what waits: on a desk that was lost, the questions are asked anew.
    """

    def __init__(self) -> None:
        self._asked: list[Question] = []
        self._answers: dict[tuple[str, int], asyncio.Future[bool | None]] = {}
        self._something = asyncio.Event()
        self._closed = False

    async def ask(self, name: str, ordinal: int, metrics: Mapping[str, float]) -> bool | None:
        """Whether the job is to end; None when the driver leaves. May be asked again by the next worker."""
        if self._closed:
            return None
        answer: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._answers[name, ordinal] = answer
        self._asked.append((name, ordinal, metrics))
        self._something.set()
        return await answer

    async def questions(self) -> list[Question]:
        """What was asked since the last call; waits until something is."""
        await self._something.wait()
        self._something.clear()
        asked, self._asked = self._asked, []
        return asked

    async def answer(self, name: str, ordinal: int, end: bool) -> None:
        """Answers a question."""
        waiting = self._answers.pop((name, ordinal), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(end)

    async def close(self) -> None:
        """The driver leaves: whoever asks, now or later, is told so."""
        self._closed = True
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_result(None)
        self._answers.clear()
        self._something.set()
