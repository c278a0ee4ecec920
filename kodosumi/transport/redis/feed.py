"""The commit feed: follows the stream of what was acknowledged, from the moment it was made."""

from __future__ import annotations

import asyncio
import time

from ...error import TransportUnavailable
from .connection import Connection, Entry
from .names import Names

AT_ONCE = 1000
"""Acknowledgements read at once; a feed that is so many behind has missed some."""


class RedisCommitFeed:
    """Follows the commits of a group of consumers; used from one event loop."""

    def __init__(self, connection: Connection, names: Names) -> None:
        self._connection, self._stream = connection, names.commits
        self._began = time.monotonic()
        self._last: str | None = None
        self._closed = asyncio.Event()

    async def wait(self) -> frozenset[str]:
        closing = asyncio.create_task(self._closed.wait())
        reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait({closing, reading}, return_when=asyncio.FIRST_COMPLETED)
            if self._closed.is_set():
                raise TransportUnavailable("The feed is closed.")
            return reading.result()
        finally:
            closing.cancel()
            reading.cancel()
            await asyncio.gather(closing, reading, return_exceptions=True)

    async def close(self) -> None:
        self._closed.set()

    async def _read(self) -> frozenset[str]:
        while True:
            if self._last is None:
                self._last = await self._beginning()
            # Read by its number, so that an answer that got lost is given again.
            entries = await self._connection.entries(self._stream, self._last, AT_ONCE, self._connection.block_ms)
            if not entries:
                continue
            self._last = entries[-1][0]
            if len(entries) == AT_ONCE:
                self._last = await self._now()
                raise TransportUnavailable("The commit feed missed something.")
            return frozenset(fid for entry in entries for fid in _fids(entry))

    async def _beginning(self) -> str:
        seconds, micros = await self._connection.command("TIME")
        age_s = time.monotonic() - self._began
        return f"{max(0, int((int(seconds) + int(micros) / 1e6 - age_s) * 1000) - 1)}-0"

    async def _now(self) -> str:
        self._began = time.monotonic()
        return await self._beginning()


def _fids(entry: Entry) -> list[str]:
    return entry[1][b"fids"].decode().split()
