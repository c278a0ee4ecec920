"""How long a connection to the panel is tried again: long enough for a panel to be started anew."""

from __future__ import annotations

import time

from ...error import FilesUnavailable
from .pace import Pace

RETRY_FOR_S = 30.0
"""From the first failure in a row on; a panel that restarts is back in less."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


class Patience:
    """Pauses between attempts, ever longer, and at some point no more.

    Args:
        pace: how to wait.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.renew()

    def renew(self) -> None:
        """Something worked: the next failure is the first one again."""
        self._since: float | None = None
        self._pause_s = FIRST_PAUSE_S

    async def after(self, reason: str, cause: BaseException | None = None) -> None:
        """Waits before the next attempt.

        Raises:
            FilesUnavailable: with the reason, when there shall be none.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now + self._pause_s > self._since + RETRY_FOR_S:
            raise FilesUnavailable(reason) from cause
        await self._pace.pause(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
