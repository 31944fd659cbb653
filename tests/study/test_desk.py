"""The desk: every question is answered, also one that is asked again, and nobody waits for a driver that has left."""

from __future__ import annotations

import asyncio

from reid_lab.study.desk import Desk


def in_loop(work):
    return asyncio.run(asyncio.wait_for(work, 5))


def test_questions_wait_and_are_answered_in_any_order():
    async def work():
        desk = Desk()
        waiting = asyncio.create_task(desk.questions())
        await asyncio.sleep(0)
        assert not waiting.done()
        one = asyncio.create_task(desk.ask("a: trial 0", 1, {"mAP": 3.0}))
        two = asyncio.create_task(desk.ask("a: trial 1", 1, {}))
        await asyncio.sleep(0)
        assert await waiting == [("a: trial 0", 1, {"mAP": 3.0}), ("a: trial 1", 1, {})]
        await desk.answer("a: trial 1", 1, True)
        assert await two is True
        assert not one.done()
        await desk.answer("a: trial 0", 1, False)
        assert await one is False

    in_loop(work())


def test_what_a_lost_worker_asked_is_asked_again():
    async def work():
        desk = Desk()
        lost = asyncio.create_task(desk.ask("a", 2, {}))
        await asyncio.sleep(0)
        lost.cancel()
        again = asyncio.create_task(desk.ask("a", 2, {}))
        await asyncio.sleep(0)
        assert len(await desk.questions()) == 2
        await desk.answer("a", 2, True)
        await desk.answer("a", 2, True)  # of the lost one: nobody waits
        assert await again is True

    in_loop(work())


def test_who_asks_a_driver_that_leaves_is_told_so():
    async def work():
        desk = Desk()
        asked = asyncio.create_task(desk.ask("a", 1, {}))
        await asyncio.sleep(0)
        await desk.close()
        assert await asked is None
        assert await desk.ask("a", 2, {}) is None
        assert await desk.questions() == [("a", 1, {})]  # whoever waits for questions waits no longer

    in_loop(work())
