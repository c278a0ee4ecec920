"""The producer: one script per put, again until it is answered, and a wait at the door while there is no room."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...error import AttemptOver, ExecutionClosed, PayloadTooLarge, TransportLost
from ...events import Event, EventKind, Position, encode_events
from ..base import ProducerTicket
from ..link import Patience
from . import recall
from .connection import Connection, RedisUnavailable
from .names import Names
from .recall import Verdict
from .scripts import PUT, RING

logger = logging.getLogger(__name__)

ROOM_LOOK_S = 1.0
"""Longest wait for the word that there is room, before it's asked for again."""

WAITER_KEPT_MS = 10_000
"""A waiting producer not heard of for so long loses its place in the line."""

RECALL_S = 5.0
"""Consumers have told this long after a server came back empty, or what they held is taken for lost."""

RECALL_LOOK_S = 0.2
NOTICE_S = 5.0
"""A wait for room of so many seconds is told in the execution's events."""

MAX_WIRE_BYTES = 64 * 1024 * 1024
LARGEST_WIRE_BYTES = 500 * 1024 * 1024
"""A batch above the first is put in halves; a single event above the second no Redis takes (512 MB)."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where producers begin to wait.

    Attributes:
        max_events: unacknowledged of one execution. max_bytes: unacknowledged of all (in a cluster: of one).
    """

    max_events: int
    max_bytes: int


class RedisStreamProducer:
    """Puts one execution's events; usable from any event loop, one put at a time.

    Args:
        options: for tickets.
        past: incarnation and place of the execution's last batch known to be accepted; None when it begins here.
        attempt: of the execution, that it speaks for; None: none.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        bounds: Bounds,
        fid: str,
        username: str,
        options: Mapping[str, Any],
        past: Position | None = None,
        attempt: int | None = None,
    ) -> None:
        self.fid = fid
        self._connection, self._names, self._bounds = connection, names, bounds
        self._username = username
        self._options = options
        self._past = past
        self._attempt = attempt
        self._shared = False
        self._id = uuid.uuid4().hex
        self._seq = 0
        self._in_doubt: bytes | None = None
        self._keys = [
            names.stream(fid),
            names.state(fid),
            names.producers(fid),
            names.closed(fid),
            names.recall(fid),
            names.bytes(fid, in_cluster=connection.in_cluster),
        ]

    @property
    def ticket(self) -> ProducerTicket:
        epoch, offset = self._past or (None, 0)
        return ProducerTicket(self.fid, self._username, "redis", self._options, epoch, offset, attempt=self._attempt)

    async def put(self, events: Sequence[Event]) -> None:
        if not events:
            return
        wire = encode_events(events)
        if len(wire) > MAX_WIRE_BYTES and len(events) > 1:
            half = len(events) // 2
            await self.put(events[:half])
            await self.put(events[half:])
            return
        if len(wire) > LARGEST_WIRE_BYTES:
            raise PayloadTooLarge(events[0].kind, len(wire), LARGEST_WIRE_BYTES)
        # The same batch again after it was left in doubt is the same batch for the server too.
        uncertain = self._in_doubt == wire
        if not uncertain:
            self._seq += 1
        await _Delivery(self, events, wire, uncertain).deliver()

    async def close(self) -> None:
        return


class _Delivery:
    """One put, from the first try to its answer."""

    def __init__(self, producer: RedisStreamProducer, events: Sequence[Event], wire: bytes, uncertain: bool) -> None:
        self._of = producer
        self._events, self._count, self._wire = events, len(events), wire
        self._uncertain = uncertain
        self._settled = False
        self._waiting_since: float | None = None
        self._unknown_since: float | None = None
        self._noticed = False

    async def deliver(self) -> None:
        of = self._of
        of._in_doubt = self._wire
        patience = Patience()
        while True:
            try:
                answer = await self._try()
                if answer[0] == b"full":
                    await self._wait_for_room()
                elif answer[0] == b"unknown":
                    if await self._settle(recall.heard_of(answer[1])):
                        break
                else:
                    await self._conclude(answer)
                    break
            except RedisUnavailable as exc:
                exc.fid = of.fid
                if exc.out_of_memory:
                    # Full, as a whole: whoever reads makes room, and nobody can say when.
                    self._waiting_since = self._waiting_since or time.monotonic()
                    await asyncio.sleep(ROOM_LOOK_S / 2)
                    continue
                self._uncertain = True
                if exc.permanent:
                    raise
                await patience.after(exc)
                continue
            patience = Patience()
        of._in_doubt = None

    async def _try(self) -> list[Any]:
        of = self._of
        epoch, offset = of._past or ("", 0)
        answer: list[Any] = await of._connection.run(
            PUT,
            of._keys,
            of._names.base,
            0 if of._connection.in_cluster else 1,
            of._names.group,
            of.fid,
            of._username,
            of._names.room(of.fid),
            of._id,
            of._seq,
            epoch,
            offset,
            int(self._uncertain),
            int(self._settled),
            self._count,
            int(any(event.ends_execution for event in self._events)),
            self._wire,
            of._bounds.max_events,
            of._bounds.max_bytes,
            WAITER_KEPT_MS,
            "" if of._attempt is None else of._attempt,
        )
        return answer

    async def _conclude(self, answer: list[Any]) -> None:
        of = self._of
        if answer[0] == b"closed":
            of._in_doubt = None
            raise ExecutionClosed(f"Execution {of.fid} has its end; nothing may follow.", of.fid)
        if answer[0] == b"overtaken":
            of._in_doubt = None
            raise AttemptOver(f"A later attempt of {of.fid} has begun; attempt {of._attempt} is over.", of.fid)
        if answer[0] == b"lost":
            self._lose()
        _, epoch, offset, shared, holder, again = answer
        if holder:
            # In a cluster whoever reads is told by a call of its own; until it's through, the put is in doubt.
            await of._connection.run(RING, [of._names.consumers], of._names.base, of.fid, holder, again)
        of._past, of._shared = Position(int(epoch), int(offset)), shared == b"1"

    def _lose(self) -> None:
        of = self._of
        of._in_doubt = None
        of._past, of._shared = None, False
        raise TransportLost(f"Redis lost events of {of.fid}: it came back without them.", of.fid)

    async def _wait_for_room(self) -> None:
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        waited_s = now - self._waiting_since
        if waited_s >= NOTICE_S and not self._noticed:
            # It was refused, so what is put under this number may still change.
            self._noticed = True
            text = f"The run waits: its {self._of._bounds.max_events:,} events on their way are not stored yet."
            logger.warning("%s: %s", self._of.fid, text)
            self._wire = encode_events([Event.now(EventKind.DEBUG, text), *self._events])
            self._count = len(self._events) + 1
        await self._of._connection.woken(self._of._names.room(self._of.fid) + self._of._id, ROOM_LOOK_S)

    async def _settle(self, heard: dict[str, str]) -> bool:
        """Finds out what became of what was put before the server lost it; whether this batch is in already."""
        of = self._of
        now = time.monotonic()
        self._unknown_since = self._unknown_since or now
        found = recall.verdict(
            heard,
            of._id,
            of._seq,
            of._past,
            shared=of._shared,
            lives=await self._lives(heard.get("by")),
            late=now - self._unknown_since >= RECALL_S,
        )
        match found:
            case Verdict.LOST:
                self._lose()
            case Verdict.TAKEN:
                return True
            case Verdict.KEPT:
                self._settled = True
            case Verdict.UNDECIDED:
                await asyncio.sleep(RECALL_LOOK_S)
        return False

    async def _lives(self, consumer: str | None) -> bool:
        facts = self._of._names.facts(consumer or "")
        return consumer is not None and bool(await self._of._connection.command("EXISTS", facts))
