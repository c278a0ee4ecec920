"""How executions come to a consumer and leave it again: claimed by their grant, given away, lost to another."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from itertools import islice

from ...events import Position
from .connection import Connection
from .holding import Holding
from .names import Names
from .scripts import CLAIM, RELEASE, UNHOLD
from .share import Share

AT_ONCE = 200
"""Executions one script claims."""

SLACK = 0.1
"""So much more than its due a consumer may hold before it gives some away."""

LEAVING_S, STAYING_S = 1.0, 10.0
"""What is to go to another consumer is held back so long, to have it all stored; it's tried again so much later."""


class Claims:
    """Takes up what a share was granted, and lets go of what is another's."""

    def __init__(self, connection: Connection, names: Names, share: Share) -> None:
        self._connection, self._names, self._share = connection, names, share

    async def take_up(self) -> None:
        """Becomes the reader of all that was granted; what earlier readers had read and not acknowledged comes along.

        Raises:
            RedisUnavailable: no answer; what is still granted is to be taken up later.
        """
        grants = self._share.grants
        while grants:
            some = dict(islice(grants.items(), AT_ONCE))
            keys = [(self._names.stream(fid), self._names.state(fid)) for fid in some]
            words = (self._names.base, int(not self._connection.in_cluster), self._names.group, self._share.id)
            answers = await self._connection.for_each(CLAIM, keys, words, list(some.items()))
            refused = []
            for (fid, grant), answer in zip(some.items(), answers, strict=True):
                if grants.get(fid) == grant:
                    del grants[fid]
                if answer[0] == b"ok" and not self._share.holds(fid, grant):
                    _, username, epoch, acked = answer
                    self._share.add(Holding(fid, username.decode(), grant, int(epoch), Position(0, int(acked))))
                elif answer[0] != b"ok" and fid not in grants:
                    refused.append(fid)
            await self._unhold(refused)
            if self._connection.in_cluster and (mine := [fid for fid in some if fid in self._share.held]):
                await self._connection.command("SADD", self._names.held(self._share.id), *mine)

    async def give_away(self, fids: Sequence[str]) -> None:
        """Gives executions to others, unacknowledged.

        Raises:
            RedisUnavailable: Redis did not hear of it; they are dropped here all the same.
        """
        held = [holding for fid in fids if (holding := self._share.held.get(fid)) is not None]
        keys = [(self._names.state(holding.fid),) for holding in held]
        for fid in fids:
            self._share.drop(fid)
        await self._connection.for_each(RELEASE, keys, (), [(holding.token,) for holding in held], persist=True)
        await self._unhold(fids, onward=True)

    async def lose(self, holding: Holding, *, gone: bool) -> None:
        """Lets go of what isn't here any more, or is read under another grant.

        Raises:
            RedisUnavailable: no answer.
        """
        grant = self._share.grants.get(holding.fid, holding.token)
        self._share.drop(holding.fid)
        if gone:
            await self._unhold([holding.fid])
        else:
            # Another's is newer than ours, and then this is refused; an older one is there after a failover only.
            self._share.grants[holding.fid] = grant

    async def balance(self, living: int, total: int, mine: int) -> None:
        """Gives away what is more than this consumer's due: at once what it has nothing of, the rest when stored.

        Args:
            living: consumers. total: executions they hold. mine: how many of these are this one's.

        Raises:
            RedisUnavailable: Redis did not hear of it.
        """
        now = asyncio.get_running_loop().time()
        for holding in self._share.held.values():
            if holding.leaves_until <= now:
                holding.leaves_until = 0.0
        excess = mine - math.ceil(total / max(1, living))
        if excess <= SLACK * mine:
            return
        idle = (fid for fid, holding in self._share.held.items() if not holding.given)
        free = [*self._share.grants, *idle][:excess]
        busy = (one for one in self._share.held.values() if one.given and one.stays_until <= now)
        for holding in islice(busy, excess - len(free)):
            holding.leaves_until, holding.stays_until = now + LEAVING_S, now + STAYING_S
        await self.give_away(free)

    async def _unhold(self, fids: Sequence[str], *, onward: bool = False) -> None:
        if fids:
            await self._connection.persistently(
                UNHOLD, [self._names.consumers], self._names.base, self._share.id, int(onward), *fids
            )
