"""The two ways code waits: on its event loop, or by standing still. The file systems' logic is written once over both.

That logic is coroutines, and whatever they wait for is one of a pace's few methods. A :class:`LoopPace` suspends in
them. In a :class:`ThreadPace` they return when the work is done, so a coroutine over it never suspends and plain code
runs it to its end with :func:`driven`: no private loop, and no thread that could be left behind in a runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Item = TypeVar("Item")
Work = Callable[[Item], Coroutine[Any, Any, None]]


class Pace(Protocol):
    """How to wait."""

    async def call(self, work: Callable[..., T], *args: Any) -> T:
        """What plain ``work`` returns; the event loop, if there is one, goes on meanwhile."""
        ...

    async def pause(self, seconds: float) -> None:
        """Waits."""
        ...

    async def each(self, work: Work[Item], items: Iterable[Item], at_once: int) -> None:
        """Works on all items, some at once; the first failure ends the others and is raised. Begins them in order."""
        ...

    def browser(self, **options: Any) -> Browser:
        """A client for HTTP; ``options`` are those of httpx, and a ``watch`` that each request is shown to."""
        ...


class Browser(Protocol):
    """A client for HTTP."""

    async def send(self, method: str, address: str, **options: Any) -> httpx.Response:
        """The answer's head; the body is still to be read, and the response to be released."""
        ...

    async def body(self, response: httpx.Response) -> bytes:
        """The whole body."""
        ...

    def pieces(self, response: httpx.Response, size: int) -> AsyncGenerator[bytes, None]:
        """The body in pieces of ``size`` bytes, the last one shorter."""
        ...

    async def release(self, response: httpx.Response) -> None:
        """Gives the connection back; idempotent."""
        ...

    async def close(self) -> None:
        """Closes all connections; idempotent."""
        ...


class LoopPace:
    """Waits on the running event loop."""

    async def call(self, work: Callable[..., T], *args: Any) -> T:
        """In a thread of the loop's own pool, which ends with the loop."""
        return await asyncio.to_thread(work, *args)

    async def pause(self, seconds: float) -> None:
        """Sleeps."""
        await asyncio.sleep(seconds)

    async def each(self, work: Work[Item], items: Iterable[Item], at_once: int) -> None:
        """As tasks."""
        left = iter(items)

        async def worker() -> None:
            for item in left:
                await work(item)

        workers = [asyncio.create_task(worker()) for _ in range(at_once)]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def browser(self, **options: Any) -> Browser:
        """One whose connections belong to the running loop."""
        return _LoopBrowser(**options)


class ThreadPace:
    """Waits by standing still; none of its coroutines ever suspends."""

    async def call(self, work: Callable[..., T], *args: Any) -> T:
        """Here and now."""
        return work(*args)

    async def pause(self, seconds: float) -> None:
        """Sleeps."""
        time.sleep(seconds)  # noqa: ASYNC251 - there is no loop

    async def each(self, work: Work[Item], items: Iterable[Item], at_once: int) -> None:
        """In this thread and further ones, which are gone when this returns."""
        # This thread works too: so a run that is to end can be told between two items.
        crowd = _Crowd(work, items)
        with ThreadPoolExecutor(max(1, at_once - 1), "kodosumi-files") as others:
            helpers = [others.submit(crowd.help) for _ in range(at_once - 1)]
            try:
                crowd.help()
            finally:
                crowd.stop()
            for helper in helpers:
                helper.result()

    def browser(self, **options: Any) -> Browser:
        """One that any thread may use."""
        return _ThreadBrowser(**options)


def driven(work: Awaitable[T]) -> T:
    """What a coroutine over a :class:`ThreadPace` returns."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("waited for an event loop where there is none")


def drawn(items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """The items of an asynchronous generator over a :class:`ThreadPace`, which is closed with this one."""
    try:
        while True:
            try:
                item = driven(items.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        driven(items.aclose())


class _Crowd:
    def __init__(self, work: Work[Any], items: Iterable[Any]) -> None:
        self._work = work
        self._items = iter(items)
        self._lock = threading.Lock()
        self._stopped = False

    def help(self) -> None:
        while True:
            with self._lock:
                item = None if self._stopped else next(self._items, None)
            if item is None:
                return
            try:
                driven(self._work(item))
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        self._stopped = True


class _LoopBrowser:
    def __init__(self, *, watch: Callable[[httpx.Request], None], **options: Any) -> None:
        async def watched(request: httpx.Request) -> None:
            watch(request)

        self._options = {**options, "event_hooks": {"request": [watched]}}
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, method: str, address: str, **options: Any) -> httpx.Response:
        client = self._here()
        return await client.send(_whole(client.build_request(method, address, **options)), stream=True)

    async def body(self, response: httpx.Response) -> bytes:
        return await response.aread()

    async def pieces(self, response: httpx.Response, size: int) -> AsyncGenerator[bytes, None]:
        async for piece in response.aiter_bytes(size):
            yield piece

    async def release(self, response: httpx.Response) -> None:
        await response.aclose()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    def __del__(self) -> None:
        if self._client is not None and self._loop is not None and self._loop.is_running():
            closing = self._client.aclose()
            with contextlib.suppress(RuntimeError):  # the loop has just been closed, and its connections with it
                self._loop.call_soon_threadsafe(self._loop.create_task, closing)
                return
            closing.close()

    def _here(self) -> httpx.AsyncClient:
        import httpx

        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            # Connections of another loop can't be used; they close when nothing refers to them any more.
            self._client, self._loop = httpx.AsyncClient(**self._options), loop
        return self._client


class _ThreadBrowser:
    def __init__(self, *, watch: Callable[[httpx.Request], None], **options: Any) -> None:
        import httpx

        self._client = httpx.Client(**options, event_hooks={"request": [watch]})

    async def send(self, method: str, address: str, **options: Any) -> httpx.Response:
        return self._client.send(_whole(self._client.build_request(method, address, **options)), stream=True)

    async def body(self, response: httpx.Response) -> bytes:
        return response.read()

    async def pieces(self, response: httpx.Response, size: int) -> AsyncGenerator[bytes, None]:
        for piece in response.iter_bytes(size):
            yield piece

    async def release(self, response: httpx.Response) -> None:
        response.close()

    async def close(self) -> None:
        self._client.close()

    def __del__(self) -> None:
        if hasattr(self, "_client"):
            self._client.close()


def _whole(request: httpx.Request) -> httpx.Request:
    # Else a chunk goes out in many small pieces, each of which wakes up whoever reads it.
    request.read()
    return request
