"""Follows executions for the viewers of one panel process: one reader per execution, whatever the number of viewers.

The store is the only source; the transport's commit feed says when to look. Nothing polls per viewer: a follower
reads once per wake-up, makes each frame's bytes once and keeps the newest ones in a bounded ring. A viewer only holds
a place in the stream: one that is behind the ring reads pages from the store by itself, so a slow viewer costs no
memory and holds nobody up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..error import ExecutionNotFound, StoreUnavailable, TransportUnavailable
from ..events import EventKind
from ..log import outliving
from ..store import Execution, ExecutionStore
from ..transport import CommitFeed, Transport
from .follower import Follower, Viewer
from .sse import ALIVE, END, RETRY

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

HEARTBEAT_S = 3.0
"""Seconds between two ``alive`` comments of an idle stream, and between two sweeps while the feed is down."""

SAMPLE_S = 0.02
"""Shortest time between two measured events: a thousand viewers cost no more than one."""

_SAFETY_BEATS = 10
_FIRST_RETRY_S = 0.1


class Hub:
    """The followers of one panel process.

    Args:
        store: where events are read from.
        transport: whose commit feed wakes the followers.
        heartbeat_s: seconds between two ``alive`` comments.
        sent: is told how old an event was when a viewer's stream had sent it on, in seconds; see ``SAMPLE_S``.
    """

    def __init__(
        self,
        store: ExecutionStore,
        transport: Transport,
        heartbeat_s: float = HEARTBEAT_S,
        sent: Callable[[float], None] | None = None,
    ) -> None:
        self._store = store
        self._transport = transport
        self._heartbeat_s = heartbeat_s
        self._sent = sent
        self._sample_at = 0.0
        self._followers: dict[str, Follower] = {}
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._feed: CommitFeed | None = None
        self._feed_task: asyncio.Task[None] | None = None
        self._heart: asyncio.Task[None] | None = None
        self._feed_works = False
        self._ended = False

    async def start(self) -> None:
        """Begins to listen; returns at once, also while the transport is away."""
        self._feed = self._transport.commits()
        self._feed_task = asyncio.create_task(self._listen(self._feed), name="hub feed")

    def end_streams(self) -> None:
        """Ends all streams and waits of this hub now, without ``eof``: clients connect again, elsewhere or later."""
        self._ended = True
        self._wake_everyone()

    async def close(self) -> None:
        """Ends all streams, then stops listening; idempotent."""
        self.end_streams()
        if self._feed is not None:
            await self._feed.close()
        tasks = [task for task in (self._feed_task, self._heart) if task is not None]
        for follower in list(self._followers.values()):
            await follower.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def viewers(self) -> int:
        """How many streams are open."""
        return sum(len(follower.viewers) for follower in self._followers.values())

    async def stream(
        self, fid: str, *, kinds: Collection[EventKind] | None = None, converted: bool = False, after: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """The frames of an execution as they are stored, each exactly once and in order, until its end.

        Args:
            fid: the execution; the caller has made sure that it is stored and may be seen.
            kinds: only these; None: all.
            converted: payloads for the panel's pages; else raw.
            after: the ``seq`` the client has already; one that was never given starts from the beginning.

        Yields:
            bytes of one or several frames, ``alive`` comments while idle, ``eof`` at the end.
        """
        viewer = Viewer(after, frozenset(kinds) if kinds is not None else None, converted)
        follower = self._join(fid, viewer)
        try:
            yield RETRY
            await follower.catch_up(viewer)
            while not self._ended:
                viewer.signal.clear()
                if (chunk := await follower.next_chunk(viewer)) is not None:
                    if chunk:
                        viewer.idle = False
                        yield chunk
                        self._measure(viewer)
                    continue
                if follower.ended:
                    yield END
                    return
                if viewer.beat:
                    viewer.beat = False
                    yield ALIVE
                    continue
                await viewer.signal.wait()
        except (StoreUnavailable, ExecutionNotFound) as exc:
            # the client connects again by itself and resumes where it was
            logger.warning("a stream of execution %s ends early: %s", fid, exc)
        finally:
            await self._leave(follower, viewer)

    def _measure(self, viewer: Viewer) -> None:
        if viewer.oldest_at is None or self._sent is None:
            return
        now = time.monotonic()
        if now >= self._sample_at:
            self._sample_at = now + SAMPLE_S
            # Clocks of machines differ a little: nothing is younger than now.
            self._sent(max(0.0, time.time() - viewer.oldest_at))

    async def execution(
        self, fid: str, wait_s: float, until: Callable[[Execution], bool] = lambda _: True
    ) -> Execution:
        """The summary of an execution, once it is stored and ``until`` holds.

        Args:
            fid: the execution.
            wait_s: seconds to wait at most.
            until: what must hold of it.

        Raises:
            ExecutionNotFound: it wasn't stored in time.
            TimeoutError: it was, but ``until`` didn't hold in time.
            StoreUnavailable: the store or this panel goes away.
        """
        deadline = asyncio.get_running_loop().time() + wait_s
        with self._listening(fid) as changed:
            while True:
                changed.clear()
                execution = await self._stored(fid)
                if execution is not None and until(execution):
                    return execution
                if self._ended:
                    raise StoreUnavailable("The panel is shutting down; try again.")
                try:
                    async with asyncio.timeout_at(deadline):
                        await changed.wait()
                except TimeoutError:
                    if execution is None:
                        raise ExecutionNotFound(fid) from None
                    raise

    async def _stored(self, fid: str) -> Execution | None:
        with suppress(ExecutionNotFound):
            return await self._store.execution(fid)
        return None

    # joining and leaving

    def _join(self, fid: str, viewer: Viewer) -> Follower:
        follower = self._followers.get(fid)
        if follower is None:
            follower = self._followers[fid] = Follower(fid, self._store)
            self._listeners.setdefault(fid, set()).add(follower.dirty)
            follower.start()
        follower.viewers.add(viewer)
        self._beat()
        return follower

    async def _leave(self, follower: Follower, viewer: Viewer) -> None:
        follower.viewers.discard(viewer)
        if not follower.viewers and self._followers.get(follower.fid) is follower:
            del self._followers[follower.fid]
            self._stop_listening(follower.fid, follower.dirty)
            await follower.close()

    @contextmanager
    def _listening(self, fid: str) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._listeners.setdefault(fid, set()).add(changed)
        self._beat()
        try:
            yield changed
        finally:
            self._stop_listening(fid, changed)

    def _stop_listening(self, fid: str, changed: asyncio.Event) -> None:
        listeners = self._listeners[fid]
        listeners.discard(changed)
        if not listeners:
            del self._listeners[fid]

    # waking

    async def _listen(self, feed: CommitFeed) -> None:
        delay = _FIRST_RETRY_S
        while True:
            try:
                changed = await feed.wait()
            except TransportUnavailable as exc:
                if self._feed_works and not self._ended:
                    logger.warning("the commit feed broke, reading what is followed at intervals: %s", exc)
                self._feed_works = False
            except Exception:
                logger.exception("the commit feed failed")
                self._feed_works = False
            else:
                self._feed_works, delay = True, _FIRST_RETRY_S
                self._wake(changed)
                continue
            self._wake(list(self._listeners))
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._heartbeat_s)

    def _wake(self, fids: Collection[str]) -> None:
        for fid in fids:
            for changed in self._listeners.get(fid, ()):
                changed.set()

    def _wake_everyone(self) -> None:
        self._wake(list(self._listeners))
        for follower in self._followers.values():
            follower.wake_viewers()

    def _beat(self) -> None:
        """Starts the one timer for all viewers unless it runs; it ends by itself when nobody is left."""
        if self._heart is None or self._heart.done():
            self._heart = asyncio.create_task(self._heartbeat(), name="hub heartbeat", context=outliving())

    async def _heartbeat(self) -> None:
        beats = 0
        while self._listeners and not self._ended:
            await asyncio.sleep(self._heartbeat_s)
            beats += 1
            for follower in self._followers.values():
                follower.beat()
            # a feed that works may still lose a wake-up when it reconnects inside: look now and then all the same
            if not self._feed_works or beats % _SAFETY_BEATS == 0:
                self._wake(list(self._listeners))
