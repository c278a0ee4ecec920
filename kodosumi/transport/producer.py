"""The producer of the transports that use :class:`~kodosumi.transport.queue.EventQueue`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ..error import AttemptOver, ExecutionClosed, TransportLost, TransportUnavailable
from ..events import Event, Position, encode_events
from .answers import Outcome, PutAnswer
from .base import ProducerTicket
from .link import Patience, QueueLink, QueueLinks, place_of


class QueueProducer:
    """Puts one execution's events; usable from any event loop, one put at a time.

    Args:
        transport, options: for tickets.
        past: where the execution's last batch known to be accepted lies, None when it begins here.
        attempt: of the execution, that it speaks for; None: none.
    """

    def __init__(
        self,
        links: QueueLinks,
        fid: str,
        username: str,
        transport: str,
        options: Mapping[str, Any],
        past: Position | None = None,
        attempt: int | None = None,
    ) -> None:
        self.fid = fid
        self._username = username
        self._links = links
        self._transport, self._options = transport, options
        self._past = past
        self._attempt = attempt
        self._shared = False
        self._id = uuid.uuid4().hex
        self._seq = 0
        self._in_doubt: bytes | None = None

    @property
    def ticket(self) -> ProducerTicket:
        epoch, offset = self._past or (None, 0)
        return ProducerTicket(
            self.fid, self._username, self._transport, self._options, epoch, offset, attempt=self._attempt
        )

    async def put(self, events: Sequence[Event]) -> None:
        if not events:
            return
        wire = encode_events(events)
        # The same batch again after it was left in doubt is the same batch for the queue too.
        uncertain = self._in_doubt == wire
        if not uncertain:
            self._seq += 1
        ends = any(event.ends_execution for event in events)
        answer = await self._deliver(uncertain, len(events), ends, wire)
        if answer.outcome is Outcome.CLOSED:
            raise ExecutionClosed(f"Execution {self.fid} has its end; nothing may follow.", self.fid)
        if answer.outcome is Outcome.OVERTAKEN:
            raise AttemptOver(f"A later attempt of {self.fid} has begun; attempt {self._attempt} is over.", self.fid)
        self._past = Position(answer.epoch, answer.offset)
        self._shared = answer.shared
        if answer.outcome is Outcome.LOST:
            raise TransportLost(f"The event queue was restarted; events of {self.fid} are lost.", self.fid)

    async def close(self) -> None:
        return

    async def _deliver(self, uncertain: bool, count: int, ends: bool, wire: bytes) -> PutAnswer:
        patience = Patience()
        self._in_doubt = wire
        while True:
            try:
                answer = PutAnswer(
                    *await (await self._link()).call(
                        "put",
                        self.fid,
                        self._username,
                        self._id,
                        self._seq,
                        self._past,
                        self._shared,
                        uncertain,
                        count,
                        ends,
                        wire,
                        self._attempt,
                    )
                )
            except TransportUnavailable as exc:
                exc.fid = self.fid
                uncertain = True
                await patience.after(exc)
                continue
            if answer.outcome is not Outcome.AGAIN:
                self._in_doubt = None
                return answer
            patience = Patience()

    async def _link(self) -> QueueLink:
        links = await self._links.all()
        return links[place_of(self.fid, len(links))]
