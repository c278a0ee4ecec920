"""The actor around an event queue, and how any process finds it by name or makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray

from .. import cluster
from ..events import Position
from .answers import Bounds, PutAnswer, QueueFigures, Taken
from .queue import EventQueue
from .recollection import Trace

CALLS_AT_ONCE = 100_000
"""Most of them are held: a waiting producer or reader costs the actor nothing."""

COUNT_KEY = "transport/{namespace}/queues"


class QueueActor:
    """Serves one :class:`EventQueue` to the cluster; each method is the queue's."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._made: EventQueue | None = None

    @property
    def _queue(self) -> EventQueue:
        # Not in __init__, which doesn't run on the actor's event loop.
        if self._made is None:
            self._made = EventQueue(self._bounds)
        return self._made

    async def put(
        self, fid: str, username: str, producer: str, seq: int, past: Position | None, *rest: Any
    ) -> PutAnswer:
        return await self._queue.put(fid, username, producer, seq, past, *rest)

    async def take(self, consumer: str, epoch: int, max_events: int, wait_s: float) -> tuple[int, list[Taken] | None]:
        return await self._queue.take(consumer, epoch, max_events, wait_s)

    async def tell(self, consumer: str, traces: Mapping[str, Trace]) -> int:
        return self._queue.tell(consumer, traces)

    async def ack(self, consumer: str, positions: Sequence[tuple[str, int, int]]) -> None:
        self._queue.ack(consumer, positions)

    async def release(self, consumer: str, fid: str) -> None:
        self._queue.release(consumer, fid)

    async def leave(self, consumer: str) -> None:
        self._queue.leave(consumer)

    async def commits(self, epoch: int, cursor: int, age_s: float, wait_s: float) -> tuple[int, int, list[str], bool]:
        return await self._queue.commits(epoch, cursor, age_s, wait_s)

    async def status(self) -> QueueFigures:
        return self._queue.status()


def agreed_count(wanted: int, namespace: str) -> int:
    """How many queues this cluster has; the first process to ask decides. Blocks for some milliseconds."""
    key = COUNT_KEY.format(namespace=namespace)
    cluster.publish(key, str(wanted).encode(), overwrite=False)
    return int(cluster.published(key) or wanted)


def get_or_make(index: int, bounds: Bounds, namespace: str) -> Any:
    """The handle of the queue with this number. Blocks until Ray knows it, not until it runs."""
    return (
        ray.remote(QueueActor)
        .options(
            name=f"queue-{index}",
            namespace=namespace,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            label_selector=cluster.ON_WORKING_NODES,
            max_restarts=-1,
            max_concurrency=CALLS_AT_ONCE,
        )
        .remote(bounds)
    )
