"""Ends an execution from outside: for whoever notices that its runner is gone. One end, whatever else arrives."""

from __future__ import annotations

import asyncio
import logging

from ..error import ExecutionClosed, TransportLost, TransportUnavailable
from ..events import Event, EventKind, ExecutionState
from .base import EventProducer

logger = logging.getLogger(__name__)

RETRY_S = 1.0


async def put_end(producer: EventProducer, reason: str) -> bool:
    """Puts ``error`` with the reason and status ``error``, behind everything the execution has in the transport.

    Waits for as long as the transport can't be reached: an execution without an end is worse than a late one.

    Returns:
        False when the execution had its terminal event before.
    """
    events = [
        Event.now(EventKind.ERROR, reason),
        Event.now(EventKind.STATUS, ExecutionState.ERROR),
    ]
    while True:
        try:
            await producer.put(events)
            return True
        except ExecutionClosed:
            return False
        except TransportLost:
            notice = "The event queue was restarted: events of this run were lost."
            events.insert(0, Event.now(EventKind.ERROR, notice))
        except TransportUnavailable as exc:
            logger.warning("cannot end %s yet: %s", producer.fid, exc)
            await asyncio.sleep(RETRY_S)
