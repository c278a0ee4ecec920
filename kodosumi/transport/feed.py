"""The commit feed of the transports that use :class:`~kodosumi.transport.queue.EventQueue`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from ..error import TransportUnavailable
from .link import QueueLink, QueueLinks, persistently
from .queue import HOLD_FEED_S


class QueueFeed:
    """Follows the commits of all queues of a transport; used from one event loop."""

    def __init__(self, links: QueueLinks) -> None:
        self._links = links
        self._began = time.monotonic()
        self._ears: Sequence[_Ear] | None = None
        self._listening: dict[asyncio.Task[list[str]], _Ear] = {}
        self._closed = asyncio.Event()

    async def wait(self) -> frozenset[str]:
        closing = asyncio.create_task(self._closed.wait())
        try:
            while True:
                if self._closed.is_set():
                    raise TransportUnavailable("The feed is closed.")
                await self._listen()
                await asyncio.wait([closing, *self._listening], return_when=asyncio.FIRST_COMPLETED)
                answers = [task for task in self._listening if task.done()]
                for task in answers:
                    del self._listening[task]
                failures = [failure for task in answers if (failure := task.exception())]
                if failures:
                    # The followers read everything again, so what the other answers name is not lost.
                    raise failures[0]
                fids = frozenset(fid for task in answers for fid in task.result())
                if fids:
                    return fids
        finally:
            closing.cancel()

    async def close(self) -> None:
        self._closed.set()
        listening, self._listening = self._listening, {}
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)

    async def _listen(self) -> None:
        if self._ears is None:
            self._ears = [_Ear(link) for link in await self._links.all()]
        busy = set(self._listening.values())
        for ear in self._ears:
            if ear not in busy:
                self._listening[asyncio.create_task(ear.hear(time.monotonic() - self._began))] = ear


class _Ear:
    """The feed's place in one queue's log."""

    def __init__(self, link: QueueLink) -> None:
        self._link = link
        self._epoch = 0
        self._cursor = 0

    async def hear(self, age_s: float) -> list[str]:
        """What was acknowledged since the last call, or since ``age_s`` ago for the first.

        Raises:
            TransportUnavailable: out of reach, or something was missed; goes on after that.
        """
        answer = await persistently(self._link, "commits", self._epoch, self._cursor, age_s, HOLD_FEED_S)
        self._epoch, self._cursor, fids, complete = answer
        if not complete:
            raise TransportUnavailable("The commit feed missed something.")
        return list(fids)
