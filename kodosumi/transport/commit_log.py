"""Which executions were acknowledged lately: what commit feeds read, each with a cursor of its own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

MAX_LOG = 20_000
"""Executions remembered; a feed that sleeps through more has missed some."""


class Commits(NamedTuple):
    """What a feed gets.

    Attributes:
        cursor: for its next call. fids: acknowledged since its last. complete: False when some were forgotten.
    """

    cursor: int
    fids: list[str]
    complete: bool


class CommitLog:
    """Remembers the last acknowledgement of each execution; bounded, and stateless as to who reads it."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._count = 0
        self._forgotten = 0
        self._changed = asyncio.Event()

    def note(self, fids: Iterable[str], now: float) -> None:
        """Remembers acknowledgements and wakes the feeds."""
        for fid in fids:
            self._count += 1
            self._entries[fid] = (self._count, now)
            self._entries.move_to_end(fid)
        while len(self._entries) > MAX_LOG:
            _, (self._forgotten, _) = self._entries.popitem(last=False)
        self._changed.set()
        self._changed = asyncio.Event()

    def begin(self, since: float) -> int:
        """A cursor from which everything acknowledged after ``since`` (the loop's clock) is read."""
        for count, at in reversed(self._entries.values()):
            if at < since:
                return count
        return self._forgotten

    async def read(self, cursor: int, wait_s: float) -> Commits:
        """What came after a cursor; waits for something, then answers with an empty list."""
        if cursor >= self._count:
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                return Commits(self._count, [], True)
        fids = []
        for fid, (count, _) in reversed(self._entries.items()):
            if count <= cursor:
                break
            fids.append(fid)
        return Commits(self._count, fids, cursor >= self._forgotten)
