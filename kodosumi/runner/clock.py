"""The running time of one attempt: neither paused nor waiting for a lock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class RunClock:
    """Lives on the loop that makes it; it stands until :meth:`start`.

    Args:
        limit_s: running time after which ``on_limit`` is called, once; None: never. on_limit: see there.
    """

    def __init__(self, limit_s: float | None, on_limit: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._on_limit = on_limit
        self._loop = asyncio.get_running_loop()
        self._holds = {"not begun"}
        self._before_s = 0.0
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ran_s(self) -> float:
        """Running time up to now, in seconds."""
        return self._before_s if self._holds else self._before_s + self._loop.time() - self._since

    def start(self) -> None:
        """User code begins."""
        self.hold("not begun", False)

    def stop(self) -> None:
        """User code is over; idempotent."""
        self.hold("over", True)

    def hold(self, why: str, holds: bool) -> None:
        """Says that something keeps the run from running, or does so no more. It runs while nothing does."""
        before_s, ran = self.ran_s, not self._holds
        (self._holds.add if holds else self._holds.discard)(why)
        if ran == (not self._holds):
            return
        self._before_s, self._since = before_s, self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._holds and self._limit_s is not None:
            self._timer = self._loop.call_later(max(0.0, self._limit_s - before_s), self._reached)

    def _reached(self) -> None:
        self._limit_s = None
        self._on_limit()
