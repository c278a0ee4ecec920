"""What a durable run's next attempt learns from the store: when something is committed, and the locks there were.

Waiting is woken by the transport's feed of commits; the store alone is believed. Panels have their hub instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from .error import StoreUnavailable, TransportUnavailable
from .events import EventKind, parsed_json
from .runner.spec import KeptLock

if TYPE_CHECKING:
    from .store import ExecutionStore
    from .transport import Transport

logger = logging.getLogger(__name__)

LOOK_FIRST_S, LOOK_LAST_S = 0.25, 5.0
"""Pauses before a look without having been woken: commits may be missed while the feed is opened, or broken."""

REOPEN_S = 1.0
PAGE = 1_000

Value = TypeVar("Value")


class StoreFollower:
    """One feed for all who wait in this process; it's opened when the first one does.

    Args:
        transport: whose commits wake.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._following: asyncio.Task[None] | None = None

    async def until(self, fid: str, read: Callable[[], Awaitable[Value | None]], timeout_s: float) -> Value | None:
        """The first value that ``read`` gives which isn't None; None when there was none in time.

        A store that can't be read now is asked again.

        Args:
            fid: the execution whose commits matter. read: looks into the store. timeout_s: how long to wait.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._commits(fid) as committed:
                pause_s = LOOK_FIRST_S
                while True:
                    committed.clear()
                    with contextlib.suppress(StoreUnavailable):
                        value = await read()
                        if value is not None:
                            return value
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause_s):
                            await committed.wait()
                    pause_s = min(pause_s * 2, LOOK_LAST_S)
        return None

    async def close(self) -> None:
        """Ends the feed; idempotent."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None

    @contextlib.asynccontextmanager
    async def _commits(self, fid: str) -> AsyncIterator[asyncio.Event]:
        committed = asyncio.Event()
        self._waiting.setdefault(fid, set()).add(committed)
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(), name="follow commits")
        try:
            yield committed
        finally:
            waiting = self._waiting[fid]
            waiting.discard(committed)
            if not waiting:
                del self._waiting[fid]

    async def _follow(self) -> None:
        while True:
            feed = self._transport.commits()
            try:
                while True:
                    self._wake(await feed.wait())
            except TransportUnavailable as exc:
                logger.debug("commits cannot be followed, trying again: %s", exc)
            finally:
                await feed.close()
            # It may have missed some.
            self._wake(list(self._waiting))
            await asyncio.sleep(REOPEN_S)

    def _wake(self, fids: frozenset[str] | list[str]) -> None:
        for fid in fids:
            for committed in self._waiting.get(fid, ()):
                committed.set()


async def kept_locks(store: ExecutionStore, fid: str) -> tuple[KeptLock, ...]:
    """The locks of an execution that are open or have their answer, in the order they were opened.

    One that expired, or that its code gave up, isn't kept: code that asks again gets a new one.

    Raises:
        ExecutionNotFound, StoreUnavailable: as the store says.
    """
    kept: dict[str, KeptLock] = {}
    after = 0
    while events := await store.events(fid, after, PAGE, {EventKind.LOCK, EventKind.LEASE}):
        after = events[-1].seq
        for event in events:
            told = parsed_json(event.payload)["dict"]
            if event.kind == EventKind.LOCK:
                kept[told["lid"]] = _kept(told)
            elif told.get("expired") or told.get("withdrawn"):
                kept.pop(told["lid"], None)
            elif lock := kept.get(told["lid"]):
                kept[told["lid"]] = replace(lock, answered=True, result=told["result"])
        if len(events) < PAGE:
            break
    return tuple(kept.values())


def _kept(told: dict[str, Any]) -> KeptLock:
    assignee = told.get("assignee")
    return KeptLock(
        told["lid"],
        told["name"],
        told["data"],
        told["expires"],
        None if assignee is None else tuple(assignee),
        bool(told.get("four_eyes")),
    )
