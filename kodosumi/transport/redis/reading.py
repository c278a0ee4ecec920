"""Reads the executions that a consumer holds, and deals out what it read, to each its turn."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from itertools import islice

from ...events import Batch
from ..base import Delivery
from .claiming import Claims
from .connection import Connection, RedisUnavailable
from .holding import Holding
from .names import Names
from .recovery import Witness
from .scripts import READ
from .share import Share

AT_ONCE = 200
"""Executions one script reads."""

READ_BYTES, LEAST_BYTES = 16 * 1024 * 1024, 65_536
"""Bytes after which a script reads no further; and as few, where the network is too slow for more in time."""

LOOK_ALL_S = 5.0
"""In a cluster a word can get lost with the producer that should have given it: all is looked at this often."""


class Reader:
    """Reads on where a share says that something may be."""

    def __init__(self, connection: Connection, names: Names, share: Share, claims: Claims, witness: Witness) -> None:
        self._connection, self._names, self._share = connection, names, share
        self._claims, self._witness = claims, witness
        self._looked_at = -math.inf
        self._bytes = READ_BYTES

    async def read(self, max_events: int) -> None:
        """Reads about so many events of what is ready and of which nothing read is left.

        Raises:
            RedisUnavailable: no answer; the next call reads the same.
        """
        some = self._to_read()
        if not some:
            return
        share = max(1, max_events // len(some))
        keys = [(self._names.stream(one.fid), self._names.state(one.fid)) for one in some]
        asked = [(one.token, f"{one.last.epoch}-{one.last.offset}", share) for one in some]
        words = (self._names.group, self._share.id, self._bytes)
        try:
            answers = await self._connection.for_each(READ, keys, words, asked)
        except RedisUnavailable:
            # An answer too large for the time it has would be too large the next time, too.
            self._bytes = max(LEAST_BYTES, self._bytes // 4)
            raise
        self._bytes = min(READ_BYTES, self._bytes * 2)
        for holding, answer in zip(some, answers, strict=True):
            # It may have been given away, or claimed anew, while this was asked.
            if self._share.held.get(holding.fid) is not holding:
                continue
            if answer[0] != b"ok":
                await self._claims.lose(holding, gone=answer[0] == b"gone")
                continue
            for entry in holding.take_in(answer[2]):
                self._witness.taken(holding, entry)
            holding.more = answer[1] == b"1"
            if not (holding.more or holding.read):
                self._share.ready.pop(holding.fid, None)

    def deal(self, max_events: int) -> list[Delivery]:
        """About so many events of what was read, one batch of each execution in turn."""
        held, ready = self._share.held, self._share.ready
        taken: dict[str, list[Batch]] = {}
        waiting = deque(holding.fid for holding in self._ready() if holding.read)
        left = max_events
        while waiting and left > 0:
            fid = waiting.popleft()
            holding = held[fid]
            if taken and holding.read[0].events > left:
                ready.move_to_end(fid, last=False)
                break
            left -= holding.read[0].events
            taken.setdefault(fid, []).append(holding.give())
            if holding.read:
                waiting.append(fid)
        for fid in taken:
            if held[fid].read or held[fid].more:
                ready.move_to_end(fid)
            else:
                ready.pop(fid, None)
        return [Delivery(fid, held[fid].username, batches) for fid, batches in taken.items()]

    def _to_read(self) -> list[Holding]:
        now = asyncio.get_running_loop().time()
        if self._connection.in_cluster and now - self._looked_at >= LOOK_ALL_S:
            self._share.rouse_all()
            self._looked_at = now
        return list(islice((holding for holding in self._ready() if not holding.read), AT_ONCE))

    def _ready(self) -> list[Holding]:
        """What has something to be read or given and isn't held back for another consumer, in its order."""
        now = asyncio.get_running_loop().time()
        ready = (self._share.held[fid] for fid in self._share.ready)
        return [holding for holding in ready if holding.leaves_until <= now]
