"""What the transports that keep their events in :class:`~kodosumi.transport.queue.EventQueue` have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Self

from ..error import TransportUnavailable
from ..events import Position
from .answers import QueueFigures, ReaderFigures
from .base import CommitFeed, ConsumerStatus, EventConsumer, EventProducer, ProducerTicket, TransportStatus
from .consumer import QueueConsumer
from .feed import QueueFeed
from .link import QueueLinks
from .producer import QueueProducer

STATUS_TIMEOUT_S = 5.0


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

    def producer(self, fid: str, username: str, attempt: int | None = None) -> EventProducer:
        return QueueProducer(self._links, fid, username, self.name, self._options, attempt=attempt)

    def producer_from(self, ticket: ProducerTicket) -> EventProducer:
        past = None if ticket.epoch is None else Position(ticket.epoch, ticket.offset)
        return QueueProducer(
            self._links, ticket.fid, ticket.username, self.name, self._options, past, attempt=ticket.attempt
        )

    def consumer(self) -> EventConsumer:
        return QueueConsumer(self._links)

    def commits(self) -> CommitFeed:
        return QueueFeed(self._links)

    async def check(self) -> None:
        # The queues are ours, and made when they are first needed: nobody can have set them up wrongly.
        return

    async def status(self) -> TransportStatus:
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                figures: list[QueueFigures] = await asyncio.gather(
                    *(link.call("status") for link in await self._links.all())
                )
        except TimeoutError as exc:
            raise TransportUnavailable(f"The event queue did not answer for {STATUS_TIMEOUT_S:.0f} s.") from exc
        readers = _merged(reader for queue in figures for reader in queue.readers)
        return TransportStatus(
            waiting_events=sum(queue.waiting_events for queue in figures),
            oldest_s=max(queue.oldest_s for queue in figures),
            consumers=len(readers),
            readers=readers,
            waiting_producers=sum(queue.waiting_producers for queue in figures),
        )

    async def close(self) -> None:
        """Nothing is held: connections belong to the process, shared with everything else in it."""


def _merged(figures: Iterable[ReaderFigures]) -> tuple[ConsumerStatus, ...]:
    """Each consumer once, with what all queues say of it."""
    by_id: dict[str, list[ReaderFigures]] = {}
    for one in figures:
        by_id.setdefault(one.id, []).append(one)
    return tuple(
        ConsumerStatus(
            id=id_,
            name=id_.rpartition(":")[0],
            executions=sum(one.executions for one in ones),
            lag_events=sum(one.lag_events for one in ones),
            lag_s=max(one.lag_s for one in ones),
            last_commit_at=max((one.acked_at for one in ones if one.acked_at is not None), default=None),
        )
        for id_, ones in sorted(by_id.items())
    )
