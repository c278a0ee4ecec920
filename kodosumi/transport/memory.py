"""Transport ``memory``: a queue in this process, shared by name, for tests and for trying things out.

The same queue as behind ``ray``, on a thread of its own, so that producers and consumers may use any event loop.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Sequence
from typing import Any

from ..config import Settings
from .answers import Bounds
from .link import QueueLink
from .queue import EventQueue
from .queued import QueuedTransport

DEFAULT_NAME = "default"
_queues: dict[str, EventQueue] = {}


class MemoryTransport(QueuedTransport):
    """Keeps events in this process; a ticket of it holds in the process that made it.

    Args:
        name: transports of equal names share what they keep.
        max_events: unacknowledged events of one execution before its producers wait.
        max_bytes: unacknowledged bytes before all producers wait. The first of a name decides the bounds.
    """

    name = "memory"

    def __init__(self, name: str = DEFAULT_NAME, max_events: int = 20_000, max_bytes: int = 268_435_456) -> None:
        options = {"name": name, "max_events": max_events, "max_bytes": max_bytes}
        super().__init__(_MemoryLinks(name, Bounds(max_events, max_bytes)), options)

    @classmethod
    def from_settings(cls, settings: Settings) -> MemoryTransport:
        """For the family's factory."""
        return cls(max_events=settings.queue_max_events, max_bytes=settings.queue_max_bytes)


class _MemoryLinks:
    """Finds the queue of a name, or makes it."""

    def __init__(self, name: str, bounds: Bounds) -> None:
        self._link = _MemoryLink(name, bounds)

    async def all(self) -> Sequence[QueueLink]:
        return [self._link]


class _MemoryLink:
    """Calls a queue on its thread."""

    def __init__(self, name: str, bounds: Bounds) -> None:
        self._name = name
        self._bounds = bounds

    async def call(self, method: str, *args: Any) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._call(method, args), _queue_loop()))

    async def _call(self, method: str, args: Sequence[Any]) -> Any:
        # On the queues' own thread, which makes looking and making one step.
        queue = _queues.get(self._name)
        if queue is None:
            queue = _queues[self._name] = EventQueue(self._bounds)
        answer = getattr(queue, method)(*args)
        return await answer if asyncio.iscoroutine(answer) else answer


_making_loop = threading.Lock()


def _queue_loop() -> asyncio.AbstractEventLoop:
    # The cache alone would let two threads make a loop each.
    with _making_loop:
        return _the_loop()


@functools.cache
def _the_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="kodosumi-memory-transport", daemon=True).start()
    return loop
