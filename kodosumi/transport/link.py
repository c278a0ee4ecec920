"""How clients reach queues: what producers, consumers and feeds need, whatever lies between."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from typing import Any, Protocol

from ..error import TransportUnavailable

RETRY_S = 10.0
"""A queue that doesn't answer for so long is reported as unavailable."""

FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 0.5


class QueueLink(Protocol):
    """The way to one queue."""

    async def call(self, method: str, *args: Any) -> Any:
        """What a method of :class:`~kodosumi.transport.queue.EventQueue` answers.

        Raises:
            TransportUnavailable: no answer; it may have been carried out all the same.
        """
        ...


class QueueLinks(Protocol):
    """All queues of a transport."""

    async def all(self) -> Sequence[QueueLink]:
        """Every queue, always in the same order.

        Raises:
            TransportUnavailable: can't be found now.
        """
        ...


def place_of(fid: str, queues: int) -> int:
    """Which of so many queues an execution's events go through; the same in every process."""
    return zlib.crc32(fid.encode()) % queues


class Patience:
    """Pauses between tries, until :data:`RETRY_S` have passed since the first failure."""

    def __init__(self) -> None:
        self._end: float | None = None
        self._pause_s = FIRST_PAUSE_S

    async def after(self, failure: TransportUnavailable) -> None:
        """Returns when it's time to try again, raises the failure when it was tried long enough."""
        now = asyncio.get_running_loop().time()
        if self._end is None:
            self._end = now + RETRY_S
        if now >= self._end:
            raise failure
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 2, LAST_PAUSE_S)


async def persistently(link: QueueLink, method: str, *args: Any) -> Any:
    """Calls until there's an answer; only for methods that may be carried out twice.

    Raises:
        TransportUnavailable: none for :data:`RETRY_S`.
    """
    patience = Patience()
    while True:
        try:
            return await link.call(method, *args)
        except TransportUnavailable as exc:
            await patience.after(exc)
