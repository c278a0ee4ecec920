"""The consumer: hears what it is assigned and where something came, reads that, and gives it back acknowledged.

Its lease is one for all that it holds, and runs on while it is heard of: every take and every acknowledgement says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from ...error import ConfigurationError, TransportUnavailable
from ...events import Batch, Position
from ..base import Delivery
from ..link import Patience
from .connection import Connection, Entry, RedisUnavailable
from .holding import Holding
from .names import Names
from .recovery import Witness, find_readers
from .scripts import ACK, BEAT, CLAIM, LEAVE, PUBLISH, READ, RELEASE, UNHOLD

logger = logging.getLogger(__name__)

LEASE_S = 5.0
"""A consumer not heard of for so long loses the executions it reads."""

BEAT_S = 0.5
AT_ONCE = 200
"""Executions one script reads, claims or acknowledges."""

READ_BYTES = 16 * 1024 * 1024
"""Bytes after which a script reads no further."""

TOMBSTONE_MS, IDLE_MS = 3_600_000, 86_400_000
"""How long an ended execution is remembered, so that nothing is put after its end, and one that goes on after that."""

LOOK_ALL_S = 5.0
"""In a cluster a word can get lost with the producer that should have given it: all is looked at this often."""

SLACK = 0.1
"""So much more than its share a consumer may hold before it gives some away."""

LEAVING_S, STAYING_S = 1.0, 10.0
"""What is to go to another consumer is held back so long, to have it all stored; it's tried again so much later."""

BELLS_AT_ONCE = 2000
NO_TOKEN = "-"


class RedisStreamConsumer:
    """Reads the executions it is assigned; used from one event loop.

    Args:
        names: of the keys.
    """

    def __init__(self, connection: Connection, names: Names) -> None:
        self._connection, self._names = connection, names
        self._id = uuid.uuid4().hex
        self._inline = 0 if connection.in_cluster else 1
        self._witness = Witness(connection, names)
        self._incarnation = ""
        self._joined = False
        self._reached = False
        self._closed = False
        self._beaten_at = -math.inf
        self._looked_at = -math.inf
        self._balance_now = False
        self._beating = asyncio.Lock()
        self._bell = names.bell(self._id)
        self._bell_id = "0-0"
        self._listening: asyncio.Task[list[Entry]] | None = None
        self._grants: dict[str, str] = {}
        self._held: dict[str, Holding] = {}
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._orphans: deque[Delivery] = deque()

    # taking --------------------------------------------------------------------------------------------------------

    async def take(self, max_events: int, wait_s: float) -> list[Delivery]:
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        patience = Patience()
        heard = False
        while not self._closed:
            try:
                await self._beat()
                if not heard and (self._ready or self._grants or loop.time() >= end):
                    await self._ask()
                deliveries = await self._collect(max_events)
                left_s = end - loop.time()
                if deliveries or left_s <= 0:
                    return deliveries
                heard = await self._listen(min(left_s, BEAT_S))
                patience = Patience()
            except RedisUnavailable as exc:
                self._look_everywhere()
                if exc.permanent and not self._reached:
                    # Nobody has got through yet: whoever starts this should be told now, not warned for ever.
                    raise ConfigurationError(str(exc)) from exc
                await patience.after(exc)
        return []

    async def _collect(self, max_events: int) -> list[Delivery]:
        if self._balance_now:
            await self._beat()
        if self._orphans:
            return [self._orphans.popleft()]
        await self._claim()
        await self._read(max_events)
        return self._deal(max_events)

    async def _ask(self) -> None:
        """Hears what the bell has to say, without waiting for more."""
        if self._listening is None:
            self._hear(await self._connection.entries(self._bell, self._bell_id, BELLS_AT_ONCE))
        else:
            await self._listen(0)

    async def _listen(self, wait_s: float) -> bool:
        """Waits for the bell; whether it said something.

        Cancelling it, or the end of its time, ends no question: the next one gets the answer.
        """
        if self._listening is None:
            ask = self._connection.entries(self._bell, self._bell_id, BELLS_AT_ONCE, self._connection.block_ms)
            self._listening = asyncio.create_task(ask)
            # One that nobody comes back for has nobody to complain to either.
            self._listening.add_done_callback(lambda task: task.cancelled() or task.exception())
        done, _ = await asyncio.wait({self._listening}, timeout=wait_s)
        if done:
            listening, self._listening = self._listening, None
            self._hear(listening.result())
        return bool(done)

    def _hear(self, entries: Iterable[Entry]) -> None:
        for id_, fields in entries:
            self._bell_id = id_
            if b"grant" in fields:
                self._grants[fields[b"grant"].decode()] = fields[b"token"].decode()
            elif b"balance" in fields:
                self._balance_now = True
            elif (fid := fields[b"news"].decode()) in self._held:
                self._held[fid].more = True
                self._ready[fid] = None

    async def _claim(self) -> None:
        while self._grants:
            some = dict(islice(self._grants.items(), AT_ONCE))
            keys = [(self._names.stream(fid), self._names.state(fid)) for fid in some]
            words = (self._names.base, self._inline, self._names.group, self._id)
            answers = await self._connection.for_each(CLAIM, keys, words, list(some.items()))
            refused = []
            for (fid, grant), answer in zip(some.items(), answers, strict=True):
                if self._grants.get(fid) == grant:
                    del self._grants[fid]
                if answer[0] == b"ok" and not self._holds(fid, grant):
                    _, username, epoch, acked = answer
                    place = Position(0, int(acked))
                    self._held[fid] = Holding(fid, username.decode(), grant, int(epoch), place)
                    self._ready[fid] = None
                elif answer[0] != b"ok" and fid not in self._grants:
                    refused.append(fid)
            await self._unhold(refused)
            if self._connection.in_cluster and (mine := [fid for fid in some if fid in self._held]):
                await self._connection.command("SADD", self._names.held(self._id), *mine)

    async def _read(self, max_events: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._connection.in_cluster and now - self._looked_at >= LOOK_ALL_S:
            self._look_everywhere()
            self._looked_at = now
        unread = (one for fid in self._ready if not (one := self._held[fid]).read and one.leaves_until <= now)
        some = list(islice(unread, AT_ONCE))
        if not some:
            return
        share = max(1, max_events // len(some))
        keys = [(self._names.stream(one.fid), self._names.state(one.fid)) for one in some]
        asked = [(one.token, f"{one.last.epoch}-{one.last.offset}", share) for one in some]
        answers = await self._connection.for_each(READ, keys, (self._names.group, self._id, READ_BYTES), asked)
        for holding, answer in zip(some, answers, strict=True):
            if self._held.get(holding.fid) is not holding:
                continue
            if answer[0] != b"ok":
                await self._lose(holding, gone=answer[0] == b"gone")
                continue
            for entry in holding.take_in(answer[2]):
                self._witness.taken(holding, entry)
            holding.more = answer[1] == b"1"
            if not (holding.more or holding.read):
                self._ready.pop(holding.fid, None)

    def _deal(self, max_events: int) -> list[Delivery]:
        """What was read, one batch of each execution in turn."""
        taken: dict[str, list[Batch]] = {}
        now = asyncio.get_running_loop().time()
        waiting = deque(fid for fid in self._ready if (one := self._held[fid]).read and one.leaves_until <= now)
        left = max_events
        while waiting and left > 0:
            fid = waiting.popleft()
            holding = self._held[fid]
            if taken and holding.read[0].events > left:
                self._ready.move_to_end(fid, last=False)
                break
            left -= holding.read[0].events
            taken.setdefault(fid, []).append(holding.give())
            if holding.read:
                waiting.append(fid)
        for fid in taken:
            holding = self._held[fid]
            if holding.read or holding.more:
                self._ready.move_to_end(fid)
            else:
                self._ready.pop(fid, None)
        return [Delivery(fid, self._held[fid].username, batches) for fid, batches in taken.items()]

    # acknowledging -------------------------------------------------------------------------------------------------

    async def ack(self, positions: Mapping[str, Position]) -> None:
        for fid, position in positions.items():
            self._witness.stored(fid, position)
        patience = Patience()
        while True:
            try:
                await self._beat()
                break
            except RedisUnavailable as exc:
                await patience.after(exc)
        todo = list(positions.items())
        for start in range(0, len(todo), AT_ONCE):
            await self._acknowledge(todo[start : start + AT_ONCE])

    async def _acknowledge(self, positions: Sequence[tuple[str, Position]]) -> None:
        keys, asked = [], []
        for fid, position in positions:
            names, holding = self._names, self._held.get(fid)
            entry = holding.up_to(position) if holding else None
            token = holding.token if holding and entry else NO_TOKEN
            place, size = (entry.position, entry.size) if entry else (position, 0)
            since = holding.after(position).epoch if holding else 0
            bytes_key = names.bytes(fid, in_cluster=self._connection.in_cluster)
            keys.append((names.stream(fid), names.state(fid), names.producers(fid), names.closed(fid), bytes_key))
            asked.append((fid, token, place.epoch, place.offset, size, since, names.room(fid)))
        words = (self._names.base, self._inline, self._names.group, self._id, TOMBSTONE_MS, IDLE_MS)
        answers = await self._connection.for_each(ACK, keys, words, asked, persist=True)
        over = []
        for (fid, position), question, answer in zip(positions, asked, answers, strict=True):
            holding = self._held.get(fid)
            if answer == b"over":
                over.append(fid)
                self._witness.forget(fid)
                self._drop(fid)
            elif holding is not None and holding.token == question[1]:
                if answer == b"ok":
                    holding.forget(position)
                    if holding.leaves_until and not holding.given:
                        await self._give_away([fid])
                else:
                    await self._lose(holding, gone=answer == b"gone")
            elif answer == b"gone":
                await self._witness.tell_late(self._id, fid)
        if self._connection.in_cluster and positions:
            fids = " ".join(fid for fid, _ in positions)
            await self._connection.persistently(
                PUBLISH, [self._names.consumers], self._names.base, self._id, " ".join(over), fids
            )

    async def release(self, fid: str) -> None:
        if fid in self._held or fid in self._grants:
            await self._give_away([fid])

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None
        self._held.clear()
        self._ready.clear()
        self._grants.clear()
        if self._joined:
            with contextlib.suppress(TransportUnavailable):
                await self._connection.run(LEAVE, [self._names.consumers], self._names.base, self._id)

    # holding -------------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Says that this consumer lives, when it's time; joins the others when they don't know it."""
        async with self._beating:
            now = asyncio.get_running_loop().time()
            if now - self._beaten_at < BEAT_S and not self._balance_now:
                return
            known, incarnation, living, total, mine = await self._say_alive()
            self._reached = True
            if self._joined and (known == b"0" or incarnation.decode() != self._incarnation):
                await self._begin_again(remembers=incarnation.decode() == self._incarnation)
                _, incarnation, living, total, mine = await self._say_alive()
            self._incarnation = incarnation.decode()
            self._joined, self._beaten_at, self._balance_now = True, now, False
            await self._balance(int(living), int(total), int(mine))

    async def _say_alive(self) -> list[bytes]:
        answer: list[bytes] = await self._connection.run(
            BEAT,
            [self._names.consumers],
            self._names.base,
            self._id,
            int(LEASE_S * 1000),
            int(not self._joined),
            f"{socket.gethostname()}:{os.getpid()}",
            uuid.uuid4().hex,
            self._bell_id,
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
            for holding in self._held.values():
                # Nobody else has these.
                if holding.read:
                    batches = [holding.give() for _ in range(len(holding.read))]
                    self._orphans.append(Delivery(holding.fid, holding.username, batches))
        await self._connection.run(LEAVE, [self._names.consumers], self._names.base, self._id)
        self._held.clear()
        self._ready.clear()
        self._grants.clear()
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        self._id = uuid.uuid4().hex
        self._bell, self._bell_id = self._names.bell(self._id), "0-0"
        if not remembers:
            await self._witness.tell_all(self._id)
            await find_readers(self._connection, self._names)
        self._joined = False

    async def _balance(self, living: int, total: int, mine: int) -> None:
        """Gives away what is more than this consumer's share: at once what it has nothing of, the rest when stored."""
        now = asyncio.get_running_loop().time()
        for holding in self._held.values():
            if holding.leaves_until <= now:
                holding.leaves_until = 0.0
        excess = mine - math.ceil(total / max(1, living))
        if excess <= SLACK * mine:
            return
        free = [*self._grants, *(fid for fid, holding in self._held.items() if not holding.given)][:excess]
        busy = (one for one in self._held.values() if one.given and one.stays_until <= now)
        for holding in islice(busy, excess - len(free)):
            holding.leaves_until, holding.stays_until = now + LEAVING_S, now + STAYING_S
        await self._give_away(free)

    async def _give_away(self, fids: Sequence[str]) -> None:
        held = [holding for fid in fids if (holding := self._held.get(fid)) is not None]
        keys = [(self._names.state(holding.fid),) for holding in held]
        for fid in fids:
            self._drop(fid)
        await self._connection.for_each(RELEASE, keys, (), [(holding.token,) for holding in held], persist=True)
        await self._unhold(fids, onward=True)

    async def _lose(self, holding: Holding, *, gone: bool) -> None:
        """Lets go of what isn't here any more, or is read under another grant."""
        grant = self._grants.get(holding.fid, holding.token)
        self._drop(holding.fid)
        if gone:
            await self._unhold([holding.fid])
        else:
            # Another's is newer than ours, and then this is refused; an older one is there after a failover only.
            self._grants[holding.fid] = grant

    def _holds(self, fid: str, token: str) -> bool:
        return fid in self._held and self._held[fid].token == token

    def _drop(self, fid: str) -> None:
        self._held.pop(fid, None)
        self._ready.pop(fid, None)
        self._grants.pop(fid, None)

    async def _unhold(self, fids: Sequence[str], *, onward: bool = False) -> None:
        if fids:
            await self._connection.persistently(
                UNHOLD, [self._names.consumers], self._names.base, self._id, int(onward), *fids
            )

    def _look_everywhere(self) -> None:
        for fid, holding in self._held.items():
            holding.more = True
            self._ready[fid] = None
