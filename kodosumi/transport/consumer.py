"""The consumer of the transports that use :class:`~kodosumi.transport.queue.EventQueue`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence

from ..error import MalformedEvent, TransportUnavailable
from ..events import Batch, Event, EventKind, Position, decode_events
from .answers import Taken
from .base import Delivery
from .link import Patience, QueueLink, QueueLinks, persistently, place_of
from .queue import HOLD_TAKE_S
from .recollection import Memory

logger = logging.getLogger(__name__)

LATE_ANSWER_S = 0.05
"""How long a take waits for the answer to an earlier one, before it says that nothing is there."""

UNREADABLE = "Events of this run could not be read: they were sent by another version of kodosumi."


class QueueConsumer:
    """Reads all queues of a transport; used from one event loop."""

    def __init__(self, links: QueueLinks) -> None:
        self._links = links
        self._id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        self._desks: list[_Desk] | None = None
        self._asking: dict[asyncio.Task[list[Taken]], _Desk] = {}

    async def take(self, max_events: int, wait_s: float) -> list[Delivery]:
        desks = await self._all()
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        while True:
            left_s = max(0.0, end - loop.time())
            self._ask(desks, max(1, max_events // len(desks)), left_s)
            # Cancelling this take cancels no question: the next take gets the answer.
            done, _ = await asyncio.wait(
                self._asking, timeout=max(left_s, LATE_ANSWER_S) + HOLD_TAKE_S, return_when=asyncio.FIRST_COMPLETED
            )
            answers = [(self._asking.pop(task), task) for task in done]
            failures = [failure for _, task in answers if (failure := task.exception())]
            taken = [(desk, one) for desk, task in answers if not task.exception() for one in task.result()]
            if taken:
                return [desk.delivery(one) for desk, one in taken]
            if failures:
                raise failures[0]
            if loop.time() >= end:
                return []

    async def ack(self, positions: Mapping[str, Position]) -> None:
        desks = await self._all()
        shares: list[list[tuple[str, int, int]]] = [[] for _ in desks]
        for fid, position in positions.items():
            place = place_of(fid, len(desks))
            desks[place].memory.acked(fid, position)
            shares[place].append((fid, *position))
        # An empty one goes to all: it says that we live.
        await asyncio.gather(
            *(
                persistently(desk.link, "ack", self._id, share)
                for desk, share in zip(desks, shares, strict=True)
                if share or not positions
            )
        )

    async def release(self, fid: str) -> None:
        desks = await self._all()
        await persistently(desks[place_of(fid, len(desks))].link, "release", self._id, fid)

    async def close(self) -> None:
        asking, self._asking = self._asking, {}
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        for desk in self._desks or ():
            with contextlib.suppress(TransportUnavailable):
                await desk.link.call("leave", self._id)

    async def _all(self) -> list[_Desk]:
        if self._desks is None:
            patience = Patience()
            while self._desks is None:
                try:
                    self._desks = [_Desk(self._id, link) for link in await self._links.all()]
                except TransportUnavailable as exc:
                    await patience.after(exc)
        return self._desks

    def _ask(self, desks: Sequence[_Desk], max_events: int, wait_s: float) -> None:
        busy = set(self._asking.values())
        for desk in desks:
            if desk not in busy:
                self._asking[asyncio.create_task(desk.ask(max_events, wait_s))] = desk


class _Desk:
    """What the consumer knows of one queue: its incarnation, and what came from it."""

    def __init__(self, consumer: str, link: QueueLink) -> None:
        self.link = link
        self.memory = Memory()
        self._consumer = consumer
        self._epoch = 0

    async def ask(self, max_events: int, wait_s: float) -> list[Taken]:
        while True:
            epoch, taken = await persistently(
                self.link, "take", self._consumer, self._epoch, max_events, min(wait_s, HOLD_TAKE_S)
            )
            if taken is not None:
                self._epoch = epoch
                return [Taken(*one) for one in taken]
            logger.warning("an event queue was restarted, telling it what was committed")
            self._epoch = await persistently(self.link, "tell", self._consumer, self.memory.traces)

    def delivery(self, taken: Taken) -> Delivery:
        batches = []
        for offset, wire, producer, seq in taken.parcels:
            position = Position(self._epoch, offset)
            self.memory.taken(taken.fid, position, producer, seq, taken.attempt)
            batches.append(Batch(position, events_of(taken.fid, wire)))
        return Delivery(taken.fid, taken.username, batches)


def events_of(fid: str, wire: bytes) -> Sequence[Event]:
    """The events of a parcel; one that cannot be read becomes an error that says so."""
    try:
        return decode_events(wire)
    except MalformedEvent as exc:
        # Refusing it would stop the reading of everything behind it, for good.
        logger.error("%s: a batch of %d bytes cannot be read: %s", fid, len(wire), exc)
        return [Event(EventKind.ERROR, time.time(), UNREADABLE)]
