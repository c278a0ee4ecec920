"""The consumer: hears what it is assigned and where something came, reads that, and gives it back acknowledged.

Its parts share one :class:`~.share.Share`: the bell hears, claims take up what was granted, the reader reads it, the
settler acknowledges it. Its lease is one for all that it holds, and runs on while it is heard of: every take and every
acknowledgement says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ...error import ConfigurationError
from ...events import Position
from ..base import Delivery
from ..link import Patience
from .bell import Bell
from .claiming import Claims
from .connection import Connection, RedisUnavailable
from .lease import BEAT_S, Lease
from .names import Names
from .reading import Reader
from .recovery import Witness
from .settling import Settler
from .share import Share


class RedisStreamConsumer:
    """Reads the executions it is assigned; used from one event loop.

    Args:
        names: of the keys.
    """

    def __init__(self, connection: Connection, names: Names) -> None:
        self._share = share = Share()
        self._witness = witness = Witness(connection, names)
        self._bell = Bell(connection, names, share)
        self._claims = Claims(connection, names, share)
        self._reader = Reader(connection, names, share, self._claims, witness)
        self._settler = Settler(connection, names, share, self._claims, witness)
        self._lease = Lease(connection, names, share, self._bell, self._claims, witness)
        self._closed = False

    async def take(self, max_events: int, wait_s: float) -> list[Delivery]:
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        patience = Patience()
        heard = False
        while not self._closed:
            try:
                await self._lease.beat()
                if not heard and (self._share.ready or self._share.grants or loop.time() >= end):
                    await self._bell.ask()
                deliveries = await self._collect(max_events)
                left_s = end - loop.time()
                if deliveries or left_s <= 0:
                    return deliveries
                heard = await self._bell.listen(min(left_s, BEAT_S))
                patience = Patience()
            except RedisUnavailable as exc:
                self._share.rouse_all()
                if exc.permanent and not self._lease.reached:
                    # Nobody has got through yet: whoever starts this should be told now, not warned for ever.
                    raise ConfigurationError(str(exc)) from exc
                await patience.after(exc)
        return []

    async def ack(self, positions: Mapping[str, Position]) -> None:
        for fid, position in positions.items():
            self._witness.stored(fid, position)
        patience = Patience()
        while True:
            try:
                await self._lease.beat()
                break
            except RedisUnavailable as exc:
                await patience.after(exc)
        await self._settler.settle(list(positions.items()))

    async def release(self, fid: str) -> None:
        if fid in self._share.held or fid in self._share.grants:
            await self._claims.give_away([fid])

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._bell.close()
        self._share.clear()
        await self._lease.leave()

    async def _collect(self, max_events: int) -> list[Delivery]:
        if self._share.uneven:
            await self._lease.beat()
        if self._share.orphans:
            return [self._share.orphans.popleft()]
        await self._claims.take_up()
        await self._reader.read(max_events)
        return self._reader.deal(max_events)
