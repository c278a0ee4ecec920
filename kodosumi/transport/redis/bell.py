"""The stream on which one consumer hears what it was assigned and where something came.

It is read by id, so that an answer which got lost is given again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from .connection import Connection, Entry
from .names import Names
from .share import Share

AT_ONCE = 2000
"""Words heard in one answer."""


class Bell:
    """Notes in a share what it hears.

    Attributes:
        heard: id of the last word.
    """

    def __init__(self, connection: Connection, names: Names, share: Share) -> None:
        self._connection, self._names, self._share = connection, names, share
        self.heard = "0-0"
        self._listening: asyncio.Task[list[Entry]] | None = None

    async def ask(self) -> None:
        """Hears what there is, without waiting for more.

        Raises:
            RedisUnavailable: no answer.
        """
        if self._listening is None:
            self._hear(await self._connection.entries(self._stream, self.heard, AT_ONCE))
        else:
            await self.listen(0)

    async def listen(self, wait_s: float) -> bool:
        """Waits so many seconds for a word; whether one came.

        Cancelling it, or the end of its time, ends no question: the next one gets the answer.

        Raises:
            RedisUnavailable: no answer.
        """
        if self._listening is None:
            ask = self._connection.entries(self._stream, self.heard, AT_ONCE, self._connection.block_ms)
            self._listening = asyncio.create_task(ask)
            # One that nobody comes back for has nobody to complain to either.
            self._listening.add_done_callback(lambda task: task.cancelled() or task.exception())
        listening = self._listening
        done, _ = await asyncio.wait({listening}, timeout=wait_s)
        # While this waited, another task may have had it begin again, or closed it: that question is of no use then.
        if not done or listening is not self._listening:
            return False
        self._listening = None
        self._hear(listening.result())
        return True

    def begin_again(self) -> None:
        """Listens to the bell of the share's new name, from its beginning."""
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        self.heard = "0-0"

    async def close(self) -> None:
        """Ends a question that is still open."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    @property
    def _stream(self) -> str:
        return self._names.bell(self._share.id)

    def _hear(self, entries: Iterable[Entry]) -> None:
        for id_, fields in entries:
            self.heard = id_
            if b"grant" in fields:
                self._share.grants[fields[b"grant"].decode()] = fields[b"token"].decode()
            elif b"balance" in fields:
                self._share.uneven = True
            else:
                self._share.rouse(fields[b"news"].decode())
