"""A part is asked in bounded time, once for all who want to know, and not again while the answer is fresh."""

from __future__ import annotations

import asyncio

from kodosumi.error import StoreUnavailable
from kodosumi.service.metering.lately import Lately


class Part:
    """Attributes: ``asked`` how often, ``hangs`` and ``fails`` when asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.hangs = False
        self.fails = False

    async def answer(self) -> int:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise StoreUnavailable("away")
        return self.asked


async def test_a_fresh_answer_is_given_again_without_asking() -> None:
    part = Part()
    lately = Lately(part.answer, "part", fresh_s=1000.0, timeout_s=10.0)
    assert await asyncio.gather(*(lately.answer() for _ in range(5))) == [1] * 5
    assert await lately.answer() == 1 and part.asked == 1


async def test_a_part_that_hangs_is_asked_once_and_has_no_answer() -> None:
    part = Part()
    part.hangs = True
    lately = Lately(part.answer, "part", fresh_s=0.0, timeout_s=0.01)
    assert [await lately.answer() for _ in range(3)] == [None] * 3
    assert part.asked == 1
    await lately.close()


async def test_a_part_that_fails_has_no_answer_until_it_is_back() -> None:
    part = Part()
    lately = Lately(part.answer, "part", fresh_s=0.0, timeout_s=10.0)
    assert await lately.answer() == 1
    part.fails = True
    assert await lately.answer() is None
    part.fails = False
    assert await lately.answer() == 3
    await lately.close()
