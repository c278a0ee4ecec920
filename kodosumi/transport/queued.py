"""What the transports that keep their events in :class:`~kodosumi.transport.queue.EventQueue` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from ..events import Position
from .base import CommitFeed, EventConsumer, EventProducer, ProducerTicket
from .consumer import QueueConsumer
from .feed import QueueFeed
from .link import QueueLinks
from .producer import QueueProducer


class QueuedTransport:
    """Makes producers, consumers and feeds; a member says how its queues are reached.

    Args:
        links: to all of its queues.
        options: plain arguments that make the same transport in another process.
    """

    name: str

    def __init__(self, links: QueueLinks, options: Mapping[str, Any]) -> None:
        self._links = links
        self._options = options

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """As a ticket says."""
        return cls(**options)

    def producer(self, fid: str, username: str) -> EventProducer:
        return QueueProducer(self._links, fid, username, self.name, self._options)

    def producer_from(self, ticket: ProducerTicket) -> EventProducer:
        past = None if ticket.epoch is None else Position(ticket.epoch, ticket.offset)
        return QueueProducer(self._links, ticket.fid, ticket.username, self.name, self._options, past)

    def consumer(self) -> EventConsumer:
        return QueueConsumer(self._links)

    def commits(self) -> CommitFeed:
        return QueueFeed(self._links)

    async def close(self) -> None:
        """Nothing is held: connections belong to the process, shared with everything else in it."""
