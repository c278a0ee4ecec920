"""The contract of a transport: from whoever runs user code to the spooler, and a wake-up back to the panels.

A member of this family is one file: ``memory.py``, ``ray.py``, later ``redis.py``. All pass ``tests/transport``.
Wire form of a batch: :func:`kodosumi.events.encode_events`. The transport never looks into a payload.

Delivery is at least once and in order; storing exactly once is the store's part (it keeps the :class:`Position`
of what it has committed and drops what lies at or below it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ..events import Batch, Event, Position


class Delivery(NamedTuple):
    """What a consumer got of one execution: batches in order, not yet acknowledged."""

    fid: str
    username: str
    batches: Sequence[Batch]


@dataclass(frozen=True, slots=True)
class ProducerTicket:
    """Lets another process produce for an execution: small, picklable, no connection in it.

    Attributes:
        fid: the execution.
        username: role id of its owner.
        transport: name of the family member (a key of ``transport.TRANSPORTS``).
        options: what that member needs to connect (plain values).
        max_event_bytes: largest payload of one event.
        epoch: the incarnation the execution began in, or None before its first put.
        offset: place in that epoch of the last batch that the ticket's maker knows to be accepted.
        attempt: of the execution, as a fencing token; None for whoever belongs to no attempt.
    """

    fid: str
    username: str
    transport: str
    # Not in any log: it may name a password.
    options: Mapping[str, Any] = field(repr=False)
    epoch: int | None = None
    offset: int = 0
    max_event_bytes: int = 268_435_456
    attempt: int | None = None


class EventProducer(Protocol):
    """Puts one execution's events into the transport, from one process, one put at a time."""

    fid: str

    async def put(self, events: Sequence[Event]) -> None:
        """Returns once all of ``events`` are safely in the transport, in order after this producer's earlier ones.

        Waits while the execution's or the transport's bound is reached (back-pressure), for as long as it takes; a
        batch of any size is taken when nothing of its execution is waiting. A lost answer is retried inside, and the
        retry is recognised: no event is taken twice. An empty sequence is a no-op.

        Raises:
            ExecutionClosed: the terminal event was accepted before; nothing of this call was taken.
            AttemptOver: (an ExecutionClosed) a producer of a later attempt has put something; nothing of this call
                was taken. For as long as the transport remembers the execution; a producer without an attempt is
                never refused for this reason, and says nothing about attempts.
            TransportLost: the transport restarted and lost what this execution had accepted but unstored there.
                The producer is at the new epoch afterwards: a further put is taken, so that the run can be ended.
            TransportUnavailable: not reachable for the retry time; the events are not known to be in.
        """
        ...

    @property
    def ticket(self) -> ProducerTicket:
        """What another process needs to produce for the same execution."""
        ...

    async def close(self) -> None:
        """Releases what this producer holds; idempotent. Puts nothing."""
        ...


class EventConsumer(Protocol):
    """Reads the events of all executions, one live reader per execution at a time."""

    async def take(self, max_events: int, wait_s: float) -> list[Delivery]:
        """What is waiting, at most one delivery per execution; ``[]`` when nothing came within ``wait_s`` seconds.

        At least one batch is returned when any waits, even if it is larger than ``max_events``. What was taken is
        not given again to this consumer, and to another one only after this one was closed or has not been heard
        of (no take, ack) for the lease time; then all unacknowledged batches are given again, in order, before newer.

        Raises:
            TransportUnavailable: not reachable now; call again.
        """
        ...

    async def ack(self, positions: Mapping[str, Position]) -> None:
        """Forgets everything up to each execution's position and wakes the followers; call it after the commit.

        Idempotent; unknown executions and positions below what was acknowledged are ignored.

        Raises:
            TransportUnavailable: not reachable now; the batches may be delivered again.
        """
        ...

    async def release(self, fid: str) -> None:
        """Gives an execution back unacknowledged, to be delivered again (also to this consumer), in order."""
        ...

    async def close(self) -> None:
        """Gives back every execution at once; idempotent."""
        ...


class CommitFeed(Protocol):
    """Tells a panel which executions have new committed events, without polling."""

    async def wait(self) -> frozenset[str]:
        """The executions acknowledged since the last call (or since the feed began); waits until there is one.

        May name too many, and after a reconnection it may have missed some: then it raises once.

        Raises:
            TransportUnavailable: the feed broke; executions followed must be read again, then call again.
        """
        ...

    async def close(self) -> None:
        """Ends a waiting call with TransportUnavailable; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """What health shows of one consumer.

    Attributes:
        id: its own name for itself. name: host and process it runs in.
        executions: how many it reads now.
        lag_events: accepted of them and not yet acknowledged.
        lag_s: age of the oldest of those in seconds, 0.0 when none.
        last_commit_at: when it last acknowledged something (UTC, seconds since the epoch), None before the first.
    """

    id: str
    name: str
    executions: int
    lag_events: int
    lag_s: float
    last_commit_at: float | None


@dataclass(frozen=True, slots=True)
class TransportStatus:
    """What health shows of a transport.

    Attributes:
        waiting_events: accepted and not yet acknowledged.
        oldest_s: age of the oldest of them in seconds, 0.0 when none.
        consumers: consumers heard of within the lease time.
        readers: what each of them does, where the transport knows.
        waiting_producers: producers that wait for room, where the transport knows.
    """

    waiting_events: int
    oldest_s: float
    consumers: int
    readers: tuple[ConsumerStatus, ...] = ()
    waiting_producers: int = 0


class Transport(Protocol):
    """A family member: makes producers, consumers and feeds. Making them does no I/O; their first call connects."""

    name: str

    def producer(self, fid: str, username: str, attempt: int | None = None) -> EventProducer:
        """A producer for one execution of the role ``username``.

        Args:
            attempt: which attempt of the execution it speaks for (1, 2, …), where late events of an earlier one
                must not mix with those of a later one; its tickets carry it on.
        """
        ...

    def producer_from(self, ticket: ProducerTicket) -> EventProducer:
        """A producer for the ticket's execution that notices when the transport lost events since the ticket."""
        ...

    def consumer(self) -> EventConsumer:
        """A new consumer with an id of its own."""
        ...

    def commits(self) -> CommitFeed:
        """A new feed that begins now."""
        ...

    async def check(self) -> None:
        """Returns when nothing that can be told at once speaks against using it; what answers later is waited for.

        Raises:
            ConfigurationError: it can't be used, and waiting won't mend that; names the remedy.
            TransportUnavailable: not reachable now, with the reason.
        """
        ...

    async def status(self) -> TransportStatus:
        """Figures for health.

        Raises:
            TransportUnavailable: not reachable now, with the reason.
        """
        ...

    async def close(self) -> None:
        """Closes this process's connections; what is in the transport stays. Idempotent."""
        ...
