"""An answer that is kept for some seconds, so that however many ask, a part is asked once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")

logger = logging.getLogger(__name__)


class Lately(Generic[Value]):
    """Asks a part in bounded time, and not again while the answer is fresh or the asking goes on.

    Args:
        ask: the question. name: of what is asked, for the log.
        fresh_s: how long an answer is kept, seconds. timeout_s: how long to wait for one.
    """

    def __init__(self, ask: Callable[[], Awaitable[Value]], name: str, fresh_s: float, timeout_s: float) -> None:
        self._ask = ask
        self._name = name
        self._fresh_s = fresh_s
        self._timeout_s = timeout_s
        self._asking: asyncio.Task[Value] | None = None
        self._answer: Value | None = None
        self._answered_at = -fresh_s

    async def answer(self) -> Value | None:
        """The answer, at most ``fresh_s`` old; None when the part has none now, or not in time. Never raises."""
        if self._answer is not None and time.monotonic() - self._answered_at < self._fresh_s:
            return self._answer
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._asked(), name=f"metrics {self._name}")
        asking = self._asking
        await asyncio.wait({asking}, timeout=self._timeout_s)
        if not asking.done():
            logger.info("metrics: %s gives no answer within %g s", self._name, self._timeout_s)
            return None
        if asking.cancelled() or (failure := asking.exception()) is None:
            return None if asking.cancelled() else asking.result()
        logger.info("metrics: %s cannot be asked: %s", self._name, failure)
        return None

    async def close(self) -> None:
        """Gives up a question that is still unanswered."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _asked(self) -> Value:
        answer = await self._ask()
        self._answer, self._answered_at = answer, time.monotonic()
        return answer
