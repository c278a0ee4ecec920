"""Transport ``redis``: a stream per execution, and consumers that share the executions among themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from ...config import Settings
from ...error import ConfigurationError
from ...events import Position
from ..base import CommitFeed, EventConsumer, EventProducer, ProducerTicket, TransportStatus
from .address import Address
from .connection import Connection, RedisUnavailable
from .consumer import RedisStreamConsumer
from .feed import RedisCommitFeed
from .names import Names
from .producer import Bounds, RedisStreamProducer
from .survey import survey


class RedisTransport:
    """Keeps events in Redis.

    Args:
        url: as ``KODO_REDIS_URL``; a secret.
        prefix: of every key. group: the consumers that share the executions.
        block_ms: longest hold of a blocking read.
        max_events: unacknowledged events of one execution before its producers wait.
        max_bytes: unacknowledged bytes of all before all producers wait; in a cluster of one execution.

    Raises:
        ConfigurationError: one of them cannot be used.
    """

    name = "redis"

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        prefix: str = "kodo:events:",
        group: str = "spooler",
        block_ms: int = 1000,
        max_events: int = 10_000,
        max_bytes: int = 268_435_456,
    ) -> None:
        self._options = {
            "url": url,
            "prefix": prefix,
            "group": group,
            "block_ms": block_ms,
            "max_events": max_events,
            "max_bytes": max_bytes,
        }
        self._names = Names(prefix, group)
        self._connection = Connection(Address(url), block_ms)
        self._bounds = Bounds(max_events, max_bytes)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """For the family's factory."""
        return cls(
            settings.redis_url,
            settings.redis_stream_prefix,
            settings.redis_consumer_group,
            settings.redis_block_ms,
            settings.redis_max_stream_len,
            settings.queue_max_bytes,
        )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """As a ticket says."""
        return cls(**options)

    def producer(self, fid: str, username: str, attempt: int | None = None) -> EventProducer:
        return RedisStreamProducer(
            self._connection, self._names, self._bounds, fid, username, self._options, attempt=attempt
        )

    def producer_from(self, ticket: ProducerTicket) -> EventProducer:
        past = None if ticket.epoch is None else Position(ticket.epoch, ticket.offset)
        return RedisStreamProducer(
            self._connection,
            self._names,
            self._bounds,
            ticket.fid,
            ticket.username,
            self._options,
            past,
            ticket.attempt,
        )

    def consumer(self) -> EventConsumer:
        return RedisStreamConsumer(self._connection, self._names)

    def commits(self) -> CommitFeed:
        return RedisCommitFeed(self._connection, self._names)

    async def check(self) -> None:
        try:
            # A script, so that a user without the right to run one is found out too.
            await self.status()
        except RedisUnavailable as exc:
            if exc.permanent:
                raise ConfigurationError(str(exc)) from exc
            raise

    async def status(self) -> TransportStatus:
        return await survey(self._connection, self._names)

    async def close(self) -> None:
        await self._connection.close()
