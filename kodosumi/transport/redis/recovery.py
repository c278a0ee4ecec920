"""What a consumer does for others when Redis came back without its memory, or without a part of it."""

from __future__ import annotations

import asyncio

from ...events import Position
from ..recollection import Memory
from . import recall
from .connection import Connection
from .holding import Entry, Holding
from .names import Names
from .scripts import RECALL, RING

SEARCH_MS = 10_000
"""It's searched once in so many milliseconds, whoever asks."""

AT_ONCE = 200


class Witness:
    """Remembers what a consumer read and acknowledged, and tells it when it's asked for.

    Positions are kept as producers know them: incarnation of the execution, and place in it.
    """

    def __init__(self, connection: Connection, names: Names) -> None:
        self._connection, self._names = connection, names
        self._memory = Memory()
        self._told: set[str] = set()

    def taken(self, holding: Holding, entry: Entry) -> None:
        """Notes what was read."""
        place = Position(holding.epoch, entry.position.offset)
        self._memory.taken(holding.fid, place, entry.producer, entry.seq, entry.attempt)

    def stored(self, fid: str, position: Position) -> None:
        """Notes what is stored, whether or not Redis hears of it."""
        trace = self._memory.traces.get(fid)
        if trace is not None and position.epoch >= trace.held.epoch:
            self._memory.acked(fid, Position(trace.held.epoch, position.offset))

    def forget(self, fid: str) -> None:
        """Drops an execution that has its end."""
        self._memory.traces.pop(fid, None)

    async def tell_all(self, consumer: str) -> None:
        """Tells everything, as the consumer with this id."""
        await asyncio.gather(*(self._tell(consumer, fid) for fid in list(self._memory.traces)))

    async def tell_late(self, consumer: str, fid: str) -> None:
        """Tells again of an execution that Redis has lost: more of it is stored now."""
        if fid in self._told and fid in self._memory.traces:
            await self._tell(consumer, fid)

    async def _tell(self, consumer: str, fid: str) -> None:
        words = recall.told(consumer, self._memory.traces[fid])
        self._told.add(fid)
        await self._connection.persistently(RECALL, [self._names.recall(fid)], recall.KEPT_MS, *words)


async def find_readers(connection: Connection, names: Names) -> None:
    """Has everything read again that is still there, as on another node of a cluster; once for all consumers."""
    if not await connection.command("SET", names.search, 1, "NX", "PX", SEARCH_MS):
        return
    fids = [names.fid_of(key) for key in await connection.matching(names.any_state)]
    for start in range(0, len(fids), AT_ONCE):
        ringing = (
            connection.run(RING, [names.consumers], names.base, fid, "?", 0) for fid in fids[start : start + AT_ONCE]
        )
        await asyncio.gather(*ringing)
