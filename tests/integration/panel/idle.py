"""A transport that carries nothing: for panels whose events don't matter, with figures that a test can set."""

from __future__ import annotations

import asyncio

from kodosumi.error import TransportUnavailable
from kodosumi.transport import TransportStatus


class IdleFeed:
    def __init__(self) -> None:
        self._closed = asyncio.Event()

    async def wait(self) -> frozenset[str]:
        await self._closed.wait()
        raise TransportUnavailable("closed")

    async def close(self) -> None:
        self._closed.set()


class IdleTransport:
    """Attributes: ``consumers`` alive, ``reason`` why it's away, ``hangs`` when asked."""

    name = "idle"

    def __init__(self) -> None:
        self.consumers = 1
        self.reason: str | None = None
        self.hangs = False

    def commits(self) -> IdleFeed:
        return IdleFeed()

    async def status(self) -> TransportStatus:
        if self.hangs:
            await asyncio.Event().wait()
        if self.reason:
            raise TransportUnavailable(self.reason)
        return TransportStatus(0, 0.0, self.consumers)

    async def close(self) -> None: ...
