"""What an event queue holds: lines of parcels, one line per execution, and who reads or waits at it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from .answers import PutAnswer

MAX_PRODUCERS = 4096
"""Producers remembered per execution, to recognise their retries."""


class Parcel(NamedTuple):
    """A batch as the queue keeps it: its events stay encoded.

    Attributes:
        offset: its place in the queue. events: how many are in it. wire: the encoded events.
        ends: whether the terminal event is among them.
        producer: who put it. seq: that producer's number for it.
        accepted_at: the loop's clock in seconds.
    """

    offset: int
    events: int
    wire: bytes
    ends: bool
    producer: str
    seq: int
    accepted_at: float


class Accepted(NamedTuple):
    """What a queue remembers of a producer: its last number and where that batch went."""

    seq: int
    offset: int


@dataclass(slots=True)
class Waiter:
    """A put that waits for room; whoever makes room accepts it on the spot, in order.

    Attributes:
        attempt: which one it speaks for; None: none.
        granted: gets what the put answers with; cancelled when the put is withdrawn.
    """

    producer: str
    seq: int
    count: int
    ends: bool
    wire: bytes
    attempt: int | None
    granted: asyncio.Future[PutAnswer]


@dataclass(slots=True, eq=False)
class Reader:
    """A consumer as the queue knows it.

    Attributes:
        id: its own name for itself.
        heard_at: the loop's clock at its last call. calls: its takes that are held here now.
        ready: lines it reads that have something to give, next first.
        lines: all lines it reads.
        wake: set when a held take should look again. gone: it left.
        acked_at: when it last acknowledged something (UTC, seconds since the epoch), None before the first.
    """

    id: str
    heard_at: float
    calls: int = 0
    ready: OrderedDict[str, Line] = field(default_factory=OrderedDict)
    lines: dict[str, Line] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False
    acked_at: float | None = None

    def alive(self, now: float, lease_s: float) -> bool:
        """Whether its lease holds."""
        return not self.gone and (self.calls > 0 or now - self.heard_at <= lease_s)


@dataclass(slots=True, eq=False)
class Line:
    """One execution's unacknowledged parcels, in order.

    Attributes:
        held: given to the reader. waiting: not given to anyone.
        events: how many are unacknowledged.
        reader: who alone gets its parcels now.
        closed: the terminal event was accepted.
        producers: by id, in order of their first put.
        waiters: puts that wait for room, first come first served.
        attempt: the highest that came with something, 0 when none did: nothing of a lower one gets in.
    """

    fid: str
    username: str
    held: deque[Parcel] = field(default_factory=deque)
    waiting: deque[Parcel] = field(default_factory=deque)
    events: int = 0
    reader: Reader | None = None
    closed: bool = False
    producers: OrderedDict[str, Accepted] = field(default_factory=OrderedDict)
    waiters: deque[Waiter] = field(default_factory=deque)
    attempt: int = 0

    def add(self, parcel: Parcel) -> None:
        """Takes a parcel in."""
        self.waiting.append(parcel)
        self.events += parcel.events
        self.closed = self.closed or parcel.ends
        self.producers[parcel.producer] = Accepted(parcel.seq, parcel.offset)
        if len(self.producers) > MAX_PRODUCERS:
            self.producers.popitem(last=False)

    def give_back(self) -> None:
        """Makes everything that was given wait again, in order, without a reader."""
        self.waiting.extendleft(reversed(self.held))
        self.held.clear()
        if self.reader is not None:
            self.reader.lines.pop(self.fid, None)
            self.reader.ready.pop(self.fid, None)
            self.reader = None

    def drop_until(self, offset: int) -> int:
        """Forgets parcels up to an offset and returns their bytes."""
        size_bytes = 0
        for parcels in (self.held, self.waiting):
            while parcels and parcels[0].offset <= offset:
                parcel = parcels.popleft()
                size_bytes += len(parcel.wire)
                self.events -= parcel.events
        return size_bytes

    @property
    def oldest(self) -> Parcel | None:
        """The first unacknowledged parcel."""
        return self.held[0] if self.held else self.waiting[0] if self.waiting else None

    def shared_by(self, producer: str) -> bool:
        """Whether another producer began after this one: it may know of later parcels."""
        return next(reversed(self.producers), producer) != producer
