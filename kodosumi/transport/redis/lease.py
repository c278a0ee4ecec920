"""A consumer's life among the others: it says that it lives, and begins anew when it was given up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
import uuid

from ...error import TransportUnavailable
from ..base import Delivery
from .bell import Bell
from .claiming import Claims
from .connection import Connection
from .names import Names
from .recovery import Witness, find_readers
from .scripts import BEAT, LEAVE
from .share import Share

logger = logging.getLogger(__name__)

LEASE_S = 5.0
"""A consumer not heard of for so long loses the executions it reads."""

BEAT_S = 0.5
"""It says that it lives this often at most."""


class Lease:
    """One for all that a consumer holds.

    Attributes:
        reached: Redis has answered once.
    """

    def __init__(
        self, connection: Connection, names: Names, share: Share, bell: Bell, claims: Claims, witness: Witness
    ) -> None:
        self._connection, self._names, self._share = connection, names, share
        self._bell, self._claims, self._witness = bell, claims, witness
        self.reached = False
        self._joined = False
        self._incarnation = ""
        self._beaten_at = -math.inf
        self._beating = asyncio.Lock()

    async def beat(self) -> None:
        """Says that this consumer lives, when it's time; joins the others when they don't know it.

        Raises:
            RedisUnavailable: no answer.
        """
        async with self._beating:
            now = asyncio.get_running_loop().time()
            if now - self._beaten_at < BEAT_S and not self._share.uneven:
                return
            known, incarnation, living, total, mine = await self._say_alive()
            self.reached = True
            if self._joined and (known == b"0" or incarnation.decode() != self._incarnation):
                await self._begin_again(remembers=incarnation.decode() == self._incarnation)
                _, incarnation, living, total, mine = await self._say_alive()
            self._incarnation = incarnation.decode()
            self._joined, self._beaten_at, self._share.uneven = True, now, False
            await self._claims.balance(int(living), int(total), int(mine))

    async def leave(self) -> None:
        """Gives everything to the others, as far as Redis can be told."""
        if self._joined:
            with contextlib.suppress(TransportUnavailable):
                await self._give_up()

    async def _say_alive(self) -> list[bytes]:
        answer: list[bytes] = await self._connection.run(
            BEAT,
            [self._names.consumers],
            self._names.base,
            self._share.id,
            int(LEASE_S * 1000),
            int(not self._joined),
            f"{socket.gethostname()}:{os.getpid()}",
            uuid.uuid4().hex,
            self._bell.heard,
        )
        return answer

    async def _begin_again(self, *, remembers: bool) -> None:
        """Starts anew, under another id: what was held is another's now.

        Args:
            remembers: whether the server does; else what was held is gone, and what is known of it is told.
        """
        logger.warning(
            "this consumer was given up: %s", "it was not heard of" if remembers else "Redis came back empty"
        )
        if not remembers:
            self._keep_what_was_read()
        await self._give_up()
        self._share.begin_again()
        self._bell.begin_again()
        if not remembers:
            await self._witness.tell_all(self._share.id)
            await find_readers(self._connection, self._names)
        self._joined = False

    def _keep_what_was_read(self) -> None:
        for holding in self._share.held.values():
            if holding.read:
                # Nobody else has these.
                batches = [holding.give() for _ in range(len(holding.read))]
                self._share.orphans.append(Delivery(holding.fid, holding.username, batches))

    async def _give_up(self) -> None:
        await self._connection.run(LEAVE, [self._names.consumers], self._names.base, self._share.id)
