"""Transport ``ray``: a few detached queue actors shared by all executions, found by name."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from .. import cluster
from ..config import Settings, process_settings
from ..error import ClusterError, TransportUnavailable
from .answers import Bounds
from .link import QueueLink
from .queued import QueuedTransport
from .ray_queue import agreed_count, get_or_make


class RayTransport(QueuedTransport):
    """Keeps events in queue actors of the Ray cluster.

    Args:
        queues: how many to make where there are none yet.
        max_events: unacknowledged events of one execution before its producers wait.
        max_bytes: unacknowledged bytes of one queue before all its producers wait.
        namespace: Ray namespace of the actors.
        settings: to join the cluster with; the process's own by default.
    """

    name = "ray"

    def __init__(
        self,
        queues: int = 1,
        max_events: int = 20_000,
        max_bytes: int = 268_435_456,
        namespace: str = cluster.NAMESPACE,
        settings: Settings | None = None,
    ) -> None:
        options = {"queues": queues, "max_events": max_events, "max_bytes": max_bytes, "namespace": namespace}
        super().__init__(RayLinks(queues, Bounds(max_events, max_bytes), namespace, settings), options)

    @classmethod
    def from_settings(cls, settings: Settings) -> RayTransport:
        """For the family's factory."""
        return cls(settings.ray_queues, settings.queue_max_events, settings.queue_max_bytes, settings=settings)


class RayLinks:
    """Joins the cluster at the first call and finds or makes its queues. May be used from any loop and thread."""

    def __init__(self, queues: int, bounds: Bounds, namespace: str, settings: Settings | None) -> None:
        self._wanted = queues
        self._bounds = bounds
        self._namespace = namespace
        self._settings = settings or process_settings()
        self._found: Sequence[QueueLink] = ()
        self._finding = threading.Lock()

    async def all(self) -> Sequence[QueueLink]:
        if not self._found:
            try:
                await cluster.attached(self._settings)
                await cluster.membership.blocking(self._find)
            except (ClusterError, RayError, ValueError, ConnectionError) as exc:
                raise TransportUnavailable(f"The event queues cannot be found: {exc}") from exc
        return self._found

    def _find(self) -> None:
        # Outside the lock: it may never return from a cluster that is gone.
        count = agreed_count(self._wanted, self._namespace)
        with self._finding:
            if not self._found:
                self._found = [RayLink(n, count, self._bounds, self._namespace, self._settings) for n in range(count)]


class RayLink:
    """Calls one queue actor; makes it when it's missing, on whatever cluster is there.

    Args:
        index: its number. count: of all queues, as agreed on the cluster.
    """

    def __init__(self, index: int, count: int, bounds: Bounds, namespace: str, settings: Settings) -> None:
        self._index = index
        self._count = count
        self._bounds = bounds
        self._namespace = namespace
        self._settings = settings
        self._actor: Any = None
        self._generation = -1

    async def call(self, method: str, *args: Any) -> Any:
        answer = None
        try:
            if self._actor is None or self._generation != cluster.membership.generation:
                await self._connect()
            with cluster.membership.call():
                answer = getattr(self._actor, method).remote(*args)
            return await cluster.membership.reply(answer)
        except RayActorError as exc:
            # It restarts by itself, unless someone has removed it for good: then it's made anew.
            self._actor = None
            raise TransportUnavailable("The event queue was restarted or is away.") from exc
        except (ClusterError, RayError, ValueError, ConnectionError) as exc:
            self._actor = None
            raise TransportUnavailable(f"The event queue cannot be reached: {exc}") from exc
        except asyncio.CancelledError:
            # Nobody waits for the answer: a held call must not take or bring anything any more.
            with contextlib.suppress(ClusterError, RayError, ValueError), cluster.membership.call():
                if answer is not None:
                    ray.cancel(answer)
            raise

    async def _connect(self) -> None:
        await cluster.attached(self._settings)
        # Before: a cluster that is left meanwhile makes it outdated, never the other way round.
        self._generation = cluster.membership.generation
        self._actor = await cluster.membership.blocking(self._get_or_make)

    def _get_or_make(self) -> Any:
        # A new cluster knows nothing of an agreement yet.
        agreed_count(self._count, self._namespace)
        return get_or_make(self._index, self._bounds, self._namespace)
