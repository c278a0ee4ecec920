"""What an event queue is told and what it answers: plain values that travel between its process and its clients."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Bounds(NamedTuple):
    """Where producers begin to wait.

    Attributes:
        max_events: unacknowledged per execution. max_bytes: unacknowledged in the queue.
    """

    max_events: int
    max_bytes: int


class Outcome(StrEnum):
    """What became of a put."""

    TAKEN = "taken"
    CLOSED = "closed"
    OVERTAKEN = "overtaken"
    LOST = "lost"
    AGAIN = "again"


class PutAnswer(NamedTuple):
    """What a put tells its producer.

    Attributes:
        epoch: of this queue. offset: of its batch. shared: other producers began after this one.
    """

    outcome: Outcome
    epoch: int
    offset: int = 0
    shared: bool = False


class Taken(NamedTuple):
    """What a take gives of one execution: parcels as ``(offset, wire, producer, seq)``.

    Attributes:
        attempt: the highest that is known to have put something, 0 when none has.
    """

    fid: str
    username: str
    parcels: list[tuple[int, bytes, str, int]]
    attempt: int = 0


class ReaderFigures(NamedTuple):
    """What a queue says of one consumer.

    Attributes:
        id: of the consumer. executions: it reads now. lag_events: of these, unacknowledged.
        lag_s: age of the oldest of them. acked_at: when it last acknowledged (UTC, seconds since the epoch), or None.
    """

    id: str
    executions: int
    lag_events: int
    lag_s: float
    acked_at: float | None


class QueueFigures(NamedTuple):
    """What a queue says of itself.

    Attributes:
        waiting_events: unacknowledged. oldest_s: age of the oldest of them.
        waiting_producers: puts that wait for room. readers: living consumers.
    """

    waiting_events: int
    oldest_s: float
    waiting_producers: int
    readers: list[ReaderFigures]
