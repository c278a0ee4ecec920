"""Sends what the store has noted: at once, again with growing pauses when the receiver doesn't take it, then no more.

At least once: whoever dies between the receiver's answer and the store's leaves the notice to the next, which sends it
with the same id. A receiver that hangs holds up other messages at most, never an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable

from ..error import StoreError, StoreUnavailable, WebhookError
from ..events import Batch
from ..log import Troubles
from ..store import ExecutionStore, Notice
from ..store.summary import noticed
from .courier import Courier
from .message import message_of

logger = logging.getLogger(__name__)

PARALLEL = 4
"""Messages on their way at once, from one process."""

LEASE_S = 20.0
"""A notice is ours for so long; longer than a try takes."""

SWEEP_S = 15.0
"""Now and then there is a look for what others left behind."""

FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 300.0
GIVE_UP_S = 24 * 3_600.0
GRACE_S = 3.0
"""At the end, what is due is still sent for so long."""


def back_off(tries: int) -> float:
    """Seconds until the next try: twice as long each time, and by chance up to a third less, so that few coincide.

    Args:
        tries: how many there were.
    """
    longest = min(LAST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(tries - 1, 20))
    return longest * random.uniform(2 / 3, 1.0)


class Sender:
    """Sends a store's notices.

    Args:
        store: has the notices. courier: takes one message to the receiver.
        app_server: address of the panel where an execution doesn't name one.
        lease_s: see :data:`LEASE_S`. sweep_s: see :data:`SWEEP_S`. give_up_s: seconds of tries, the last one included.
    """

    def __init__(
        self,
        store: ExecutionStore,
        courier: Courier,
        app_server: str,
        *,
        lease_s: float = LEASE_S,
        sweep_s: float = SWEEP_S,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._store = store
        self._courier = courier
        self._app_server = app_server
        self._lease_s = lease_s
        self._sweep_s = sweep_s
        self._give_up_s = give_up_s
        self._woken = asyncio.Event()
        self._sending: dict[asyncio.Task[None], Notice] = {}
        self._more = False
        self._delivered: set[str] = set()
        self._troubles = Troubles(logger)
        self._untaken = f"the webhook at {courier.host} does not take messages"

    def stored(self, batches: Iterable[Batch]) -> None:
        """Looks at once when the batches, which the store has now, hold something to tell of."""
        if any(noticed(batch.events, 0) for batch in batches):
            self._woken.set()

    async def run(self) -> None:
        """Sends until it is cancelled. Nothing that goes wrong ends it."""
        while True:
            self._woken.clear()
            await self._begin()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._sweep_s):
                    await self._woken.wait()

    async def close(self, grace_s: float = GRACE_S) -> None:
        """Sends what is due for so many seconds, and gives the rest back; behind the end of :meth:`run`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._begin()
                while self._sending:
                    await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
                    await self._begin()
        left = dict(self._sending)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for notice in left.values():
            with contextlib.suppress(StoreError):
                await self._store.defer_notice(notice, 0.0)
        await self._courier.close()

    async def _begin(self) -> None:
        """Takes as many notices as there are places free, and begins to send them."""
        free = PARALLEL - len(self._sending)
        if free <= 0:
            return
        try:
            notices = await self._store.notices(free, self._lease_s)
        except StoreError as exc:
            logger.info("notices cannot be read now: %s", exc)
            return
        except Exception:
            logger.exception("notices cannot be read, tried again later")
            return
        self._more = len(notices) == free
        for notice in notices:
            task = asyncio.create_task(self._send(notice), name=f"webhook {notice.id}")
            self._sending[task] = notice
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        if self._more:
            self._woken.set()

    async def _send(self, notice: Notice) -> None:
        try:
            await self._told(notice)
            await self._store.settle_notice(notice)
            self._delivered.discard(notice.id)
        except WebhookError as exc:
            self._troubles.begin(self._untaken, exc)
            await self._put_off(notice, str(exc), gone=exc.gone)
        except StoreUnavailable as exc:
            # what was not settled comes back when its lease is over
            logger.warning("notice %s is tried again: %s", notice.id, exc)
        except Exception as exc:
            logger.exception("notice %s cannot be sent", notice.id)
            await self._put_off(notice, repr(exc))

    async def _told(self, notice: Notice) -> None:
        if notice.id in self._delivered:
            # the store could not note that, and the receiver need not suffer for it
            return
        message = await message_of(self._store, notice, self._app_server)
        if message is not None:
            await self._courier.deliver(notice.id, notice.kind.value, message)
            self._delivered.add(notice.id)
            self._troubles.end(self._untaken)

    async def _put_off(self, notice: Notice, reason: str, *, gone: bool = False) -> None:
        """Makes a notice due later, or gives it up."""
        try:
            if gone or notice.trying_s >= self._give_up_s:
                await self._store.settle_notice(notice)
                self._delivered.discard(notice.id)
                logger.warning("%s is not told of %s: %s; given up", self._courier.host, notice.id, reason)
                return
            pause_s = back_off(notice.tries)
            await self._store.defer_notice(notice, pause_s)
        except Exception as exc:
            # its lease ends, too
            logger.warning("notice %s is tried again: %r", notice.id, exc)
        else:
            # a little later than due, as the store's clock is not ours
            asyncio.get_running_loop().call_later(pause_s + 0.05, self._woken.set)
