"""Gates: what threads and coroutines wait at until something inside the runner's process has changed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Protocol, TypeVar


class Gate(Protocol):
    """Something to wait at until its owner has changed; opened once, from any thread."""

    def open(self) -> None: ...


class ThreadGate:
    """A gate for a thread. A bare lock: an exception raised into the thread can't leave anything half done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        self._lock.release()

    def wait(self) -> None:
        self._lock.acquire()


class LoopGate:
    """A gate for a coroutine on the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def open(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle)

    async def wait(self) -> None:
        await self._future

    def _settle(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


AnyGate = TypeVar("AnyGate", bound=Gate)
