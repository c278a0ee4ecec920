"""Ends an execution from outside: for whoever notices that its runner is gone. One end, whatever else arrives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ..error import ExecutionClosed, TransportLost, TransportUnavailable
from ..events import Event, EventKind, ExecutionState
from .base import EventProducer

logger = logging.getLogger(__name__)

RETRY_S = 1.0
LOSS_NOTICE = "The event queue was restarted: events of this run were lost."


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
            events.insert(0, Event.now(EventKind.ERROR, LOSS_NOTICE))
        except TransportUnavailable as exc:
            logger.warning("cannot end %s yet: %s", producer.fid, exc)
            await asyncio.sleep(RETRY_S)


def told_of_loss(events: Sequence[Event]) -> list[Event]:
    """Events as they may go out once earlier ones of their run were lost: an end among them becomes one that says so.

    A run with a hole in it isn't finished, whatever it returned, and a reader must never take it for whole.
    """
    if not events or not events[-1].ends_execution:
        return list(events)
    if events[-1].payload == ExecutionState.ERROR and any(event.payload == LOSS_NOTICE for event in events):
        return list(events)
    kept = [event for event in events[:-1] if event.kind != EventKind.FINAL]
    return [
        *kept,
        Event.now(EventKind.ERROR, LOSS_NOTICE),
        Event.now(EventKind.STATUS, ExecutionState.ERROR),
    ]
