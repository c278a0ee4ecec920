"""Notices that the cluster this process has joined is gone, and leaves it, so that another can be joined.

Left alone, Ray ends a process whose cluster has been away for a minute, and calls that wait for an answer wait for
good. Here they fail within seconds, and a panel, spooler or app outlives any Ray. Only for processes that joined
through :func:`~kodosumi.cluster.attach`: workers belong to their cluster and end with it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from ..error import ClusterError
from .finding import PROBE_TIMEOUT_S, split
from .member import end_node

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CHECK_S = 1.0
REFUSED_TWICE = 2
"""Nobody listens where the head was, so often in a row: it's gone."""

SILENT_S = 30.0
"""No connection at all for so long, as behind a broken network: it counts as gone."""

CALLS_END_S = 3.0
"""Longest wait for calls into Ray that block their thread, before it is left under them; some never return."""

GONE = "The Ray cluster is gone. It's joined again as soon as it is back."


class Membership:
    """This process's part in a cluster.

    Attributes:
        generation: rises with each cluster that is left; what was made in an earlier one is of no use.
        leaving: the cluster is gone and is being left.
        joined: how many clusters have been joined.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.joined = 0
        self.leaving = False
        self._changed = threading.Condition()
        self._inside = 0
        self._pending: set[asyncio.Future[None]] = set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Holds the cluster for a call into Ray, which must not be left meanwhile.

        Raises:
            ClusterError: it is being left.
        """
        with self._changed:
            if self.leaving:
                raise ClusterError(GONE)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    async def reply(self, reference: Any) -> Any:
        """What a remote call answers.

        Args:
            reference: its ``ObjectRef``.

        Raises:
            ClusterError: the cluster is gone. RayError: as the call failed.
        """
        return await self._unless_gone(asyncio.wrap_future(reference.future()))

    async def blocking(self, call: Callable[..., Answer], *args: Any) -> Answer:
        """What a call into Ray returns that blocks its thread.

        A thread of its own, left to itself when the cluster is gone: Ray may never return from such a call, and a
        shared pool would be used up.

        Raises:
            ClusterError: the cluster is gone. Exception: as the call failed.
        """
        answer: Future[Answer] = Future()
        answer.set_running_or_notify_cancel()
        threading.Thread(target=self._call, args=(answer, call, args), name="ray-call", daemon=True).start()
        return await self._unless_gone(asyncio.wrap_future(answer))

    def _call(self, answer: Future[Answer], call: Callable[..., Answer], args: Sequence[Any]) -> None:
        try:
            with self.call():
                result = call(*args)
        except BaseException as exc:
            answer.set_exception(exc)
        else:
            answer.set_result(result)

    async def _unless_gone(self, future: asyncio.Future[Answer]) -> Answer:
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.add(gone)
        try:
            if not self.leaving:
                either: set[asyncio.Future[Any]] = {future, gone}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            raise ClusterError(GONE)
        finally:
            self._pending.discard(gone)
            future.cancel()

    def leave(self) -> None:
        """Fails all that waits for the cluster and takes this process out of it."""
        with self._changed:
            self.leaving = True
            self.generation += 1
        try:
            self._wake_pending()
            with self._changed:
                if not self._changed.wait_for(lambda: not self._inside, CALLS_END_S):
                    logger.warning("%d calls into Ray don't end, leaving it all the same", self._inside)
            _shutdown()
        finally:
            self.leaving = False

    def _wake_pending(self) -> None:
        # A copy in one step: other threads add and remove.
        for future in list(self._pending):
            try:
                future.get_loop().call_soon_threadsafe(_settle, future)
            except RuntimeError:
                continue


membership = Membership()


def begin(address: str, lock: threading.Lock) -> None:
    """Watches the cluster just joined, on a thread of its own, and leaves it when it's gone.

    Args:
        address: of its head. lock: held while joining and leaving.
    """
    host, port = split(address)
    membership.joined += 1
    if port:
        arguments = (host, port, membership.joined, lock)
        threading.Thread(target=_watch, args=arguments, name="ray-watch", daemon=True).start()


def _watch(host: str, port: int, joined: int, lock: threading.Lock) -> None:
    refused, heard_at = 0, time.monotonic()
    while refused < REFUSED_TWICE and time.monotonic() - heard_at < SILENT_S:
        time.sleep(CHECK_S)
        if not _still_in(joined):
            return
        try:
            socket.create_connection((host, port), timeout=PROBE_TIMEOUT_S).close()
        except ConnectionRefusedError:
            refused += 1
        except OSError:
            refused = 0
        else:
            refused, heard_at = 0, time.monotonic()
    with lock:
        if _still_in(joined):
            logger.warning("Ray at %s:%d is gone, leaving it", host, port)
            membership.leave()


def _still_in(joined: int) -> bool:
    """Whether this is still the cluster joined then: somebody may have left it by hand, and joined another."""
    import ray

    return joined == membership.joined and bool(ray.is_initialized())


def _shutdown() -> None:
    import ray

    try:
        ray.shutdown()
    except Exception:
        # Half left is left: the next to join starts afresh, and it is in the log.
        logger.exception("Ray could not be left in order")
    end_node()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
